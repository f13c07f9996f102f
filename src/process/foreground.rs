//! Runs a program in the foreground of this process: with its terminal and its outputs.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

/// Runs a program, without input, to its end. Dropping this kills it.
///
/// # Errors
/// When it cannot be started.
pub async fn run(program: &Path, args: &[&OsStr], variable: (&str, &OsStr)) -> io::Result<ExitStatus> {
    let (name, value) = variable;
    Command::new(program).args(args).env(name, value).stdin(Stdio::null()).kill_on_drop(true).status().await
}
