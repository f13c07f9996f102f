//! `pitcrew demo`: a fleet in this process, and this very program deploying to it under traffic.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;

use crate::cli::Global;
use crate::demo::load::{self, Connections, LoadOptions};
use crate::demo::{Flaw, Fleet, FleetError, FleetOptions, Sample, WebKind};
use crate::error::{Error, Kind};
use crate::out;
use crate::process::foreground;

/// Requests a second through the balancer while a deploy runs.
const RATE: u32 = 100;
/// How long the demo's application boots, as a Rails application would, only faster.
const BOOT: Duration = Duration::from_millis(600);

struct Act {
    title: &'static str,
    tells: &'static str,
    release: Sample,
    flags: &'static [&'static str],
    web: WebKind,
    expected: i32,
}

/// Shows a whole fleet on this machine, deployed to under traffic.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// How many servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    servers: u8,
}

impl Demo {
    /// Deploys to a whole fleet in this process; the exit code is 0 when every act ended as it should.
    ///
    /// # Errors
    /// When the fleet cannot be started.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let program = std::env::current_exe().map_err(|e| Error::failed(format!("cannot find this program: {e}")))?;
        let mut options = FleetOptions::new(&program);
        options.servers = usize::from(self.servers);
        options.boot = BOOT;
        let fleet = Fleet::start(options).await.map_err(|e| cannot("start the demo's fleet", &e))?;
        let stage = Stage { fleet: &fleet, program: &program, global };
        let shown = tokio::select! {
            shown = stage.play() => shown,
            // The deploy in the foreground gets the signal too and takes back what it does; here only the fleet is left.
            _ = tokio::signal::ctrl_c() => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                Err(Error { kind: Kind::Interrupted, ..Error::failed("interrupted; the demo's fleet is gone") })
            }
        };
        fleet.stop().await.map_err(|e| cannot("end the demo's fleet", &e))?;
        shown
    }
}

fn cannot(what: &str, error: &FleetError) -> Error {
    Error::failed(format!("cannot {what}: {error}"))
}

struct Stage<'a> {
    fleet: &'a Fleet,
    program: &'a Path,
    global: &'a Global,
}

impl Stage<'_> {
    async fn play(&self) -> Result<u8, Error> {
        let say = |text: &str| {
            if !self.global.json {
                out::result(&format!("{text}\n"));
            }
        };
        let servers = self.fleet.servers().len();
        say(&format!(
            "A fleet in one process: {servers} SSH servers, each with a directory tree and a web application of its own, and a balancer."
        ));
        say("\n== The first release ==");
        self.fleet.next_release(&Sample::good("1")).map_err(|e| cannot("make a release", &e))?;
        let status = self.deploy(&self.config(WebKind::Reload)?, &[]).await?;
        if !status.success() {
            return Err(Error::failed("the first deploy of the demo failed; what it printed is above"));
        }
        if !self.fleet.balancers()[0].wait_in_service(None, Duration::from_secs(20)).await {
            return Err(Error::failed("the demo's balancer found no healthy server within 20 s"));
        }
        let mut good = true;
        for act in acts() {
            say(&format!("\n== {} ==\n{}", act.title, act.tells));
            good &= self.act(&act, &say).await?;
        }
        say(if good { "\nEvery act ended as it should." } else { "\nNot every act ended as it should." });
        Ok(u8::from(!good))
    }

    async fn act(&self, act: &Act, say: &impl Fn(&str)) -> Result<bool, Error> {
        self.fleet.next_release(&act.release).map_err(|e| cannot("make a release", &e))?;
        let config = self.config(act.web)?;
        let traffic = load::start(LoadOptions {
            target: self.fleet.balancers()[0].at(),
            path: "/".into(),
            workers: 4,
            rate: RATE,
            connections: Connections::PerRequest,
            timeout: Duration::from_secs(10),
        });
        // Some traffic before the deploy begins and after it has ended.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let status = self.deploy(&config, act.flags).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let report = traffic.stop().await;
        let as_expected = status.code() == Some(act.expected);
        let code = status.code().map_or("a signal".to_owned(), |c| c.to_string());
        let wanted = if as_expected { String::new() } else { format!(", and {} was expected", act.expected) };
        say(&format!("exit code {code}{wanted}; {} requests, {} failed", report.sent, report.failures()));
        if self.global.json {
            let value = serde_json::json!({
                "act": act.title, "exit_code": status.code(), "expected": act.expected,
                "requests": report.sent, "failed": report.failures(),
            });
            out::result(&format!("{value}\n"));
        }
        Ok(as_expected && report.failures() == 0)
    }

    /// Runs this program as a person would, with nothing of the person's own state.
    async fn deploy(&self, config: &Path, flags: &[&str]) -> Result<ExitStatus, Error> {
        let verbosity = match (self.global.quiet, self.global.verbose) {
            (true, _) => Some("-q"),
            (_, true) => Some("-v"),
            _ => None,
        };
        let json = self.global.json.then_some("--json");
        let plain = ["deploy", "-c"].map(OsStr::new).into_iter().chain([config.as_os_str()]);
        let args: Vec<&OsStr> =
            plain.chain(flags.iter().copied().chain(verbosity).chain(json).map(OsStr::new)).collect();
        let state = self.fleet.path().join("state");
        let status = foreground::run(self.program, &args, ("XDG_STATE_HOME", state.as_os_str())).await;
        status.map_err(|e| Error::failed(format!("cannot run {}: {e}", self.program.display())))
    }

    /// The stack's file for one way of restarting.
    fn config(&self, web: WebKind) -> Result<PathBuf, Error> {
        let template = self.fleet.template(web).map_err(|e| cannot("write the demo's template", &e))?;
        let template = toml::Value::from(template.to_string_lossy().into_owned());
        self.fleet
            .write_config(&format!("app.web_server = {template}\nhealth.within = \"4s\""))
            .map_err(|e| cannot("write pitcrew.toml", &e))
    }
}

fn acts() -> [Act; 3] {
    let broken = Sample::flawed("4", Flaw::Sick);
    [
        Act {
            title: "A parallel deploy",
            tells: "The web server reloads without dropping a request, so all servers go at once and the balancer is left alone.",
            release: Sample::good("2"),
            flags: &[],
            web: WebKind::Reload,
            expected: 0,
        },
        Act {
            title: "A serial deploy",
            tells: "This web server stops and starts, so each server is drained, deployed, proven and restored before the next.",
            release: Sample::good("3"),
            flags: &[],
            web: WebKind::Restart,
            expected: 0,
        },
        Act {
            title: "A bad release",
            tells: "It starts and answers 500: the first server's health check fails, and it is taken back before it sees traffic.",
            release: broken,
            flags: &[],
            web: WebKind::Restart,
            expected: 1,
        },
    ]
}
