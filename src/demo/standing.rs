//! A command that runs script after script (`pitcrew-standing`), taken apart: each script is told and can go wrong by itself.
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

use super::exec::{Job, Life, STALL, end_of, finish, signal_named, spawn, started};
use super::faults::Fault;
use super::faults::PointKind;
use super::held::held;
use super::log::{End, Kind};

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

/// Runs scripts until the client has no more.
pub(super) async fn run(job: Job) {
    let (input, output) = { job.channel }.split();
    let id = output.id();
    let read = BytesMut::new();
    let mut client = Client { input, output: Arc::new(output), handle: job.handle, id, read, cut: job.cut.clone() };
    let server = &job.server;
    let command = String::from_utf8_lossy(&job.command);
    // Before the first script: the environment, and the text itself where it was too long for a command line.
    let head = if command.contains(" stdin '") { 2 } else { 1 };
    let Some(head) = client.lines(head, &job.group).await else { return client.leave(&job.group, 0).await };
    while let Some(script) = client.lines(LINES, &job.group).await {
        let name = script.split(|b| *b == b' ').next().unwrap_or_default();
        let step = String::from_utf8_lossy(name).into_owned();
        let exec = server.next_exec();
        server.add(Kind::Exec { exec, command: command.clone().into_owned(), step: Some(step.clone()) });
        let fault = server.options.faults.pass(&server.options.name, PointKind::Exec, &step);
        if let Some(fault) = &fault {
            server.add(Kind::Fault { label: step.clone(), fault: fault.clone() });
        }
        let ended = |end: End| server.add(Kind::ExecEnd { exec, step: Some(step.clone()), end });
        let not_run = |why: &str| ended(End::NotRun(why.to_owned()));
        let input = [&head[..], &script[..]].concat();
        match fault {
            None | Some(Fault::EffectThenError { .. } | Fault::CutAfter | Fault::DoneThenDead | Fault::Stall) => {
                let stalls = fault == Some(Fault::Stall);
                let heard = (fault.is_none() || stalls).then(|| Arc::clone(&client.output));
                let child = match spawn(server, if stalls { STALL } else { &job.command }, &job.env) {
                    Ok(child) => child,
                    Err(error) => {
                        not_run(&error.to_string());
                        return client
                            .finish(&job.group, 127, &format!("cannot start the login shell: {error}\n"))
                            .await;
                    }
                };
                started(&job.group, &child);
                let done = serve(child, input, heard, &client.cut).await;
                // Its signal came when the script's shell had ended: the one that a real server has would end by it.
                let told = matches!(*held(&job.group), Life::Told(_));
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
                *held(&job.group) = if doomed.is_some() { Life::Over } else { Life::NotStarted };
                match (fault, doomed) {
                    (None | Some(Fault::Stall), Some(status)) => return client.finish(&job.group, status, "").await,
                    (None | Some(Fault::Stall), None) => {}
                    (Some(Fault::EffectThenError { status }), _) => {
                        let said = "pitcrew demo: the answer was lost by an injected fault\n";
                        return client.finish(&job.group, status, said).await;
                    }
                    (Some(Fault::DoneThenDead), _) => return server.kill(),
                    (Some(_), _) => return client.cut.cancel(),
                }
            }
            Some(Fault::ErrorBefore { status, stderr }) => {
                not_run("injected error");
                return client.finish(&job.group, status, &stderr).await;
            }
            Some(Fault::Garbage) => {
                not_run("injected error");
                return client.finish(&job.group, 1, "pitcrew demo: injected fault\n").await;
            }
            Some(Fault::Killed { signal }) => {
                not_run(&format!("injected SIG{signal}"));
                *held(&job.group) = Life::Over;
                let (handle, named) = (&client.handle, signal_named(&signal));
                let _ = handle.eof(id).await;
                let _ = handle.exit_signal_request(id, named, false, String::new(), String::new()).await;
                let _ = handle.close(id).await;
                return;
            }
            Some(Fault::CutBefore) => {
                not_run("injected cut");
                return client.cut.cancel();
            }
            Some(Fault::Dead) => {
                not_run("injected death");
                return server.kill();
            }
            Some(Fault::Hang) => {
                not_run("injected silence");
                while client.more().await {}
                return;
            }
        }
    }
    client.leave(&job.group, 0).await;
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
    async fn lines(&mut self, wanted: usize, group: &super::exec::Group) -> Option<Vec<u8>> {
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

    async fn leave(self, group: &super::exec::Group, status: u32) {
        self.finish(group, status, "").await;
    }

    async fn finish(self, group: &super::exec::Group, status: u32, stderr: &str) {
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

/// Passes lines on until the one that tells the script's end; that one, and the status in it, are the result.
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
