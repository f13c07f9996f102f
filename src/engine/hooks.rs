//! Hooks: commands of the configuration around steps, on servers or on the operator's machine.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::Running;
use super::step::{How, Limit};
use crate::config::{HookPlace, HookPoint};
use crate::event::{Cause, Event, Failure, Place, StageName, StepName, Stream, Warning};
use crate::name::ServerName;
use crate::plan::stages::HERE;
use crate::remote::Call;
use crate::remote::calls::{self, Dir};

/// Runs one hook at its place in the plan.
///
/// # Errors
/// When it failed and `halt` is true; otherwise it is a warning.
pub async fn run(running: &Running, index: usize, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
    let Some(hook) = running.world.config.hooks.get(index) else { return Ok(()) };
    let result = if place.server.as_str() == HERE {
        here(running, index, place, stop).await
    } else {
        let dir = match running.record(&place.server) {
            // What was prepared is gone, or is no longer what runs.
            record if record.taken_back => match running.previous(&place.server) {
                Some(_) => Dir::Current,
                None => Dir::Root,
            },
            record if record.prepared => Dir::Release(running.plan.release.clone()),
            record if record.switched.is_some() => Dir::Current,
            _ => Dir::Root,
        };
        let mut call = running.with_facts(calls::command(&running.site(), dir, &hook.run), place, Some(&hook.at));
        if running.record(&place.server).locked {
            call = call.under(&running.world.run, "hook");
        }
        let limit = Some(Limit(running.world.config.timeouts.prepare));
        running.call(place, call, How { limit, command: Some(&hook.run), payload: None }, stop).await.map(drop)
    };
    match result {
        Err(failure) if !hook.halt && failure.cause != Cause::Interrupted => {
            let warning = Warning::Hook { command: hook.run.clone(), failure: Box::new(failure) };
            running.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
            Ok(())
        }
        other => other,
    }
}

/// Runs the `on failure` hooks; nothing that happens to them changes how the run ends.
pub async fn on_failure(running: &Running) {
    let stop = &running.world.stop;
    let stop = if stop.asked() { &stop.hard } else { &stop.soft };
    let all = running.plan.batches.concat();
    for (index, hook) in running.world.config.hooks.iter().enumerate() {
        if hook.at != HookPoint::OnFailure {
            continue;
        }
        let servers = match hook.on {
            HookPlace::Here => vec![ServerName(HERE.into())],
            HookPlace::One => all.iter().take(1).cloned().collect(),
            HookPlace::Each => all.clone(),
        };
        for server in servers {
            let place = Place { stage: StageName::Finish, batch: 0, server, step: StepName::Hook };
            if let Err(failure) = run(running, index, &place, stop).await {
                let warning = Warning::Hook { command: hook.run.clone(), failure: Box::new(failure) };
                running.world.emitter.emit(Event::Warning { server: Some(place.server), warning });
            }
        }
    }
}

impl Running {
    /// Adds the run's facts to a command's environment.
    pub fn with_facts(&self, mut call: Call, place: &Place, hook: Option<&HookPoint>) -> Call {
        call.env.extend(self.facts_for(place, hook));
        call
    }

    fn facts_for(&self, place: &Place, hook: Option<&HookPoint>) -> Vec<(String, String)> {
        let plan = &self.plan;
        let mut facts = vec![
            ("PITCREW_APP", self.world.config.app.name.clone()),
            ("PITCREW_RUN", self.world.run.0.clone()),
            ("PITCREW_RELEASE", plan.release.as_str().to_owned()),
            ("PITCREW_REVISION", plan.revision.0.clone()),
            ("PITCREW_STRATEGY", plan.strategy.to_string()),
            ("PITCREW_STAGE", place.stage.to_string()),
            ("PITCREW_SERVER", place.server.0.clone()),
            ("PITCREW_SERVERS", plan.batches.concat().iter().map(|s| s.0.as_str()).collect::<Vec<_>>().join(" ")),
        ];
        if let Some(hook) = hook {
            facts.push(("PITCREW_HOOK", hook.to_string()));
        }
        facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }
}

