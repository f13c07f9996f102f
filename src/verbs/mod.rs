//! One verb a file, wiring only: flags to a request, a request to a plan, a plan to a run, its end to an exit code.

pub mod check;
#[cfg(feature = "demo")]
pub mod demo;
pub mod deploy;
pub mod init;
pub mod lb;
pub mod lock;
pub mod out;
pub mod recover;
pub mod releases;
pub mod rollout;
pub mod status;
pub mod unlock;

use tokio::runtime::Builder;

use crate::cli::{Cli, Verb};
use crate::error::Error;
use crate::stack;

/// Servers that one thread serves; more may keep every processor busy.
const ONE_THREAD: usize = 64;

/// Carries out what the command line asks for; returns the exit code.
///
/// # Errors
/// Whatever ended it before there was a run.
pub async fn run(cli: Cli) -> Result<u8, Error> {
    let global = &cli.global;
    match cli.verb {
        Verb::Init { web_server } => init::run(global, &web_server),
        Verb::Check { select } => check::run(global, &select).await,
        Verb::Deploy(flags) => deploy::run(global, &flags).await,
        Verb::Rollback(flags) => deploy::rollback(global, &flags).await,
        Verb::Status { select } => status::run(global, &select).await,
        Verb::Releases { select } => releases::run(global, &select).await,
        Verb::Recover { force } => recover::run(global, force).await,
        Verb::Lock(flags) => lock::run(global, &flags).await,
        Verb::Unlock { force, run, select } => unlock::run(global, &select, force, run.as_deref()).await,
        Verb::Lb(what) => lb::run(global, &what).await,
        #[cfg(feature = "demo")]
        Verb::Demo(flags) => demo::run(global, &flags).await,
    }
}

/// Runs the program to its exit code; what ended it before there was a run is printed.
pub fn start(cli: Cli) -> u8 {
    // A run waits far more than it works: threads that hand a few connections to each other cost more than they share.
    let many = || stack::read(&cli.global).is_ok_and(|config| config.servers.len() > ONE_THREAD);
    // The demo plays the servers as well.
    let mut runtime = match cli.verb {
        Verb::Init { .. } => Builder::new_current_thread(),
        #[cfg(feature = "demo")]
        Verb::Demo(_) => Builder::new_multi_thread(),
        _ if many() => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let result = match runtime.enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli));
            // Threads that wait for a name server or a disk must not keep the process.
            runtime.shutdown_timeout(std::time::Duration::from_millis(200));
            result
        }
        Err(e) => Err(Error::failed(format!("cannot start: {e}"))),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            out::notice(&error.to_string());
            error.exit_code()
        }
    }
}
