//! One command on a server: a real shell in its own process group, wired to the channel.
//!
//! Answers in the order that OpenSSH does: output, end of file, exit status or signal, close. Where something in the
//! background keeps the output open, the status comes first and the end of file whenever that something ends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::faults::Fault;
use super::held::held;
use super::log::{End, Kind};
use super::processes;
use super::shared::Shared;

/// How long output is waited for when a command has ended, before its status is sent ahead of the rest.
const TAIL: Duration = Duration::from_millis(50);

/// What hangs in place of a command, longer than any limit of a test.
pub(super) const STALL: &[u8] = b"exec sleep 600";

/// The process group of a channel's command.
pub(super) type Group = Arc<Mutex<Life>>;

/// Where a command is in its life.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// No process yet; a signal that arrives now is kept.
    NotStarted,
    /// A signal has arrived before the process.
    Doomed(Signal),
    /// The process group that signals go to.
    Running(Pid),
    /// The same, after a signal has gone there.
    Told(Pid),
    /// The command has been reaped and its output is closed: the number may belong to another process.
    Over,
}

/// A command to run.
pub(super) struct Job {
    pub(super) server: Arc<Shared>,
    pub(super) exec: u64,
    pub(super) step: Option<String>,
    pub(super) command: Vec<u8>,
    pub(super) env: Vec<(String, String)>,
    pub(super) channel: Channel<Msg>,
    pub(super) handle: Handle,
    pub(super) group: Group,
    pub(super) cut: CancellationToken,
    pub(super) fault: Option<Fault>,
}

/// What the client gets to see of a command's output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Sent,
    Lost,
}

impl Life {
    /// Sends a signal, by its name without SIG, to the whole group.
    ///
    /// Unknown names are ignored, as sshd does.
    pub(super) fn signal(&mut self, name: &str) {
        let Ok(signal) = format!("SIG{name}").parse::<Signal>() else { return };
        match self {
            Self::NotStarted => *self = Self::Doomed(signal),
            Self::Running(group) | Self::Told(group) => {
                let _ = killpg(*group, signal);
                *self = Self::Told(*group);
            }
            Self::Doomed(_) | Self::Over => {}
        }
    }
}

/// Runs a command, or what the fault makes of it, and answers.
pub(super) async fn run(job: Job) {
    let Job { server, exec, step, command, env, channel, handle, group, cut, fault } = job;
    let id = channel.id();
    // Before the client hears of it, who may then count on it.
    let over = Arc::clone(&group);
    let ended = |end: End| {
        if matches!(end, End::NotRun(_)) && fault != Some(Fault::Hang) {
            *held(&over) = Life::Over;
        }
        server.add(Kind::ExecEnd { exec, step: step.clone(), end });
    };
    let (input, output) = channel.split();
    let wiring = Wiring { handle: handle.clone(), input, output, group, cut: cut.clone() };
    match fault.clone() {
        None => {
            let spawned = spawn(&server, &command, &env);
            wiring.serve(spawned, Output::Sent, ended).await;
        }
        Some(Fault::Stall) => {
            let spawned = spawn(&server, STALL, &env);
            wiring.serve(spawned, Output::Sent, ended).await;
        }
        Some(Fault::EffectThenError { status }) => {
            let spawned = spawn(&server, &command, &env);
            if wiring.serve(spawned, Output::Lost, ended).await {
                finish(&handle, id, status, "pitcrew demo: the answer was lost by an injected fault\n").await;
            }
        }
        Some(Fault::CutAfter) => {
            let spawned = spawn(&server, &command, &env);
            wiring.serve(spawned, Output::Lost, ended).await;
            cut.cancel();
        }
        Some(Fault::DoneThenDead) => {
            let spawned = spawn(&server, &command, &env);
            wiring.serve(spawned, Output::Lost, ended).await;
            server.kill();
        }
        Some(Fault::ErrorBefore { status, stderr }) => {
            ended(End::NotRun("injected error".to_owned()));
            finish(&handle, id, status, &stderr).await;
        }
        Some(Fault::Garbage) => {
            ended(End::NotRun("injected error".to_owned()));
            finish(&handle, id, 1, "pitcrew demo: injected fault\n").await;
        }
        Some(Fault::Killed { signal }) => {
            ended(End::NotRun(format!("injected SIG{signal}")));
            let _ = handle.eof(id).await;
            let _ = handle.exit_signal_request(id, signal_named(&signal), false, String::new(), String::new()).await;
            let _ = handle.close(id).await;
        }
        Some(Fault::CutBefore) => {
            ended(End::NotRun("injected cut".to_owned()));
            cut.cancel();
        }
        Some(Fault::Dead) => {
            ended(End::NotRun("injected death".to_owned()));
            server.kill();
        }
        Some(Fault::Hang) => {
            ended(End::NotRun("injected silence".to_owned()));
            wiring.ignore().await;
        }
    }
}