/// Runs a command on the operator's machine, in the configuration's directory, in a process group of its own.
async fn here(running: &Running, index: usize, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
    let config = &running.world.config;
    let Some(hook) = config.hooks.get(index) else { return Ok(()) };
    let tail = Mutex::new(VecDeque::new());
    let fail = |cause| {
        let lines = tail.lock().map(|t| t.iter().cloned().collect()).unwrap_or_default();
        Failure { cause, command: Some(hook.run.clone()), tail: lines }
    };
    let local = |e: std::io::Error| fail(Cause::Local { detail: format!("cannot run `{}`: {e}", hook.run) });
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(&hook.run)
        .current_dir(&config.base)
        .envs(running.facts_for(place, Some(&hook.at)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(local)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ear = LocalEar { running, place, tail: &tail };
    let listening = async { tokio::join!(ear.listen(out, Stream::Stdout), ear.listen(err, Stream::Stderr)) };
    let waiting = wait(&mut child, group, config.timeouts.prepare, stop);
    tokio::pin!(listening, waiting);
    let mut heard_all = false;
    let ended = loop {
        tokio::select! {
            ended = &mut waiting => break ended,
            _ = &mut listening, if !heard_all => heard_all = true,
        }
    };
    if !heard_all {
        // Something it left in the background may hold its output open for ever.
        let _ = tokio::time::timeout(Duration::from_secs(1), listening).await;
    }
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(fail(match (status.code(), status.signal()) {
            (Some(code), _) => Cause::Exit { status: u32::try_from(code).unwrap_or(1) },
            (None, Some(signal)) => Cause::Signal { signal: name_of(signal) },
            (None, None) => Cause::NoStatus,
        })),
        Err(Cut::Io(e)) => Err(local(e)),
        Err(Cut::Stopped) => Err(fail(Cause::Interrupted)),
        Err(Cut::TimedOut(limit)) => Err(fail(Cause::TimedOut { limit: limit.as_secs_f64() })),
    }
}

fn name_of(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| signal.to_string(), |s| s.as_str().trim_start_matches("SIG").to_owned())
}

enum Cut {
    Io(std::io::Error),
    Stopped,
    TimedOut(Duration),
}

/// Waits for the child within its limit; ends its whole group otherwise.
async fn wait(
    child: &mut Child,
    group: Option<Pid>,
    limit: Option<Duration>,
    stop: &CancellationToken,
) -> Result<std::process::ExitStatus, Cut> {
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let cut = tokio::select! {
        status = child.wait() => return status.map_err(Cut::Io),
        () = stop.cancelled() => Cut::Stopped,
        () = over => Cut::TimedOut(limit.unwrap_or_default()),
    };
    for (signal, grace) in [(Signal::SIGTERM, 5), (Signal::SIGKILL, 1)] {
        if let Some(group) = group {
            let _ = killpg(group, signal);
        }
        if tokio::time::timeout(Duration::from_secs(grace), child.wait()).await.is_ok() {
            break;
        }
    }
    Err(cut)
}

struct LocalEar<'a> {
    running: &'a Running,
    place: &'a Place,
    tail: &'a Mutex<VecDeque<String>>,
}

impl LocalEar<'_> {
    async fn listen(&self, from: Option<impl AsyncRead + Unpin>, stream: Stream) {
        let Some(from) = from else { return };
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        // A line longer than this is passed on in pieces: memory stays bounded whatever a hook prints.
        while let Ok(1..) = (&mut from).take(8192).read_until(b'\n', &mut line).await {
            let raw = String::from_utf8_lossy(&line);
            let text = raw.trim_end_matches('\n').to_owned();
            line.clear();
            if let Ok(mut tail) = self.tail.lock() {
                if tail.len() == 20 {
                    tail.pop_front();
                }
                tail.push_back(text.clone());
            }
            self.running.world.emitter.emit(Event::Output { place: self.place.clone(), stream, line: text });
        }
    }
}
