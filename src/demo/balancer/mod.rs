//! A balancer in this process: real requests, health checks and HAProxy's runtime API.
//!
//! `members` holds the states as HAProxy 2.6.12 keeps them (pure), `answers` the runtime API's text (pure), `traffic` the
//! requests, `checks` the health checks, `api` the sockets. There is no redispatch and no retry: a member that is routed to
//! while it is down fails the request, so that every gap in a deploy shows.

mod answers;
mod api;
mod checks;
mod members;
mod options;
mod shared;
mod traffic;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::admin::Admin;
use super::held::held;

use members::Members;
pub use members::{Change, CheckPlan, MemberState};
pub use options::{BalancerOptions, Level};
use shared::Shared;

/// A running balancer; dropping it closes everything.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
    tcp_api: Option<SocketAddr>,
    _over: DropGuard,
}

impl Balancer {
    /// Listens for traffic and for the runtime API, and starts checking.
    ///
    /// # Errors
    ///
    /// Nothing can listen at one of the places.
    pub async fn start(mut options: BalancerOptions) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        options.listen = listener.local_addr()?;
        if let Some(directory) = options.socket.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let _ = std::fs::remove_file(&options.socket);
        let socket = tokio::net::UnixListener::bind(&options.socket)?;
        let tcp = match options.tcp {
            true => Some(TcpListener::bind((options.listen.ip(), 0)).await?),
            false => None,
        };
        let tcp_api = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
        let over = CancellationToken::new();
        let members = Members::new(&options.members, options.checks.as_ref());
        let shared = Arc::new(Shared { members: Mutex::new(members), api: over.child_token(), over, options });
        shared.until_over(traffic::listen(Arc::clone(&shared), listener));
        shared.until_over(api::listen_unix(Arc::clone(&shared), socket));
        if let Some(tcp) = tcp {
            shared.until_over(api::listen_tcp(Arc::clone(&shared), tcp));
        }
        if let Some(plan) = &shared.options.checks {
            for index in 0..shared.options.members.len() {
                shared.until_over(checks::check(Arc::clone(&shared), index, plan.clone()));
            }
        }
        Ok(Self { tcp_api, _over: shared.over.clone().drop_guard(), shared })
    }

    /// Returns its name in the fleet.
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// Returns where it takes traffic.
    pub fn at(&self) -> SocketAddr {
        self.shared.options.listen
    }

    /// Returns where its runtime API answers over TCP, if it does.
    pub fn tcp_api(&self) -> Option<SocketAddr> {
        self.tcp_api
    }

    /// Returns its runtime API's socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.shared.options.socket
    }

    /// Returns the state of every member, in order.
    pub fn snapshot(&self) -> Vec<MemberState> {
        held(&self.shared.members).states()
    }

    /// Returns every change of every member since it began, in order, beginning with the first states.
    pub fn history(&self) -> Vec<Change> {
        held(&self.shared.members).history().to_vec()
    }

    /// Returns the most members that were out of service at once since a change of [`Self::history`].
    pub fn most_out(&self, since: usize) -> usize {
        members::most_out(&self.history(), since)
    }

    /// Executes a line of the runtime API, past all faults, and returns the answer.
    pub fn ask(&self, line: &str) -> String {
        self.shared.execute(line)
    }

    /// Sets a member's administrative state, as an operator would.
    pub fn set(&self, member: &str, admin: Admin) -> String {
        let word = match admin {
            Admin::Ready => "ready",
            Admin::Drain => "drain",
            Admin::Maint => "maint",
        };
        self.ask(&format!("set server {}/{member} state {word}", self.shared.options.backend))
    }

    /// Reloads: runtime state is lost, all members are as the configuration has them.
    pub fn reload(&self) {
        self.shared.change(|members| members.reload(self.shared.options.checks.as_ref()));
    }

    /// Reloads with a configuration that lacks this member.
    ///
    /// [`Self::reload`] brings it back.
    pub fn remove(&self, member: &str) {
        self.reload();
        self.shared.change(|members| members.remove(member));
    }

    /// Waits until every member is in service, or only these are.
    pub async fn wait_in_service(&self, members: Option<&[&str]>, limit: Duration) -> bool {
        let fits = || {
            let states = self.snapshot();
            match members {
                None => states.iter().all(|m| m.in_service),
                Some(wanted) => states.iter().all(|m| m.in_service == wanted.contains(&m.name.as_str())),
            }
        };
        let wait = async {
            while !fits() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}
