//! Runs commands for several servers: side by side here, or one after another in one exec on a host.
//!
//! No value is part of a command line, and no command outlives the future that runs it. What the commands mean is the
//! adapter's.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::answer::Nonce;
use crate::event::Stream;
use crate::process::end::{Unended, signal_name};
use crate::process::shell::Shell;
use crate::script::quote;
use crate::ssh::{ConnectError, Ended, Exec, Heard, Link, Lost, Refused};
use crate::text::redact::Redactor;

/// The script that a host's shell reads before the jobs.
const SCRIPT: &str = include_str!("../../../templates/remote/balancer.sh");
/// How many commands run at once on this machine.
const AT_ONCE: usize = 16;
/// How many lines of a command's output are kept.
const LINES: usize = 20;
/// How many bytes of a command's output are kept.
const BYTES: usize = 8 << 10;
/// The limit on any command; the walk gives up before.
const LIMIT: Duration = Duration::from_secs(120);
/// The pause between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);

/// Where commands run.
pub enum CommandPlace {
    /// On this machine, in this directory.
    Here(PathBuf),
    /// On a host, in the login's home.
    Host(Option<Arc<Link>>),
}

/// Runs commands at one place.
pub struct Runner {
    /// Where the commands run.
    pub place: CommandPlace,
    /// `[env]` and the values of `[secrets]`.
    pub env: Vec<(String, String)>,
    /// Masks those values in the output.
    pub redactor: Redactor,
}

/// One command for one server.
pub struct SteeringJob {
    /// The command, for `sh -c`.
    pub command: String,
    /// What its environment holds beside that of the runner.
    pub facts: Vec<(String, String)>,
}

/// How a job ended, and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub end: JobEnd,
    /// Its last lines on either output, as they came.
    pub output: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// With this status; a shell on a host reports a signal as 128 plus its number.
    Exit(i32),
    /// By this signal, without SIG.
    Signal(String),
    /// Before its own end, or it was not run: a fragment that goes on after "its command".
    Cut(String),
}

impl fmt::Display for JobEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "ended with exit status {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Cut(why) => f.write_str(why),
        }
    }
}

/// Why no command could be run.
#[derive(Debug, Clone)]
pub enum NotRun {
    /// No SSH connection was set up for the host.
    NoLink,
    /// The host cannot be reached.
    Host(ConnectError),
    /// The connection to the host was lost.
    Lost(Lost),
    /// The host runs no command.
    Refused(Refused),
    /// A value holds a NUL, which no shell can be given.
    Nul,
    /// The caller ended the wait.
    Stopped,
    /// The commands could not be waited for.
    Gone(String),
    /// The end of this command was not reported.
    Silent(String),
}

impl NotRun {
    /// Says what to do next; may be empty.
    pub fn hint(&self) -> String {
        match self {
            Self::Host(error) => error.hint(),
            _ => String::new(),
        }
    }
}

impl Error for NotRun {}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLink => write!(f, "no SSH connection was set up for it"),
            Self::Host(error) => error.fmt(f),
            Self::Lost(why) => write!(f, "the connection was lost: {why}"),
            Self::Refused(why) => write!(f, "it runs no command: {why}"),
            Self::Nul => write!(f, "a NUL in a value cannot be passed on to its commands"),
            Self::Stopped => write!(f, "the wait was interrupted"),
            Self::Gone(why) => write!(f, "its commands could not be waited for: {why}"),
            Self::Silent(action) => write!(f, "nothing was heard of its `{action}` command"),
        }
    }
}

impl Runner {
    /// Runs jobs and returns how each ended, in order.
    ///
    /// A caller that drops the future ends the commands.
    ///
    /// # Errors
    /// When no job could be run.
    pub async fn run(self: &Arc<Self>, jobs: Vec<SteeringJob>) -> Result<Vec<Ran>, NotRun> {
        let stop = CancellationToken::new();
        let _ends = stop.clone().drop_guard();
        let runner = self.clone();
        // A task of its own: to end a command in order takes longer than to drop a future.
        let running = tokio::spawn(async move {
            match &runner.place {
                CommandPlace::Here(dir) => {
                    let jobs = jobs.into_iter().map(|job| runner.here(dir.clone(), job, stop.clone()));
                    Ok(futures::stream::iter(jobs).buffered(AT_ONCE).collect().await)
                }
                CommandPlace::Host(Some(link)) => runner.there(link, &jobs, &stop).await,
                CommandPlace::Host(None) => Err(NotRun::NoLink),
            }
        });
        let gone = |e: JoinError| Err(NotRun::Gone(e.to_string()));
        let mut ran: Vec<Ran> = running.await.unwrap_or_else(gone)?;
        ran.iter_mut().for_each(|ran| ran.output = self.redactor.text(&ran.output));
        Ok(ran)
    }

