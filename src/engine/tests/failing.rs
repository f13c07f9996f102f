//! Runs that fail: what stops, what is taken back, in which order, and which servers need a person.

use super::stack::stack;
use crate::event::{Cause, Refusal, StepName, Stuck, Warning};
use crate::policy::OnFailure;

#[tokio::test(start_paused = true)]
async fn a_held_lock_ends_the_run_before_anything_is_done() {
    let held = Cause::Locked(Box::default());
    stack(3)
        .fails_with("web2 lock", held)
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web3: unlock
            web1: unlock
            ",
        )
        .exits(4);
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_on_the_deciding_server_keeps_the_run_from_the_others() {
    let held = Cause::Locked(Box::default());
    stack(3)
        .fails_with("web1 lock", held)
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            ",
        )
        .exits(4);
}

#[tokio::test(start_paused = true)]
async fn a_failing_transfer_is_removed_everywhere() {
    stack(3)
        .fails("web2 download")
        .takes("web3 download", 2)
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download remove
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_transfer_ahead_of_a_walk_leaves_the_balancer_alone() {
    stack(2)
        .serial()
        .ahead()
        .fails("web2 download")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download remove
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_build_does_not_cut_short_the_build_of_a_mate() {
    stack(2)
        .toml("[build]\nrun = [\"one\", \"two\"]\n")
        .fails("web1 build")
        .takes("web2 build", 2)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download build
            web2: build
            web1 web2: remove
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_migration_switches_no_server() {
    stack(2)
        .toml("[migrate]\nrun = \"migrate\"\n")
        .fails("web1 migrate")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            web1: migrate
            web1 web2: remove
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn parallel_takes_all_servers_back_side_by_side() {
    stack(3)
        .fails("web2 restart")
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download switch restart
            web1: health prove
            web1 web2 web3: switch:old restart:old health prove:old mark
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn parallel_holds_the_failing_server_and_lets_the_others_serve() {
    let ran = stack(3).on_failure(OnFailure::Hold).fails("web2 restart").run().await;
    ran.did(
        "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download switch restart
            web1 web3: health prove
            web1 web2 web3: mark keep
            ",
    )
    .stuck(&[("web2", Stuck::Held)])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn serial_takes_the_first_server_back_and_stops() {
    stack(3).serial().fails("web1 restart").run().await.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart switch:old stay-out restart:old health prove:old renew restore mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
        ).exits(1);
}

#[tokio::test(start_paused = true)]
async fn serial_leaves_earlier_servers_on_the_new_release() {
    stack(3).serial().fails("web2 health").run().await.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health log switch:old stay-out restart:old health prove:old renew restore
            web1 web2: mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
        ).exits(3);
}

#[tokio::test(start_paused = true)]
async fn serial_ahead_removes_the_release_where_its_turn_never_came() {
    stack(3).serial().ahead().fails("web2 health").run().await.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download
            web1: look note drain switch stay-out restart health prove restore
            web2: look note drain switch stay-out restart health log switch:old stay-out restart:old health prove:old renew restore
            web3: remove
            web1 web2: mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
        ).exits(3);
}

#[tokio::test(start_paused = true)]
async fn revert_all_takes_earlier_servers_back_newest_first_one_by_one() {
    stack(3).serial().on_failure(OnFailure::RevertAll).fails("web3 restart").run().await.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore
            web3: look note drain download switch stay-out restart switch:old stay-out restart:old health prove:old renew restore
            web2: renew look drain switch:old stay-out restart:old health prove:old renew restore
            web1: renew look drain switch:old stay-out restart:old health prove:old renew restore
            web1 web2 web3: mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
        ).exits(1);
}

#[tokio::test(start_paused = true)]
async fn serial_hold_keeps_the_failing_server_out_and_locked() {
    let ran = stack(3).serial().on_failure(OnFailure::Hold).fails("web2 restart").run().await;
    ran.did(
        "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart
            web1 web2: mark
            web1 web2 web3: keep
            ",
    )
    .stuck(&[("web2", Stuck::Held)])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_failing_batch_is_taken_back_as_a_whole() {
    stack(4).rolling("2").fails("web3 restart").run().await.did(
            "
            web1 web2 web3 web4: connect
            web1: lock
            web2 web3 web4: lock
            web1 web2: look note drain download switch stay-out restart health prove restore
            web3 web4: look note drain download switch stay-out restart switch:old stay-out restart:old health prove:old renew restore
            web1 web2 web3 web4: mark
            lb: look
            web2 web3 web4: unlock
            web1: unlock
            ",
        ).exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_on_its_way_back_is_taken_back_one_by_one() {
    stack(2)
        .rolling("2")
        .fails("web1 restore")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: look note drain download switch stay-out restart health prove restore
            web1: renew drain switch:old stay-out restart:old health prove:old renew restore
            web2: renew drain switch:old stay-out restart:old health prove:old renew restore
            web1 web2: mark
            lb: look
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn rolling_revert_all_takes_back_the_batch_then_each_earlier_server() {
    stack(4)
        .rolling("2")
        .on_failure(OnFailure::RevertAll)
        .fails("web4 health")
        .run()
        .await
        .did(
            "
            web1 web2 web3 web4: connect
            web1: lock
            web2 web3 web4: lock
            web1 web2: look note drain download switch stay-out restart health prove restore
            web3 web4: look note drain download switch stay-out restart health
            web3: prove | web4: log
            web3 web4: switch:old stay-out restart:old health prove:old renew restore
            web2: renew look drain switch:old stay-out restart:old health prove:old renew restore
            web1: renew look drain switch:old stay-out restart:old health prove:old renew restore
            web1 web2 web3 web4: mark
            lb: look
            web2 web3 web4: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn rolling_hold_lets_the_mates_of_a_failing_server_go_on() {
    let ran = stack(4).rolling("2").on_failure(OnFailure::Hold).fails("web1 restart").run().await;
    ran.did(
        "
            web1 web2 web3 web4: connect
            web1: lock
            web2 web3 web4: lock
            web1 web2: look note drain download switch stay-out restart
            web2: health prove restore
            web1 web2: mark
            web1 web2 web3 web4: keep
            ",
    )
    .stuck(&[("web1", Stuck::Held)])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_drained_is_put_back_untouched() {
    stack(2)
        .serial()
        .fails("web1 drain")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain health prove:old renew restore
            lb: look
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_was_refused_is_not_switched_back() {
    stack(2)
        .serial()
        .refuses("web1 switch", Refusal::CurrentChanged)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch remove health prove:old renew restore
            lb: look
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_had_no_room_is_not_switched_back() {
    stack(2)
        .serial()
        .refuses("web1 switch", Refusal::NoSpace)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch remove health prove:old renew restore
            lb: look
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_switch_whose_connection_was_lost_is_switched_back() {
    stack(2)
        .serial()
        .loses("web1 switch")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch switch:old health prove:old renew restore mark
            lb: look
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_lost_needs_a_person_and_keeps_its_lock() {
    let ran = stack(2).loses("web1 switch").loses("web1 switch:old").loses("web1 keep").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch switch:old
            web2: health prove:old
            web1 web2: mark keep
            ",
    )
    .stuck(&[("web1", Stuck::UndoFailed { step: StepName::Switch })])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_not_proven_is_taken_back() {
    stack(2).serial().refuses("web1 prove", Refusal::NotProven).run().await.did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart health prove log switch:old stay-out restart:old health prove:old renew restore mark
            lb: look
            web2: unlock
            web1: unlock
            ",
        ).exits(1);
}

#[tokio::test(start_paused = true)]
async fn an_unproven_old_release_stays_out_of_the_balancer() {
    let ran = stack(2).serial().fails("web1 restart").fails("web1 health").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart switch:old stay-out restart:old health log mark
            web1 web2: keep
            ",
    )
    .stuck(&[("web1", Stuck::UndoFailed { step: StepName::Check })])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn revert_all_stops_at_the_first_server_that_is_stuck() {
    let ran =
        stack(3).serial().on_failure(OnFailure::RevertAll).fails("web3 health").fails("web2 restart:old").run().await;
    ran.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore
            web3: look note drain download switch stay-out restart health log switch:old stay-out restart:old health prove:old renew restore
            web2: renew look drain switch:old stay-out restart:old
            web1 web2 web3: mark keep
            ",
        ).stuck(&[("web2", Stuck::UndoFailed { step: StepName::Restart })]).exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_first_deploy_that_fails_is_stopped_again() {
    stack(2)
        .first_deploy()
        .fails("web2 health")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart health
            web1: prove | web2: log
            web1 web2: switch stop mark
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_first_deploy_behind_a_balancer_that_fails_stays_out() {
    let ran = stack(2).serial().first_deploy().fails("web1 health").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart health log switch stay-out stop mark
            web1 web2: keep
            ",
    )
    .stuck(&[("web1", Stuck::UndoFailed { step: StepName::Check })])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_pruned_is_a_warning() {
    let ran = stack(2).refuses("web1 prune", Refusal::NotRemoved).run().await;
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
    .warns(|w| matches!(w, Warning::Prune { .. }))
    .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_released_is_released_once_more() {
    stack(2)
        .fails("web2 unlock")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart health prove prune
            web2: unlock
            web1: unlock
            web2: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_stays_is_named() {
    let ran = stack(2).fails("web2 unlock *").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart health prove prune
            web2: unlock
            web1: unlock
            web2: unlock
            ",
    )
    .stuck(&[("web2", Stuck::LockKept)])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_leftover_release_keeps_no_server_out() {
    stack(2)
        .serial()
        .fails("web1 download")
        .fails("web1 remove")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download remove health prove:old renew restore
            lb: look
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_fails_returns_to_where_it_came_from() {
    stack(2).serial().rollback().fails("web1 restart").run().await.did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain switch stay-out restart switch:old stay-out restart:old health prove:old renew restore mark
            lb: look
            web2: unlock
            web1: unlock
            ",
        ).exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_transfer_stops_the_mates_of_a_held_server_as_well() {
    let ran = stack(2).rolling("2").on_failure(OnFailure::Hold).fails("web1 download").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: look note drain download
            web2: remove health prove:old renew restore
            web1: mark
            web1 web2: keep
            ",
    )
    .stuck(&[("web1", Stuck::Held)])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_failing_hook_on_this_machine_stops_a_held_batch() {
    let toml = "[[hooks]]\nat = \"before switch\"\nrun = \"ask\"\non = \"here\"\n";
    let ran = stack(2).toml(toml).on_failure(OnFailure::Hold).fails("here ask").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            here: ask
            web1 web2: remove
            web2: unlock
            web1: unlock
            ",
    )
    .stuck(&[])
    .exits(1);
}
