//! A balancer steered by commands of the user's own, on this machine or on one host.
//!
//! Owns what the commands are told and what their exit statuses mean; how they run is `command/jobs.rs`, all waiting is
//! the walk's.

mod jobs;

use std::sync::Arc;
use std::time::Duration;

use super::walk::{Pace, Reading, Steer};
use super::{Admin, Around, BalancerError, MemberFacts};
use crate::config::{Server, SteeringCommands};
use crate::ssh;
use crate::text::one_line;
use jobs::{End, Job, Ran, Runner};

/// What `status` ends with to say how a server stands. No shell, no signal and none of the usual tools ends so by
/// itself: statuses up to 192 are taken by errors, `errno` and signals, and those from 200 by systemd.
mod status {
    /// It takes traffic.
    pub const IN: i32 = 193;
    /// It would take traffic if it were healthy.
    pub const COMING: i32 = 194;
    /// It takes no new traffic, and may still have connections.
    pub const DRAINING: i32 = 195;
    /// It takes none.
    pub const OUT: i32 = 196;
}

/// A status command is quick; this is for what hangs.
const CALL: Duration = Duration::from_secs(30);
/// Longest text of a command's that is shown.
const SHOWN: usize = 300;

/// The commands of one stack.
pub struct Command {
    commands: SteeringCommands,
    servers: Vec<Server>,
    app: String,
    at: String,
    runner: Arc<Runner>,
}

impl Command {
    /// Makes the adapter; runs nothing.
    pub fn new(commands: &SteeringCommands, around: Around) -> Self {
        let (at, place) = match &commands.run_on {
            None => ("here".to_owned(), jobs::Place::Here(around.base)),
            Some(host) => {
                let link: Option<Arc<ssh::Link>> = around.hosts.get(host).cloned();
                (shown(host), jobs::Place::Host(link))
            }
        };
        let runner = Arc::new(Runner { place, env: around.env, redactor: around.redactor });
        Self { commands: commands.clone(), servers: around.servers, app: around.app, at, runner }
    }

    /// What a command is told of a server.
    fn job(&self, action: &str, command: &str, lb_name: &str) -> Job {
        let server = self.servers.iter().find(|s| s.lb == lb_name);
        let host = server.map(|s| s.host.clone()).unwrap_or_default();
        let name = server.map(|s| s.name.0.clone()).unwrap_or_default();
        let facts = [
            ("PITCREW_APP", self.app.clone()),
            ("PITCREW_ACTION", action.to_owned()),
            ("PITCREW_SERVER", name),
            ("PITCREW_HOST", host),
            ("PITCREW_LB", lb_name.to_owned()),
        ];
        Job { command: command.to_owned(), facts: facts.map(|(k, v)| (k.to_owned(), v)).into() }
    }

    /// Runs a command that changes something.
    async fn change(&self, action: &str, command: &str, lb_name: &str) -> Result<(), BalancerError> {
        let ran = self.runner.run(vec![self.job(action, command, lb_name)]).await.map_err(|e| self.away(e))?;
        match ran.into_iter().next() {
            Some(Ran { end: End::Exit(0), .. }) => Ok(()),
            Some(ran) => Err(self.failed(action, lb_name, &ran)),
            None => Err(self.away((format!("nothing was heard of its `{action}` command"), String::new()))),
        }
    }

