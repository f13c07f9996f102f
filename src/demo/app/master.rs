//! The demo application's master: boots, holds the socket, keeps a worker and obeys signals.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::options::{Options, PATIENCE, READY};
use super::ready::{announce, end_failed, ready};

/// How long requests in flight are waited for when the application leaves.
const LAST_REQUESTS: Duration = Duration::from_secs(60);

/// Runs the master that opens the socket.
pub(super) async fn first(options: &Options) -> Result<(), String> {
    // Out of the session that the start command runs in. It fails only where there is nothing to leave.
    let _ = nix::unistd::setsid();
    let open = async {
        boot(options).await?;
        TcpListener::bind((options.address, options.port))
            .map_err(|error| format!("cannot listen on {}:{}: {error}", options.address, options.port))
    };
    told(open.await, options).await
}

/// Runs a master that is given the socket of the one before.
pub(super) async fn successor(options: &Options) -> Result<(), String> {
    let open = async {
        boot(options).await?;
        given()
    };
    told(open.await, options).await
}

/// Takes the socket that stands in for standard input.
pub(super) fn given() -> Result<TcpListener, String> {
    let fd = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| format!("cannot take over the socket: {error}"))?;
    // Else the socket would go on listening here after the listener is dropped.
    std::fs::File::open("/dev/null")
        .and_then(|null| nix::unistd::dup2_stdin(null).map_err(Into::into))
        .map_err(|error| format!("cannot let go of standard input: {error}"))?;
    Ok(TcpListener::from(fd))
}

async fn told(listener: Result<TcpListener, String>, options: &Options) -> Result<(), String> {
    let started = match listener {
        Ok(listener) => Master::start(listener, options).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(master) => {
            announce(READY);
            master.obey(options).await
        }
        Err(error) => {
            announce(&error);
            Err(error)
        }
    }
}

async fn boot(options: &Options) -> Result<(), String> {
    tokio::time::sleep(options.boot()).await;
    if Path::new("BROKEN_BOOT").exists() {
        return Err("the release fails to boot (BROKEN_BOOT)".to_owned());
    }
    Ok(())
}

struct Master {
    listener: TcpListener,
    worker: Child,
    reload: [SignalStream; 2],
    leave: [SignalStream; 3],
}

/// What the master wakes up for.
enum Event {
    Reload,
    /// Stop listening; what is being answered is answered to its end, or is not.
    Leave {
        finish: bool,
    },
    WorkerGone,
    Succeeded,
    SuccessorFailed(String),
}

impl Master {
    async fn start(listener: TcpListener, options: &Options) -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot catch signals: {error}"));
        // Before the pid file exists, so that no signal finds its default action.
        let reload = [listen(SignalKind::user_defined2())?, listen(SignalKind::hangup())?];
        let leave = [listen(SignalKind::terminate())?, listen(SignalKind::quit())?, listen(SignalKind::interrupt())?];
        let worker = worker(&listener, options).await?;
        write_pid(options)?;
        Ok(Self { listener, worker, reload, leave })
    }

    async fn obey(mut self, options: &Options) -> Result<(), String> {
        let mut successor: Option<Successor> = None;
        // Asked again while one boots, which may have looked at `current` too early: it is passed on to that one.
        let mut again = false;
        let finish = loop {
            match self.next(&mut successor).await {
                Event::Reload if successor.is_some() => again = true,
                Event::Reload => match Successor::start(&self.listener, options) {
                    Ok(started) => successor = Some(started),
                    Err(error) => note(&error),
                },
                Event::SuccessorFailed(error) => {
                    note(&format!("the old release goes on: {error}"));
                    if let Some(mut failed) = successor.take() {
                        end_failed(&mut failed.child).await;
                    }
                    if std::mem::take(&mut again) {
                        match Successor::start(&self.listener, options) {
                            Ok(started) => successor = Some(started),
                            Err(error) => note(&error),
                        }
                    }
                }
                Event::Succeeded => {
                    if again {
                        reload(successor.as_ref());
                    }
                    break true;
                }
                Event::Leave { finish } => {
                    if let Some(mut early) = successor.take() {
                        let _ = early.child.start_kill();
                        let _ = early.child.wait().await;
                    }
                    break finish;
                }
                Event::WorkerGone => {
                    note("the worker is gone; starting another");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    self.worker = worker(&self.listener, options).await?;
                }
            }
        };
        let Self { listener, mut worker, reload: [mut usr2, mut hup], .. } = self;
        drop(listener);
        let leaving = end(&mut worker, finish);
        tokio::pin!(leaving);
        loop {
            tokio::select! {
                () = &mut leaving => break,
                // The sender of the signal read the pid file before the successor wrote its own.
                _ = usr2.recv() => reload(successor.as_ref()),
                _ = hup.recv() => reload(successor.as_ref()),
            }
        }
        // Only its own: a successor has written another by now.
        let own = std::process::id().to_string();
        if std::fs::read_to_string(&options.pid_file).is_ok_and(|pid| pid.trim() == own) {
            let _ = std::fs::remove_file(&options.pid_file);
        }
        Ok(())
    }

    async fn next(&mut self, successor: &mut Option<Successor>) -> Event {
        let [usr2, hup] = &mut self.reload;
        let [term, quit, int] = &mut self.leave;
        let succeeded = async {
            match successor {
                Some(successor) => (&mut successor.ready).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = quit.recv() => Event::Leave { finish: true },
            _ = term.recv() => Event::Leave { finish: false },
            _ = int.recv() => Event::Leave { finish: false },
            result = succeeded => match result {
                Ok(Ok(())) => Event::Succeeded,
                Ok(Err(error)) => Event::SuccessorFailed(error),
                Err(error) => Event::SuccessorFailed(error.to_string()),
            },
            _ = usr2.recv() => Event::Reload,
            _ = hup.recv() => Event::Reload,
            _ = self.worker.wait() => Event::WorkerGone,
        }
    }
}

