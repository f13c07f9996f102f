//! The application's arguments, and the command lines of its other processes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long a boot may take beyond `--boot-ms`.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What a process says on its output when it serves.
pub(super) const READY: &str = "ready";

/// The demo application's arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Port to listen on
    #[arg(long)]
    pub(super) port: u16,
    /// Address to listen on
    #[arg(long, env = "PITCREW_DEMO_ADDR", default_value = "127.0.0.1")]
    pub(super) address: IpAddr,
    /// Where the master writes its pid
    #[arg(long)]
    pub(super) pid_file: PathBuf,
    /// What the processes print; default: the pid file's name with `.log`
    #[arg(long)]
    pub(super) log: Option<PathBuf>,
    /// The link that a reload follows
    #[arg(long, default_value = ".")]
    pub(super) current: PathBuf,
    /// How long it takes to boot
    #[arg(long, default_value_t = 0)]
    pub(super) boot_ms: u64,
    /// Which of its processes this is
    #[arg(long, hide = true, default_value = "launcher")]
    pub(super) role: Role,
}

/// The processes of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Role {
    /// Starts a master, waits until it is ready and ends.
    Launcher,
    /// The first master: opens the socket.
    Master,
    /// A master after a reload: gets the socket as its standard input.
    Successor,
    /// Answers requests: gets the socket as its standard input.
    Worker,
}

impl Options {
    pub(super) fn log(&self) -> PathBuf {
        self.log.clone().unwrap_or_else(|| self.pid_file.with_extension("log"))
    }

    pub(super) fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms)
    }

    /// Prepares another of the application's processes, in this directory; its errors go to the log.
    pub(super) fn command(&self, role: &str, directory: &Path) -> Result<Command, String> {
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
