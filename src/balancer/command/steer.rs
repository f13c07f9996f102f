//! What a user's command is given, and what its exit status means.

use std::sync::Arc;
use std::time::Duration;

use super::fault::{CommandFault, SteeringAction};
use super::jobs::{CommandPlace, JobEnd, NotRun, Ran, Runner, SteeringJob};
use crate::balancer::around::Around;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::{Admin, MemberFacts};
use crate::balancer::walk::{Reading, Steer, SteerPace};
use crate::config::{Server, SteeringCommands};
use crate::ssh;
use crate::text::one_line;

/// The exit statuses by which a `status` command says how a server stands.
///
/// No shell, no signal and none of the usual tools ends so by itself: errors, `errno` and signals take the statuses up to
/// 192, systemd those from 200.
mod status {
    /// The server takes traffic.
    pub const IN: i32 = 193;
    /// The server would take traffic if it were healthy.
    pub const COMING: i32 = 194;
    /// The server takes no new traffic, and may still have connections.
    pub const DRAINING: i32 = 195;
    /// The server takes no traffic.
    pub const OUT: i32 = 196;
}

/// The limit on a command, for one that hangs.
const CALL: Duration = Duration::from_secs(30);
/// The longest line of a command's output that is shown, in characters.
const SHOWN: usize = 300;

/// The commands of one stack.
pub struct Commands {
    commands: SteeringCommands,
    servers: Vec<Server>,
    app: String,
    at: String,
    runner: Arc<Runner>,
}

impl Commands {
    /// Makes the adapter; runs nothing.
    pub fn new(commands: &SteeringCommands, around: Around) -> Self {
        let (at, place) = match &commands.run_on {
            None => ("here".to_owned(), CommandPlace::Here(around.base)),
            Some(host) => {
                let link: Option<Arc<ssh::Link>> = around.hosts.get(host).cloned();
                (shown(host), CommandPlace::Host(link))
            }
        };
        let runner = Arc::new(Runner { place, env: around.env, redactor: around.redactor });
        Self { commands: commands.clone(), servers: around.servers, app: around.app, at, runner }
    }

    /// Makes the job of one command for one server.
    fn job(&self, action: SteeringAction, lb_name: &str) -> SteeringJob {
        let command = match action {
            SteeringAction::Status => &self.commands.status,
            SteeringAction::Drain => &self.commands.drain,
            SteeringAction::Restore => &self.commands.restore,
        };
        let server = self.servers.iter().find(|s| s.is_member(lb_name));
        let host = server.map(|s| s.host.clone()).unwrap_or_default();
        let name = server.map(|s| s.name.0.clone()).unwrap_or_default();
        let facts = [
            ("PITCREW_APP", self.app.clone()),
            ("PITCREW_ACTION", action.to_string()),
            ("PITCREW_SERVER", name),
            ("PITCREW_HOST", host),
            ("PITCREW_LB", lb_name.to_owned()),
        ];
        SteeringJob { command: command.clone(), facts: facts.map(|(k, v)| (k.to_owned(), v)).into() }
    }

    /// Runs a command that changes something.
    async fn change(&self, action: SteeringAction, lb_name: &str) -> Result<(), BalancerError> {
        let ran = self.runner.run(vec![self.job(action, lb_name)]).await.map_err(|e| self.not_run(e))?;
        match ran.into_iter().next() {
            Some(Ran { end: JobEnd::Exit(0), .. }) => Ok(()),
            Some(ran) => Err(self.failed(action, lb_name, &ran)),
            None => Err(self.not_run(NotRun::Silent(action.to_string()))),
        }
    }

    /// Reads what a `status` command says of a server.
    fn read(&self, lb_name: &str, ran: &Ran) -> Result<MemberFacts, BalancerError> {
        let (admin, in_service, words) = match ran.end {
            JobEnd::Exit(status::IN) => (Admin::Ready, true, "in service"),
            JobEnd::Exit(status::COMING) => (Admin::Ready, false, "not healthy yet"),
            JobEnd::Exit(status::DRAINING) => (Admin::Drain, false, "draining"),
            JobEnd::Exit(status::OUT) => (Admin::Maint, false, "out"),
            _ => return Err(self.failed(SteeringAction::Status, lb_name, ran)),
        };
        let last = ran.output.lines().rev().map(clean).find(|l| !l.is_empty()).unwrap_or_default();
        let sessions: Option<u64> = last.parse().ok();
        let status = if sessions.is_some() || last.is_empty() { words.to_owned() } else { format!("{words}: {last}") };
        Ok(MemberFacts {
            at: self.at.clone(),
            member: lb_name.to_owned(),
            admin,
            in_service,
            status,
            sessions,
            ..MemberFacts::default()
        })
    }

    fn failed(&self, action: SteeringAction, lb_name: &str, ran: &Ran) -> BalancerError {
        let said: Vec<String> = ran.output.lines().map(clean).filter(|l| !l.is_empty()).collect();
        let said = said.iter().skip(said.len().saturating_sub(3)).map(String::as_str).collect::<Vec<_>>().join(" / ");
        let fault = CommandFault::Failed { action, end: ran.end.clone(), said };
        BalancerError::new(&self.at, Some(lb_name.to_owned()), fault)
    }

    fn not_run(&self, not: NotRun) -> BalancerError {
        BalancerError::new(&self.at, None, CommandFault::NotRun(not))
    }
}

impl Steer for Commands {
    fn at(&self) -> String {
        self.at.clone()
    }

    fn pace(&self) -> SteerPace {
        SteerPace { call: CALL, ..SteerPace::default() }
    }

    async fn look(&self, lb_names: &[String]) -> Reading {
        let jobs = lb_names.iter().map(|name| self.job(SteeringAction::Status, name)).collect();
        let ran = match self.runner.run(jobs).await {
            Ok(ran) => ran,
            Err(e) => return Reading::failed(self.not_run(e)),
        };
        let mut reading = Reading::default();
        for (name, ran) in lb_names.iter().zip(&ran) {
            match self.read(name, ran) {
                Ok(member) => reading.members.push(member),
                Err(error) => reading.errors.push((Some(name.clone()), error)),
            }
        }
        let up = reading.members.iter().filter(|m| m.in_service).count();
        for member in &mut reading.members {
            member.others_in_service = up - usize::from(member.in_service);
            member.size = lb_names.len();
        }
        reading
    }

    async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        self.change(SteeringAction::Drain, &now.member).await
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        self.change(SteeringAction::Restore, &found.member).await
    }
}

fn shown(host: &crate::config::SshHost) -> String {
    let user = host.user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
    let port = host.port.map(|p| format!(":{p}")).unwrap_or_default();
    let name = if host.host.contains(':') { format!("[{}]", host.host) } else { host.host.clone() };
    format!("ssh://{user}{name}{port}")
}

/// Makes one line of a command's output fit to be shown.
fn clean(line: &str) -> String {
    one_line(line, SHOWN)
}

#[cfg(test)]
mod tests;
