//! Turns a result into an exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use pitcrew::verbs::{self, Cli};

fn main() -> ExitCode {
    // The demo's application is this program, under another name.
    #[cfg(feature = "demo")]
    if std::env::args_os().nth(1).is_some_and(|word| word == "demo-app") {
        return pitcrew::demo::app::main(std::env::args_os().skip(1));
    }
    ExitCode::from(verbs::start(&Cli::parse()))
}