    /// Reads what a status command said of a server.
    fn read(&self, lb_name: &str, ran: &Ran) -> Result<MemberFacts, BalancerError> {
        let (admin, in_service, words) = match ran.end {
            End::Exit(status::IN) => (Admin::Ready, true, "in service"),
            End::Exit(status::COMING) => (Admin::Ready, false, "not healthy yet"),
            End::Exit(status::DRAINING) => (Admin::Drain, false, "draining"),
            End::Exit(status::OUT) => (Admin::Maint, false, "out"),
            _ => return Err(self.failed("status", lb_name, ran)),
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

    fn failed(&self, action: &str, lb_name: &str, ran: &Ran) -> BalancerError {
        let said: Vec<String> = ran.output.lines().map(clean).filter(|l| !l.is_empty()).collect();
        let said = said.iter().rev().take(3).rev().map(String::as_str).collect::<Vec<_>>().join(" / ");
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let how = match &ran.end {
            End::Exit(code) => format!("ended with exit status {code}"),
            End::Signal(signal) => format!("was ended by signal {signal}"),
            End::Cut(why) => why.clone(),
        };
        // Found and run, a status command may fail for a moment: the balancer behind it reloads.
        let for_a_moment = action == "status" && !matches!(ran.end, End::Exit(126 | 127));
        let hint = match (action, &ran.end) {
            (_, End::Exit(126 | 127)) => {
                "it runs with `sh -c`; here in the configuration's directory, on a host in the login's home"
            }
            ("status", _) => {
                "`status` must end with 193 (in service), 194 (not healthy yet), 195 (draining) or 196 (out)"
            }
            _ => "it must end with 0, also when there is nothing left to do",
        };
        BalancerError {
            at: self.at.clone(),
            member: Some(lb_name.to_owned()),
            detail: format!("its `{action}` command {how}{said}"),
            hint: hint.to_owned(),
            unreachable: for_a_moment,
            ..BalancerError::default()
        }
    }

    fn away(&self, (detail, hint): (String, String)) -> BalancerError {
        BalancerError { at: self.at.clone(), detail, hint, unreachable: true, ..BalancerError::default() }
    }
}

impl Steer for Command {
    fn at(&self) -> String {
        self.at.clone()
    }

    fn pace(&self) -> Pace {
        Pace { call: CALL, ..Pace::default() }
    }

    async fn look(&self, lb_names: &[String]) -> Reading {
        let jobs = lb_names.iter().map(|name| self.job("status", &self.commands.status, name)).collect();
        let ran = match self.runner.run(jobs).await {
            Ok(ran) => ran,
            Err(e) => return Reading::failed(self.away(e)),
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
        self.change("drain", &self.commands.drain, &now.member).await
    }

    async fn force(&self, _: &MemberFacts) -> Result<bool, BalancerError> {
        Ok(false)
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        self.change("restore", &self.commands.restore, &found.member).await
    }
}

fn shown(host: &crate::config::SshHost) -> String {
    let user = host.user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
    let port = host.port.map(|p| format!(":{p}")).unwrap_or_default();
    let name = if host.host.contains(':') { format!("[{}]", host.host) } else { host.host.clone() };
    format!("ssh://{user}{name}{port}")
}

/// One line of a command's output as it can be shown.
fn clean(line: &str) -> String {
    one_line(line, SHOWN)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::balancer::{Balancer, Snapshot, walk};
    use crate::config::BalancerKind;
    use crate::name::ServerName;
    use crate::report::scrub::Redactor;

    fn server(name: &str) -> Server {
        Server {
            name: ServerName(format!("{name}.example.com")),
            host: format!("{name}.example.com"),
            user: None,
            port: None,
            roles: vec!["web".into()],
            lb: name.into(),
            line: 1,
        }
    }

    fn balancer(dir: &Path, status: &str) -> Balancer {
        let commands = SteeringCommands {
            drain: "env | grep -E '^(PITCREW_[A-Z]*|TOKEN)=' | sort >>env; touch out.$PITCREW_LB; echo $PITCREW_ACTION >>log"
                .into(),
            status: status.into(),
            restore: "rm -f out.$PITCREW_LB; echo $PITCREW_ACTION >>log".into(),
            run_on: None,
        };
        let config = walk::tests::config(BalancerKind::Command(commands));
        let around = Around {
            app: "shop".into(),
            base: dir.into(),
            servers: vec![server("web1"), server("web2")],
            env: vec![("TOKEN".into(), "it's a\nsecret".into())],
            redactor: Redactor::new(["it's a\nsecret"]),
            ..Around::default()
        };
        Balancer::new(&config, around).unwrap()
    }

    const STATUS: &str = "[ -e out.$PITCREW_LB ] && exit 196; echo 0; exit 193";

    #[tokio::test]
    async fn commands_take_a_server_out_and_put_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let balancer = balancer(dir.path(), STATUS);
        let found = Snapshot { members: balancer.facts(&["web1".into()]).await.unwrap() };
        let member = &found.members[0];
        assert_eq!((member.at.as_str(), member.status.as_str(), member.sessions), ("here", "in service", Some(0)));
        assert_eq!((member.others_in_service, member.size), (1, 2));
        let stop = CancellationToken::new();
        let drained = balancer.drain("web1", &found, &mut |_| {}, &stop).await.unwrap();
        assert_eq!(drained.left, Some(0));
        assert!(dir.path().join("out.web1").exists() && balancer.still_out("web1").await.unwrap());
        balancer.restore("web1", &found, &mut |_| {}, &stop).await.unwrap();
        assert!(!dir.path().join("out.web1").exists());
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("log"), "drain\nrestore\n");
        assert_eq!(
            read("env"),
            "PITCREW_ACTION=drain\nPITCREW_APP=shop\nPITCREW_HOST=web1.example.com\nPITCREW_LB=web1\n\
             PITCREW_SERVER=web1.example.com\nTOKEN=it's a\n"
        );
    }

    #[tokio::test]
    async fn only_the_agreed_statuses_say_how_a_server_stands() {
        for (status, expected) in [
            ("echo 7; exit 193", Ok((Admin::Ready, true, Some(7), "in service"))),
            ("exit 194", Ok((Admin::Ready, false, None, "not healthy yet"))),
            ("echo noise; echo 12; exit 195", Ok((Admin::Drain, false, Some(12), "draining"))),
            ("printf 'by\\033[31m hand\\n\\n'; exit 196", Ok((Admin::Maint, false, None, "out: by hand"))),
            ("true", Err("its `status` command ended with exit status 0")),
            ("echo no such host >&2; exit 1", Err("its `status` command ended with exit status 1: no such host")),
            ("printf '?%s' \"$TOKEN\"; exit 193", Ok((Admin::Ready, true, None, "in service: ?[REDACTED]"))),
            (
                "echo \"asked /?token=$TOKEN\"; exit 22",
                Err("its `status` command ended with exit status 22: asked /?token=[REDACTED]"),
            ),
            ("kill -9 $$", Err("its `status` command was ended by signal KILL")),
            ("no-such-program", Err("its `status` command ended with exit status 127")),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let facts = balancer(dir.path(), status).facts(&["web1".into()]).await;
            match (facts, expected) {
                (Ok(facts), Ok(expected)) => {
                    let m = &facts[0];
                    assert_eq!((m.admin, m.in_service, m.sessions, m.status.as_str()), expected, "{status}");
                }
                (Err(errors), Err(expected)) => {
                    assert!(errors[0].detail.starts_with(expected), "{status}: {errors:?}");
                    assert_eq!(errors[0].unreachable, !status.starts_with("no-such"), "{status}");
                }
                (facts, _) => panic!("{status}: {facts:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_all_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("hang");
        std::fs::write(&script, "#!/bin/sh\nsleep 600 & echo $! >child\ntrap '' TERM\nwhile :; do sleep 1; done\n")
            .unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let balancer =
            balancer(dir.path(), "[ $PITCREW_LB = web2 ] && exit 193; ./hang").within(Duration::from_secs(1));
        let errors = balancer.facts(&["web1".into()]).await.unwrap_err();
        assert!(errors[0].unreachable && errors[0].detail.contains("within 1s"), "{errors:?}");
        let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |s| s.contains(") Z "));
        let ended = async {
            while !gone() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    }
}