    async fn here(&self, dir: PathBuf, job: SteeringJob, stop: CancellationToken) -> Ran {
        if stop.is_cancelled() {
            return Ran { end: JobEnd::Cut("was not run".to_owned()), output: String::new() };
        }
        let (mut heard, mut complaints) = (Vec::new(), Vec::new());
        let shell = Shell {
            command: &job.command,
            directory: &dir,
            env: self.env.iter().chain(&job.facts).map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            limit: Some(LIMIT),
            grace: GRACE,
        };
        let ended = shell
            .run(&stop, &mut |stream, piece| match stream {
                Stream::Stdout => keep(&mut heard, piece),
                Stream::Stderr => keep(&mut complaints, piece),
            })
            .await;
        // Standard output last: a count printed there is the last line.
        let text = |kept: &[u8]| String::from_utf8_lossy(kept).trim_end().to_owned();
        let output = format!("{}\n{}", text(&complaints), text(&heard));
        Ran { end: end_of(ended), output: output.trim().to_owned() }
    }

    async fn there(&self, link: &Link, jobs: &[SteeringJob], stop: &CancellationToken) -> Result<Vec<Ran>, NotRun> {
        let nonce = Nonce::random();
        let text = script(&nonce, &self.env, jobs).ok_or(NotRun::Nul)?;
        let session = tokio::select! {
            session = link.regain() => session.map_err(NotRun::Host)?,
            () = stop.cancelled() => return Err(NotRun::Stopped),
        };
        let exec = Exec {
            command: "sh -s".to_owned(),
            head: text.into(),
            limit: Some(LIMIT),
            last_words: vec![format!("@pitcrew:{} done", nonce.0)],
            ..Exec::default()
        };
        let mut ran: Vec<Ran> = Vec::new();
        let mut lines: VecDeque<String> = VecDeque::new();
        let ended = session
            .exec(
                exec,
                &mut |heard| {
                    let Heard::Line(_, line) = heard else { return };
                    let Some(answer) = nonce.read(line) else {
                        if lines.len() == LINES {
                            lines.pop_front();
                        }
                        return lines.push_back(line.to_owned());
                    };
                    if let Ok(code) = answer.key.parse() {
                        let output = lines.drain(..).collect::<Vec<_>>().join("\n").trim().to_owned();
                        ran.push(Ran { end: JobEnd::Exit(code), output });
                    }
                },
                stop,
            )
            .await;
        let why = match ended {
            Ended::Exit(_) | Ended::NoStatus if ran.len() == jobs.len() => return Ok(ran),
            Ended::Exit(status) => format!("was not run to its end: its shell ended with exit status {status}"),
            Ended::Signal(signal) => format!("was not run to its end: its shell was ended by signal {signal}"),
            Ended::NoStatus => "was not run to its end: the channel closed".to_owned(),
            Ended::Lost(why) | Ended::Unsent(why) => return Err(NotRun::Lost(why)),
            Ended::Refused(why) => return Err(NotRun::Refused(why)),
            Ended::TimedOut(limit) => format!("did not end within {} s", limit.as_secs()),
            Ended::Stopped => "was ended".to_owned(),
        };
        let output = lines.into_iter().collect::<Vec<_>>().join("\n").trim().to_owned();
        ran.truncate(jobs.len());
        ran.resize(jobs.len(), Ran { end: JobEnd::Cut(why), output });
        Ok(ran)
    }
}

/// Writes what a host's shell reads; `None` where a value holds a NUL.
fn script(nonce: &Nonce, env: &[(String, String)], jobs: &[SteeringJob]) -> Option<String> {
    // A variable of the login's by that name would be exported to the commands.
    let mut text = format!("unset nonce\nnonce={}\n", quote::word(&nonce.0)?);
    for (name, value) in env.iter().filter(|(name, _)| quote::is_name(name)) {
        text.push_str(&format!("export {name}={}\n", quote::word(value)?));
    }
    text.push_str(SCRIPT);
    for job in jobs {
        let facts: Vec<String> = job.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        text.push_str(&format!("one {} {}\n", quote::word(&job.command)?, quote::words(&facts)?));
    }
    text.push_str(&format!("printf '@pitcrew:%s done\\n' {}\nexit 0\n", quote::word(&nonce.0)?));
    Some(text)
}

/// Tells how a command of this machine ended.
fn end_of(ended: Result<ExitStatus, Unended>) -> JobEnd {
    match ended {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => JobEnd::Exit(code),
            (None, Some(signal)) => JobEnd::Signal(signal_name(signal)),
            (None, None) => JobEnd::Cut("ended without a status".to_owned()),
        },
        Err(Unended::Failed(e)) => JobEnd::Cut(format!("cannot be run: {e}")),
        Err(Unended::Stopped) => JobEnd::Cut("was ended".to_owned()),
        Err(Unended::Silent(limit) | Unended::TimedOut(limit)) => {
            JobEnd::Cut(format!("did not end within {} s", limit.as_secs()))
        }
    }
}

/// Keeps the last of what a command prints.
fn keep(kept: &mut Vec<u8>, piece: &[u8]) {
    kept.extend(piece);
    let over = kept.len().saturating_sub(BYTES);
    if over > 0 {
        // Half a line may hold half a secret, which is not recognised.
        let line = kept[over..].iter().position(|byte| *byte == b'\n').map_or(kept.len(), |at| over + at + 1);
        kept.drain(..line);
    }
}

#[cfg(test)]
mod tests;
