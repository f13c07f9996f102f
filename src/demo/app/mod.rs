//! A small web application server with a master and a worker, as unicorn has them: what the demo fleet deploys.
//!
//! Runs as processes of its own through a hidden subcommand: `demo-app --port P --pid-file F`, in the release's directory.
//! It owns starting and readiness; `master` owns the signals, `worker` the requests.
//!
//! - A release is a directory with a file `REVISION`. One with `BROKEN_BOOT` fails to boot, one with `BROKEN` answers 500.
//! - USR2 or HUP: a new master starts in what `current` points to now, on the same socket; when it is ready the old one
//!   finishes its requests and leaves. If it fails to boot, the old one goes on. Asked again meanwhile, it reloads once more.
//! - QUIT: stop listening, finish requests, leave. TERM or INT: leave at once; who is being answered is cut off.

mod master;
mod worker;

use std::ffi::OsString;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdout, Command};

/// How long a boot may take beyond `--boot-ms`.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a process that has failed may take to write its log.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a process says on its output when it serves.
const READY: &str = "ready";

/// The demo application's arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Port to listen on
    #[arg(long)]
    port: u16,
    /// Address to listen on
    #[arg(long, env = "PITCREW_DEMO_ADDR", default_value = "127.0.0.1")]
    address: IpAddr,
    /// Where the master writes its pid
    #[arg(long)]
    pid_file: PathBuf,
    /// What the processes print; default: the pid file's name with `.log`
    #[arg(long)]
    log: Option<PathBuf>,
    /// The link that a reload follows
    #[arg(long, default_value = ".")]
    current: PathBuf,
    /// How long it takes to boot
    #[arg(long, default_value_t = 0)]
    boot_ms: u64,
    /// Which of its processes this is
    #[arg(long, hide = true, default_value = "launcher")]
    role: Role,
}

/// The processes of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// Starts a master, waits until it is ready and ends.
    Launcher,
    /// The first master: opens the socket.
    Master,
    /// A master after a reload: gets the socket as its standard input.
    Successor,
    /// Answers requests: gets the socket as its standard input.
    Worker,
}

#[derive(Parser)]
#[command(name = "demo-app", about = "A small web application to deploy")]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// Runs from a command line whose first word is the name of the program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Arguments::try_parse_from(args) {
        Ok(arguments) => run(arguments.options),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(2)
        }
    }
}

/// Runs whichever of the application's processes the options ask for.
pub fn run(options: Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(|error| format!("cannot start: {error}")).and_then(|runtime| {
        let done = runtime.block_on(async {
            match options.role {
                Role::Launcher => launch(&options).await,
                Role::Master => master::first(&options).await,
                Role::Successor => master::successor(&options).await,
                Role::Worker => worker::run().await,
            }
        });
        // Nothing that is still blocking may keep a process that is done.
        runtime.shutdown_background();
        done
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "demo-app: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn log(&self) -> PathBuf {
        self.log.clone().unwrap_or_else(|| self.pid_file.with_extension("log"))
    }

    fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms)
    }

    /// Prepares another of the application's processes, in this directory; its errors go to the log.
    fn command(&self, role: &str, directory: &Path) -> Result<Command, String> {
        let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let path = self.log();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        let mut command = Command::new(program);
        command
            .args(["demo-app", "--role", role])
            .args(["--port", &self.port.to_string()])
            .args(["--address", &self.address.to_string()])
            .args(["--boot-ms", &self.boot_ms.to_string()])
            .arg("--pid-file")
            .arg(&self.pid_file)
            .arg("--log")
            .arg(path)
            .arg("--current")
            .arg(&self.current)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        Ok(command)
    }
}

async fn launch(options: &Options) -> Result<(), String> {
    let mut options = options.clone();
    // The processes live in other directories than this one.
    options.pid_file = absolute(&options.pid_file)?;
    options.log = options.log.as_deref().map(absolute).transpose()?;
    options.current = absolute(&options.current)?;
    let current = options.current.clone();
    let mut master = options
        .command("master", &current)?
        .spawn()
        .map_err(|error| format!("cannot start in {}: {error}", current.display()))?;
    let result = ready(master.stdout.take(), options.boot() + PATIENCE).await;
    if result.is_err() {
        end_failed(&mut master).await;
    }
    result.map_err(|error| format!("{error}; see {}", options.log().display()))
}

/// Waits until a process says that it serves.
async fn ready(stdout: Option<ChildStdout>, limit: Duration) -> Result<(), String> {
    let stdout = stdout.ok_or("cannot read the new process")?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    match tokio::time::timeout(limit, reader.read_line(&mut line)).await {
        Err(_) => Err(format!("the application was not ready within {} s", limit.as_secs())),
        Ok(Err(error)) => Err(format!("cannot read the new process: {error}")),
        Ok(Ok(_)) => match line.trim() {
            READY => Ok(()),
            "" => Err("the application ended while it booted".to_owned()),
            reason => Err(reason.to_owned()),
        },
    }
}

/// Waits for a process that has failed, so that its log is complete; it is killed if it takes its time.
async fn end_failed(process: &mut tokio::process::Child) {
    if tokio::time::timeout(LAST_WORDS, process.wait()).await.is_err() {
        let _ = process.start_kill();
        let _ = process.wait().await;
    }
}

/// Says on standard output how the boot went; whoever started this process is waiting for it.
fn announce(word: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{word}").and_then(|()| stdout.flush());
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("cannot resolve {}: {error}", path.display()))
}
