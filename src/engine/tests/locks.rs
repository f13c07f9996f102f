//! Locks while a run goes on: they are renewed, and a lock that is lost ends all work on its server.

use super::stack::stack;
use crate::event::{Cause, Refusal, StepName, Stuck, Warning};

const SHORT: &str = "[timeouts]\nlease = \"8s\"\n";

fn taken(server: &str) -> Cause {
    Cause::Refused { code: Refusal::LockLost, detail: format!("the lock of {server} is held by run other") }
}

fn free() -> Cause {
    Cause::Refused { code: Refusal::LockLost, detail: "the lock is held by no run".into() }
}

#[tokio::test(start_paused = true)]
async fn every_lock_is_renewed_while_a_long_step_goes_on() {
    let ran = stack(2).toml(SHORT).takes("web1 download", 60).run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart health prove prune
            web2: unlock
            web1: unlock
            ",
    )
    .renewed(&["web1", "web2"])
    .exits(0);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_for_half_a_lease_are_a_warning() {
    let ran = stack(1).toml(SHORT).takes("web1 download", 10).fails("web1 renewal *").run().await;
    ran.did(
        "
            web1: connect lock download switch restart health prove prune unlock
            ",
    )
    .warns(|w| matches!(w, Warning::NotRenewed { .. }))
    .exits(0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_on_a_server_whose_lock_is_lost() {
    let ran = stack(2).toml(SHORT).takes("web1 download", 4).fails_with("web2 renewal", taken("web2")).run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            web1: switch
            web1: switch:old | web2: remove
            web1: health prove:old mark
            web2: unlock
            web1: unlock
            ",
    )
    .warns(|w| matches!(w, Warning::LockLost { .. }))
    .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_lock_lost_in_its_turn_leaves_the_server_to_its_new_holder() {
    let ran = stack(2)
        .serial()
        .toml(SHORT)
        .takes("web1 restart", 4)
        .fails_with("web1 renewal 4", taken("web1"))
        .fails_with("web1 renew *", taken("web1"))
        .run()
        .await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart switch:old stay-out restart:old health prove:old mark
            web1 web2: keep
            ",
    )
    .stuck(&[("web1", Stuck::UndoFailed { step: StepName::Drain })])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_was_only_removed_keeps_no_server_out() {
    let ran = stack(2)
        .serial()
        .toml(SHORT)
        .takes("web1 restart", 4)
        .fails_with("web1 renewal 4", free())
        .fails_with("web1 renew *", free())
        .run()
        .await;
    ran.did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart switch:old stay-out restart:old health prove:old renew restore mark
            lb: look
            web2: unlock
            web1: unlock
            ",
        ).stuck(&[]).exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_another_run_took_is_not_taken_out_again() {
    let ran = stack(2)
        .serial()
        .on_failure(crate::policy::OnFailure::RevertAll)
        .fails("web2 restart")
        .fails_with("web1 renew", taken("web1"))
        .run()
        .await;
    ran.did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart switch:old stay-out restart:old health prove:old renew restore
            web1: renew
            web1 web2: mark keep
            ",
        ).stuck(&[("web1", Stuck::UndoFailed { step: StepName::Restore })]).exits(3);
}

#[tokio::test(start_paused = true)]
async fn an_unlock_that_meets_another_runs_lock_is_no_failure_of_its_own() {
    stack(2)
        .fails("web1 restart")
        .refuses("web2 unlock", Refusal::NotOurs)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart switch:old restart:old health prove:old mark
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}
