//! Connections that are lost in the middle of a step: the server is asked what became of it.

use pitcrew::demo::{Fault, Sample, WebKind};

use crate::deploy::stack::Stack;

const LAST_WORDS: &str = "asking the server what became of it";

/// Whatever step had its effect before its answer was lost: nobody is taken back for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ended_is_not_taken_back() {
    for step in ["lock", "transfer", "switch", "restart", "prove", "prune", "unlock"] {
        let stack = Stack::serving(2, WebKind::Reload, "").await;
        stack.release(&Sample::good("1"));
        stack.fleet.faults().clear();
        stack.fleet.faults().at_step("s2", step, 0, Fault::CutAfter);
        let ran = stack.run(&["deploy"]).await.expect(0);
        assert!(ran.stderr.contains(LAST_WORDS), "{step}\n{ran}");
        stack.assert_all("1");
    }
}

/// A script that never reached the server is run once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_never_began_is_run_again() {
    for step in ["lock", "transfer", "switch", "restart", "prune"] {
        let stack = Stack::serving(2, WebKind::Reload, "").await;
        stack.release(&Sample::good("1"));
        stack.fleet.faults().clear();
        stack.fleet.faults().at_step("s1", step, 0, Fault::CutBefore);
        let ran = stack.run(&["deploy"]).await.expect(0);
        assert!(ran.stderr.contains("is run again"), "{step}\n{ran}");
        stack.assert_all("1");
    }
}

/// A command's status is known although its answer was lost; a bad one fails the run with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commands_status_outlives_its_connection() {
    for (run, code) in [("true", 0), ("exit 7", 1)] {
        let stack = Stack::serving(2, WebKind::Reload, &format!("build.run = ['{run}']")).await;
        stack.release(&Sample::good("1"));
        stack.fleet.faults().clear();
        stack.fleet.faults().at_step("s1", "command", 0, Fault::CutAfter);
        let ran = stack.run(&["deploy"]).await.expect(code);
        assert_eq!(ran.stderr.contains("status 7"), code == 1, "{ran}");
        stack.assert_all(if code == 0 { "1" } else { "0" });
    }
}

/// A command that was cut off in the middle has failed, and its processes are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_named() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    stack.fleet.faults().clear();
    stack.fleet.faults().at_step("s1", "switch", 0, Fault::DoneThenDead);
    let ran = stack.run(&["deploy"]).await.expect(3);
    assert!(ran.stderr.contains("could not be asked what became of it"), "{ran}");
    assert_eq!(stack.versions()[1], "0");
}