/// A master that boots to take over.
struct Successor {
    child: Child,
    ready: tokio::task::JoinHandle<Result<(), String>>,
}

impl Successor {
    fn start(listener: &TcpListener, options: &Options) -> Result<Self, String> {
        let mut child = options
            .command("successor", &options.current)?
            .stdin(socket(listener)?)
            .spawn()
            .map_err(|error| format!("cannot start in {}: {error}", options.current.display()))?;
        let ready = tokio::spawn(ready(child.stdout.take(), options.boot() + PATIENCE));
        Ok(Self { child, ready })
    }
}

/// Has a successor look at `current` once more.
fn reload(successor: Option<&Successor>) {
    if let Some(pid) = successor.and_then(|s| i32::try_from(s.child.id()?).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGUSR2);
    }
}

/// Starts a worker in this process's directory and waits until it serves.
async fn worker(listener: &TcpListener, options: &Options) -> Result<Child, String> {
    let here = std::env::current_dir().map_err(|error| format!("cannot find the release: {error}"))?;
    let mut command = options.command("worker", &here)?;
    if here.join("MIXED").exists()
        && let Some(other) = another_release(&here)
    {
        command.env("BUNDLE_GEMFILE", other.join("Gemfile"));
    }
    let mut child =
        command.stdin(socket(listener)?).spawn().map_err(|error| format!("cannot start a worker: {error}"))?;
    match ready(child.stdout.take(), PATIENCE).await {
        Ok(()) => Ok(child),
        Err(error) => {
            end_failed(&mut child).await;
            Err(error)
        }
    }
}

/// Finds a release beside this one.
fn another_release(here: &Path) -> Option<PathBuf> {
    let beside = std::fs::read_dir(here.parent()?).ok()?.flatten().map(|entry| entry.path());
    beside.into_iter().find(|path| path.is_dir() && path != here)
}

fn socket(listener: &TcpListener) -> Result<Stdio, String> {
    let copy = listener.try_clone().map_err(|error| format!("cannot pass the socket on: {error}"))?;
    Ok(Stdio::from(OwnedFd::from(copy)))
}

/// Ends a worker: when its requests are answered or take too long, or at once.
async fn end(worker: &mut Child, finish: bool) {
    if !finish {
        let _ = worker.start_kill();
        let _ = worker.wait().await;
        return;
    }
    if let Some(pid) = worker.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(LAST_REQUESTS, worker.wait()).await.is_err() {
        let _ = worker.start_kill();
        let _ = worker.wait().await;
    }
}

/// Writes the pid file in one move, so that no reader ever sees half of it.
fn write_pid(options: &Options) -> Result<(), String> {
    let pid = std::process::id();
    let fresh = options.pid_file.with_extension(format!("{pid}.tmp"));
    std::fs::write(&fresh, format!("{pid}\n"))
        .and_then(|()| std::fs::rename(&fresh, &options.pid_file))
        .map_err(|error| format!("cannot write {}: {error}", options.pid_file.display()))
}

fn note(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "demo-app: {text}");
}
