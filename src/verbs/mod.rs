//! One verb a file: its flags, which are its help, and the way from them to an exit code.
//!
//! Wiring only: `stack` asks and waits, `plan` decides, `engine` acts, `report` tells.

mod check;
#[cfg(feature = "demo")]
mod demo;
mod deploy;
mod health;
mod init;
mod lb;
mod lock;
mod ours;
mod recover;
mod releases;
mod rollback;
mod rollout;
mod security;
mod status;
mod unlock;

use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

use crate::cli::Global;
use crate::error::Error;
use crate::{out, stack};

/// Deploys an application over SSH to servers that carry no agent:
/// to all of them at once, or one at a time out of the load balancer.
#[derive(Debug, Parser)]
#[command(name = "pitcrew", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Init),
    Check(check::Check),
    Deploy(deploy::Deploy),
    Rollback(rollback::Rollback),
    Status(status::Status),
    Releases(releases::Releases),
    Recover(recover::Recover),
    Lock(lock::Lock),
    Unlock(unlock::Unlock),
    Lb(lb::Lb),
    Security(security::Security),
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
}

impl Cli {
    async fn run(&self) -> Result<u8, Error> {
        let global = &self.global;
        match &self.verb {
            Verb::Init(flags) => flags.run(global),
            Verb::Check(flags) => flags.run(global).await,
            Verb::Deploy(flags) => flags.run(global).await,
            Verb::Rollback(flags) => flags.run(global).await,
            Verb::Status(flags) => flags.run(global).await,
            Verb::Releases(flags) => flags.run(global).await,
            Verb::Recover(flags) => flags.run(global).await,
            Verb::Lock(flags) => flags.run(global).await,
            Verb::Unlock(flags) => flags.run(global).await,
            Verb::Lb(flags) => flags.run(global).await,
            Verb::Security(_) => Ok(security::Security::run()),
            #[cfg(feature = "demo")]
            Verb::Demo(flags) => flags.run(global).await,
        }
    }
}

/// Servers that one thread serves; more may keep every processor busy.
const ONE_THREAD: usize = 64;

/// Runs the program to its exit code; what ended it before there was a run is printed.
pub fn start(cli: &Cli) -> u8 {
    out::begin(stack::reporters::flags(&cli.global), cli.global.json);
    // A run waits far more than it works: threads that hand a few connections to each other cost more than they share.
    let many = || stack::read(&cli.global).is_ok_and(|config| config.servers.len() > ONE_THREAD);
    // The demo plays the servers as well.
    let mut runtime = match cli.verb {
        Verb::Init(_) | Verb::Security(_) => Builder::new_current_thread(),
        #[cfg(feature = "demo")]
        Verb::Demo(_) => Builder::new_multi_thread(),
        _ if many() => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let result = match runtime.enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(cli.run());
            // Threads that wait for a name server or a disk must not keep the process.
            runtime.shutdown_timeout(Duration::from_millis(200));
            result
        }
        Err(e) => Err(Error::failed(format!("cannot start: {e}"))),
    };
    match result {
        Ok(0) if out::lost() => 1,
        Ok(code) => code,
        Err(error) => {
            out::notice(&error.to_string());
            error.exit_code()
        }
    }
}
