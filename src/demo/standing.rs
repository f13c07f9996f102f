//! A command that runs script after script (`pitcrew-standing`), taken apart.
//!
//! Each script is logged and can go wrong by itself.
//!
//! Where a real server's shell waits for scripts, here each gets a shell of its own, which is given that one script to run:
//! so every fault has the same meaning for a script, however it arrives.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use super::exec::{Group, Job, Life, STALL, end_of, finish, signal_named, spawn, started};
use super::faults::Fault;
use super::faults::PointKind;
use super::held::held;
use super::log::{End, Kind};
use super::shared::Shared;

/// The name of the command.
pub(super) const NAME: &str = "standing";
/// Lines of input that make one script.
const LINES: usize = 3;
/// How often the exec looks for a signal while no script runs.
const LOOK: Duration = Duration::from_millis(20);
/// How long output is waited for when a shell has ended without a word.
const TAIL: Duration = Duration::from_secs(1);

/// The client's side.
struct Client {
    input: ChannelReadHalf,
    output: Arc<ChannelWriteHalf<Msg>>,
    handle: Handle,
    id: ChannelId,
    read: BytesMut,
    cut: CancellationToken,
}

/// How the exec ends before the client has no more scripts.
enum Leave {
    /// With a status and a last line.
    With(u32, String),
    /// By a signal.
    Signal(String),
    /// With the connection.
    Cut,
    /// With the server.
    Dead,
    /// Not at all, and says no word.
    Silent,
}

/// Runs scripts until the client has no more.
pub(super) async fn run(job: Job) {
    let Job { server, command, env, channel, handle, group, cut, .. } = job;
    let (input, output) = channel.split();
    let id = output.id();
    let mut client = Client { input, output: Arc::new(output), handle, id, read: BytesMut::new(), cut };
    let shown = String::from_utf8_lossy(&command).into_owned();
    // Before the first script: the nonce, the environment, and between them the text where the server does not keep it.
    let head = if shown.contains(" stdin '") { 3 } else { 2 };
    let Some(head) = client.lines(head, &group).await else { return client.leave(&group, 0).await };
    let exec = Standing { server, command, shown, env, head, group };
    while let Some(script) = client.lines(LINES, &exec.group).await {
        if let Some(leave) = exec.script(&client, &script).await {
            return exec.leave(client, leave).await;
        }
    }
    client.leave(&exec.group, 0).await;
}

/// The exec, and what all its scripts share.
struct Standing {
    server: Arc<Shared>,
    command: Vec<u8>,
    shown: String,
    env: Vec<(String, String)>,
    head: Vec<u8>,
    group: Group,
}

impl Standing {
    /// Runs one script, or what the fault makes of it. `None`: the exec goes on.
    async fn script(&self, client: &Client, script: &[u8]) -> Option<Leave> {
        let server = &self.server;
        let name = script.split(|b| *b == b' ').next().unwrap_or_default();
        let step = String::from_utf8_lossy(name).into_owned();
        let exec = server.next_exec();
        server.add(Kind::Exec { exec, command: self.shown.clone(), step: Some(step.clone()) });
        let fault = server.options.faults.pass(&server.options.name, PointKind::Exec, &step);
        if let Some(fault) = &fault {
            server.add(Kind::Fault { label: step.clone(), fault: fault.clone() });
        }
        let ended = |end: End| server.add(Kind::ExecEnd { exec, step: Some(step.clone()), end });
        let not_run = |why: &str| ended(End::NotRun(why.to_owned()));
        let (why, leave) = match fault {
            None | Some(Fault::EffectThenError { .. } | Fault::CutAfter | Fault::DoneThenDead | Fault::Stall) => {
                let input = [&self.head[..], script].concat();
                return self.shell(client, input, (fault, &ended)).await;
            }
            Some(Fault::ErrorBefore { status, stderr }) => ("injected error", Leave::With(status, stderr)),
            Some(Fault::Garbage) => ("injected error", Leave::With(1, "pitcrew demo: injected fault\n".into())),
            Some(Fault::Killed { signal }) => (&*format!("injected SIG{signal}"), Leave::Signal(signal.clone())),
            Some(Fault::CutBefore) => ("injected cut", Leave::Cut),
            Some(Fault::Dead) => ("injected death", Leave::Dead),
            Some(Fault::Hang) => ("injected silence", Leave::Silent),
        };
        not_run(why);
        Some(leave)
    }

    /// Gives a script a shell of its own.
    async fn shell(&self, client: &Client, input: Vec<u8>, of: (Option<Fault>, &impl Fn(End))) -> Option<Leave> {
        let (fault, ended) = of;
        let stalls = fault == Some(Fault::Stall);
        let heard = (fault.is_none() || stalls).then(|| Arc::clone(&client.output));
        let child = match spawn(&self.server, if stalls { STALL } else { &self.command }, &self.env) {
            Ok(child) => child,
            Err(error) => {
                ended(End::NotRun(error.to_string()));
                return Some(Leave::With(127, format!("cannot start the login shell: {error}\n")));
            }
        };
        started(&self.group, &child);
        let done = serve(child, input, heard, &client.cut).await;
        // Its signal came when the script's shell had ended: the one that a real server has would end by it.
        let told = matches!(*held(&self.group), Life::Told(_));
        let doomed = match &done {
            Done::Over(..) => told.then_some(71),
            Done::Ended(End::Exit(status)) => Some(u32::try_from(*status).unwrap_or(71)),
            Done::Ended(_) => Some(71),
        };
        match done {
            Done::Over(status, last) => {
                ended(End::Exit(status));
                if fault.is_none() {
                    client.send(last).await;
                }
            }
            Done::Ended(end) => ended(end),
        }
        *held(&self.group) = if doomed.is_some() { Life::Over } else { Life::NotStarted };
        match fault {
            None | Some(Fault::Stall) => doomed.map(|status| Leave::With(status, String::new())),
            Some(Fault::EffectThenError { status }) => {
                Some(Leave::With(status, "pitcrew demo: the answer was lost by an injected fault\n".into()))
            }
            Some(Fault::DoneThenDead) => Some(Leave::Dead),
            Some(_) => Some(Leave::Cut),
        }
    }