pub(super) fn spawn(server: &Shared, command: &[u8], env: &[(String, String)]) -> std::io::Result<Child> {
    let options = &server.options;
    let (shell, first) = options
        .shell
        .split_first()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "no login shell is set"))?;
    let home = server.home();
    let may_spawn = held(&server.may_spawn);
    if !*may_spawn {
        return Err(std::io::Error::other("the server is gone"));
    }
    Command::new(shell)
        .args(first)
        .arg("-c")
        .arg(OsStr::from_bytes(command))
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", &home)
        .env("USER", &options.user)
        .env("LOGNAME", &options.user)
        .env("SHELL", shell)
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(&home)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// A command's channel, taken apart.
struct Wiring {
    handle: Handle,
    input: ChannelReadHalf,
    output: ChannelWriteHalf<Msg>,
    group: Group,
    cut: CancellationToken,
}

impl Wiring {
    /// Carries input and output until the command is over, and answers unless the output is to be lost.
    /// Returns whether the command was started.
    async fn serve(self, spawned: std::io::Result<Child>, output: Output, ended: impl Fn(End)) -> bool {
        let id = self.output.id();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                ended(End::NotRun(error.to_string()));
                finish(&self.handle, id, 127, &format!("cannot start the login shell: {error}\n")).await;
                return false;
            }
        };
        started(&self.group, &child);
        // Ends the pumps once the other end reads and writes no more.
        let gone = self.cut.child_token();
        let pump = Pump { write: Arc::new(self.output), output, gone: gone.clone() };
        let feeding = tokio::spawn(feed(self.input, child.stdin.take(), gone.clone()));
        let out = tokio::spawn(pump.clone().drain(child.stdout.take(), None));
        let err = tokio::spawn(pump.drain(child.stderr.take(), Some(1)));
        let drained = async {
            let _ = out.await;
            let _ = err.await;
        };
        tokio::pin!(drained);
        let mut is_drained = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = &mut drained, if !is_drained => is_drained = true,
            }
        };
        if !is_drained {
            is_drained = tokio::time::timeout(TAIL, &mut drained).await.is_ok();
        }
        ended(status.as_ref().map_or_else(|error| End::NotRun(error.to_string()), end_of));
        match (output, is_drained) {
            (Output::Sent, true) => {
                let _ = self.handle.eof(id).await;
                tell(&self.handle, id, status.as_ref().ok()).await;
            }
            (Output::Sent, false) => {
                tell(&self.handle, id, status.as_ref().ok()).await;
                drained.await;
                let _ = self.handle.eof(id).await;
            }
            // Whatever stays in the background has nothing to lose its output to.
            (Output::Lost, _) => {}
        }
        *held(&self.group) = Life::Over;
        gone.cancel();
        feeding.abort();
        if output == Output::Sent {
            let _ = self.handle.close(id).await;
        }
        true
    }

    /// Swallows everything until the client gives up.
    async fn ignore(mut self) {
        loop {
            tokio::select! {
                () = self.cut.cancelled() => return,
                message = self.input.wait() => match message {
                    None | Some(ChannelMsg::Close) => return,
                    Some(_) => {}
                },
            }
        }
    }
}

