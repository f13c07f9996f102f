//! The application that the demo fleet deploys: a small server with a master and a worker, as Unicorn.
//!
//! Runs as processes of its own through a hidden subcommand: `demo-app --port P --pid-file F`, in the release's directory.
//! It owns starting and readiness; `master` owns the signals, `worker` the requests.
//!
//! - A release is a directory with a file `REVISION`. One with `BROKEN_BOOT` fails to boot, one with `BROKEN` answers 500.
//!   With `CRASHING` its workers die soon, with `MIXED` they are told of libraries in another release, with `LYING` they
//!   answer in another release's name.
//! - USR2 or HUP: a new master starts in what `current` points to now, on the same socket; when it is ready the old one
//!   finishes its requests and leaves. If it fails to boot, the old one goes on. Asked again meanwhile, it reloads once more.
//! - QUIT: stop listening, finish requests, leave. TERM or INT: leave at once; who is being answered is cut off.

mod master;
mod options;
mod ready;
mod worker;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

pub use options::Options;
use options::{PATIENCE, Role};
use ready::{end_failed, ready};

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

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("cannot resolve {}: {error}", path.display()))
}