    async fn leave(&self, mut client: Client, leave: Leave) {
        match leave {
            Leave::With(status, text) => client.finish(&self.group, status, &text).await,
            Leave::Signal(signal) => {
                *held(&self.group) = Life::Over;
                let (handle, id, named) = (&client.handle, client.id, signal_named(&signal));
                let _ = handle.eof(id).await;
                let _ = handle.exit_signal_request(id, named, false, String::new(), String::new()).await;
                let _ = handle.close(id).await;
            }
            Leave::Cut => client.cut.cancel(),
            Leave::Dead => self.server.kill(),
            Leave::Silent => while client.more().await {},
        }
    }
}

impl Client {
    /// Reads more input. False: there is no more.
    async fn more(&mut self) -> bool {
        tokio::select! {
            () = self.cut.cancelled() => false,
            message = self.input.wait() => match message {
                Some(ChannelMsg::Data { data }) => {
                    self.read.extend_from_slice(&data);
                    true
                }
                None | Some(ChannelMsg::Eof | ChannelMsg::Close) => false,
                Some(_) => true,
            },
        }
    }

    /// Takes so many lines of the input; `None`: there are no more, or a signal has ended the waiting.
    async fn lines(&mut self, wanted: usize, group: &Group) -> Option<Vec<u8>> {
        loop {
            let ends = self.read.iter().enumerate().filter(|(_, b)| **b == b'\n');
            if let Some((end, _)) = ends.take(wanted).nth(wanted - 1) {
                return Some(self.read.split_to(end + 1).to_vec());
            }
            tokio::select! {
                more = self.more() => if !more {
                    return None;
                },
                () = tokio::time::sleep(LOOK) => if matches!(*held(group), Life::Doomed(_)) {
                    return None;
                },
            }
        }
    }

    async fn send(&self, last: Vec<(Option<u32>, Vec<u8>)>) {
        for (extended, line) in last {
            let _ = match extended {
                None => self.output.data_bytes(Bytes::from(line)).await,
                Some(code) => self.output.extended_data_bytes(code, Bytes::from(line)).await,
            };
        }
    }

    async fn leave(self, group: &Group, status: u32) {
        self.finish(group, status, "").await;
    }

    async fn finish(self, group: &Group, status: u32, stderr: &str) {
        *held(group) = Life::Over;
        finish(&self.handle, self.id, status, stderr).await;
    }
}

/// How a script's shell ended.
enum Done {
    /// The script has, with this status; what says so is kept back, for the log comes first.
    Over(i32, Vec<(Option<u32>, Vec<u8>)>),
    /// The shell itself has, before the script.
    Ended(End),
}

async fn serve(
    mut child: Child,
    input: Vec<u8>,
    heard: Option<Arc<ChannelWriteHalf<Msg>>>,
    cut: &CancellationToken,
) -> Done {
    if let Some(mut stdin) = child.stdin.take() {
        // A shell that does not want it has ended, and says so below.
        let _ = stdin.write_all(&input).await;
    }
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let outputs = async { tokio::join!(listen(out, None, heard.clone()), listen(err, Some(1), heard.clone())) };
    tokio::pin!(outputs);
    let mut told = None;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            both = &mut outputs, if told.is_none() => told = Some(both),
            () = cut.cancelled(), if told.is_none() => told = Some((None, None)),
        }
    };
    // What stays in the background may hold the output open.
    let (out, err) = match told {
        Some(both) => both,
        None => tokio::time::timeout(TAIL, outputs).await.unwrap_or_default(),
    };
    match (out, err) {
        (Some((status, line)), Some((_, other))) => Done::Over(status, vec![(None, line), (Some(1), other)]),
        _ => Done::Ended(status.as_ref().map_or_else(|error| End::NotRun(error.to_string()), end_of)),
    }
}

/// Passes lines on until the one that tells the script's end; returns that one and its status.
async fn listen(
    pipe: Option<impl AsyncRead + Unpin>,
    extended: Option<u32>,
    heard: Option<Arc<ChannelWriteHalf<Msg>>>,
) -> Option<(i32, Vec<u8>)> {
    let mut pipe = BufReader::new(pipe?);
    loop {
        let mut line = Vec::new();
        let count = pipe.read_until(b'\n', &mut line).await.ok()?;
        if count == 0 {
            return None;
        }
        if let Some(status) = over(&line) {
            return Some((status, line));
        }
        if let Some(write) = &heard {
            let chunk = Bytes::from(line);
            let _ = match extended {
                None => write.data_bytes(chunk).await,
                Some(code) => write.extended_data_bytes(code, chunk).await,
            };
        }
    }
}

/// Reads the status of a script's end.
fn over(line: &[u8]) -> Option<i32> {
    let line = String::from_utf8_lossy(line);
    let (_, rest) = line.split_once("@pitcrew:")?;
    let (_, told) = rest.split_once(' ')?;
    told.strip_prefix("over ")?.trim().parse().ok()
}