pub(super) fn started(group: &Group, child: &Child) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw) else { return };
    let mut life = held(group);
    if let Life::Doomed(signal) = *life {
        let _ = killpg(pid, signal);
    }
    *life = Life::Running(pid);
}

/// Feeds a command; ends the pumps when the client closes the channel.
async fn feed(mut input: ChannelReadHalf, mut stdin: Option<ChildStdin>, gone: CancellationToken) {
    loop {
        let message = tokio::select! {
            () = gone.cancelled() => return,
            message = input.wait() => message,
        };
        match message {
            Some(ChannelMsg::Data { data }) => {
                if let Some(pipe) = &mut stdin {
                    let written = tokio::select! {
                        () = gone.cancelled() => return,
                        written = pipe.write_all(&data) => written,
                    };
                    // The command does not want more; what comes is dropped, as sshd does.
                    if written.is_err() {
                        stdin = None;
                    }
                }
            }
            Some(ChannelMsg::Eof) => stdin = None,
            Some(ChannelMsg::Close) | None => {
                gone.cancel();
                return;
            }
            Some(_) => {}
        }
    }
}

/// Carries a command's output to the client.
#[derive(Clone)]
struct Pump {
    write: Arc<ChannelWriteHalf<Msg>>,
    output: Output,
    gone: CancellationToken,
}

impl Pump {
    /// Sends what a command prints, no faster than the client's window opens.
    async fn drain(self, pipe: Option<impl AsyncRead + Unpin>, extended: Option<u32>) {
        let Self { write, output, gone } = self;
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 32 * 1024];
        let pump = async {
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                if output == Output::Lost {
                    continue;
                }
                let chunk = Bytes::copy_from_slice(&buffer[..count]);
                let sent = match extended {
                    None => write.data_bytes(chunk).await,
                    Some(code) => write.extended_data_bytes(code, chunk).await,
                };
                if sent.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = gone.cancelled() => {}
            () = pump => {}
        }
    }
}

async fn tell(handle: &Handle, id: russh::ChannelId, status: Option<&ExitStatus>) {
    let Some(status) = status else { return };
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            let _ = handle.exit_status_request(id, u32::try_from(code).unwrap_or(255)).await;
        }
        (None, Some(number)) => {
            let (signal, core) = (signal_named(&signal_name(number)), status.core_dumped());
            let _ = handle.exit_signal_request(id, signal, core, String::new(), String::new()).await;
        }
        (None, None) => {}
    }
}

pub(super) async fn finish(handle: &Handle, id: russh::ChannelId, status: u32, stderr: &str) {
    if !stderr.is_empty() {
        let _ = handle.extended_data(id, 1, Bytes::copy_from_slice(stderr.as_bytes())).await;
    }
    let _ = handle.eof(id).await;
    let _ = handle.exit_status_request(id, status).await;
    let _ = handle.close(id).await;
}

pub(super) fn end_of(status: &ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(code),
        (None, number) => End::Signal(signal_name(number.unwrap_or_default())),
    }
}

/// Returns a signal's name without SIG, or its number where it has none.
fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.as_str().trim_start_matches("SIG").to_owned())
}

/// Returns a signal's name without SIG.
pub(super) fn name_of(signal: &Sig) -> String {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
    .to_owned()
}

pub(super) fn signal_named(name: &str) -> Sig {
    match name {
        "ABRT" => Sig::ABRT,
        "ALRM" => Sig::ALRM,
        "FPE" => Sig::FPE,
        "HUP" => Sig::HUP,
        "ILL" => Sig::ILL,
        "INT" => Sig::INT,
        "KILL" => Sig::KILL,
        "PIPE" => Sig::PIPE,
        "QUIT" => Sig::QUIT,
        "SEGV" => Sig::SEGV,
        "TERM" => Sig::TERM,
        "USR1" => Sig::USR1,
        other => Sig::Custom(other.to_owned()),
    }
}

/// The mark in the environment of a fleet's commands.
pub(super) fn mark(fleet: &str) -> (String, String) {
    (processes::MARK.to_owned(), fleet.to_owned())
}
