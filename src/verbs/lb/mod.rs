//! `pitcrew lb status|drain|restore`: the balancer by hand, apart from deploys.
//!
//! Nothing here touches a server's releases or processes. A run's lock is respected, not taken: what is done here is done
//! in the balancer, and a run that begins meanwhile finds it there. A server that is taken out has a note of it.

mod by_hand;
mod drain;
mod restore;
mod status;

use std::sync::Mutex;

use clap::{Args, Subcommand};

use by_hand::ByHand;

use crate::cli::{Global, Select};
use crate::engine::Stop;
use crate::error::Error;
use crate::outcome::Reporting;
use crate::stack::{self, Stack};

/// The load balancer by hand.
#[derive(Debug, Clone, Args)]
pub struct Lb {
    /// What to do.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Shows every member: state, health, connections, and who took it out. Exit code 3 when one is out.
    Status {
        /// Which servers.
        #[command(flatten)]
        select: Select,
    },
    /// Takes servers out, one after another, waits for their connections to end, and leaves a note.
    Drain {
        /// Which: a server, a range, a pattern, or @ROLE.
        #[arg(required = true, value_name = "SERVER|@ROLE")]
        servers: Vec<String>,
        /// Why; shown where the servers are listed as out.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Puts servers back whose own health check passes, and waits until the balancer reports them up.
    Restore {
        /// Which: a server, a range, a pattern, or @ROLE.
        #[arg(required = true, value_name = "SERVER|@ROLE")]
        servers: Vec<String>,
        /// Puts them back without asking them for their health.
        #[arg(long)]
        force: bool,
    },
}

impl Lb {
    /// Carries out what is asked of the balancer.
    ///
    /// # Errors
    /// When there is none, when it cannot be reached, or when what is asked is refused.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare_to_look(stack::read(global)?, global).await?;
        let Some(balancer) = stack.balancer.clone() else {
            return Err(Error::usage("there is no [load_balancer] in the configuration"));
        };
        let owner = stack::owner(stack::command_line(), stack.config.timeouts.lease);
        let stop = Stop::default();
        // There is nothing to report, but a signal must still take back what is half done.
        let reporting = Reporting::start(owner.run.clone(), Vec::new());
        stop.listen(&reporting.emitter()).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;
        let by_hand = ByHand {
            global,
            stack: &stack,
            balancer: &balancer,
            owner: &owner,
            stop: &stop,
            done: Mutex::default(),
            at: Mutex::default(),
        };
        let work = async {
            match &self.what {
                What::Status { select } => by_hand.status(select).await,
                What::Drain { servers, reason } => by_hand.drain(servers, reason.as_deref()).await,
                What::Restore { servers, force } => by_hand.restore(servers, *force).await,
            }
        };
        let end = tokio::select! {
            end = work => end,
            () = by_hand.second_signal() => Ok(by_hand.cut_short()),
        };
        tokio::select! {
            () = stack.close() => {}
            () = stop.hard.cancelled() => {}
        }
        end
    }
}
