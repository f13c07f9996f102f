//! The truth: pitcrew against real sshd, HAProxy, systemd, Unicorn, Puma and Passenger on separate servers, under load.
//!
//! `main` puts the whole process inside a fleet (`tests/fleet/fleet.sh`) by executing itself there, and then runs the
//! cases. Nothing of the fleet outlives the process. Where no fleet is possible, cases say that they were SKIPPED, or
//! fail when `PITCREW_REQUIRE_REAL=1`. `FLEET_MODE=root|user|light` forces a kind of fleet, `PITCREW_BIN` another binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits for processes that know nothing of tokio"
)]

mod balancer;
mod cases;
#[path = "../haproxy/dataplane.rs"]
#[expect(dead_code, reason = "the faults that it can show are shown elsewhere")]
mod dataplane;
mod fleet;
#[expect(dead_code, reason = "cases use its web server alone")]
#[path = "../fetching/hosts.rs"]
mod hosts;
mod load;
mod pitcrew;
mod stack;
mod transcript;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::cases::Case;

/// So many cases run at once: they mostly wait for servers that boot.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(THREADS);
    let cases = cases::all();
    let trial = |case: &Case| Trial::test(case.name, || Ok(()));
    // Listing, or a filter that is meant for other tests, needs no fleet.
    if !args.list && cases.iter().any(|case| !args.is_filtered_out(&trial(case))) {
        fleet::enter();
    }
    let trials = cases.into_iter().map(|case| Trial::ignorable_test(case.name, move || run(&case))).collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// Runs a case, or says why it cannot run here.
fn run(case: &Case) -> Result<Completion, Failed> {
    if let Some(why) = case.needs.iter().find_map(|need| need.unmet()) {
        if std::env::var("PITCREW_REQUIRE_REAL").is_ok_and(|v| v == "1") {
            return Err(format!("PITCREW_REQUIRE_REAL=1, but {why}").into());
        }
        eprintln!("SKIPPED {}: {why}", case.name);
        return Ok(Completion::ignored_with(why));
    }
    transcript::clear();
    match catch_unwind(AssertUnwindSafe(case.run)) {
        Ok(()) => Ok(Completion::Completed),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
            Err(format!("{why}\n\n{}", transcript::take()).into())
        }
    }
}
