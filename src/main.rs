//! Turns a result into an exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use pitcrew::cli::Cli;
use pitcrew::verbs;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let _program = args.next();
    let rest: Vec<_> = args.collect();
    if rest.first().is_some_and(|word| word == "demo-app") {
        return pitcrew::demo::app::main(rest);
    }
    ExitCode::from(verbs::start(Cli::parse()))
}
