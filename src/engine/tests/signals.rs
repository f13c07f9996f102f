//! Signals: the first asks for an orderly end, the second for an immediate one.

use super::stack::stack;
use crate::event::{StepName, Stuck};
use crate::policy::OnFailure;

#[tokio::test(start_paused = true)]
async fn before_anything_is_done_nothing_is_done() {
    stack(2)
        .signal("web1 connect")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            ",
        )
        .exits(130);
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_locking_all_locks_are_released() {
    stack(3)
        .signal("web2 lock")
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock… unlock
            web1: unlock
            ",
        )
        .exits(130);
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_transfer_all_of_it_is_removed() {
    stack(2)
        .signal("web1 download")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download… remove
            web2: unlock
            web1: unlock
            ",
        )
        .exits(130);
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_restart_all_servers_are_taken_back() {
    stack(2)
        .signal("web2 restart")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart… switch:old restart:old health prove:old mark
            web2: unlock
            web1: unlock
            ",
        )
        .exits(130);
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_drain_the_server_is_put_back() {
    stack(2)
        .serial()
        .signal("web1 drain")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain… health prove:old renew restore
            lb: look
            web2: unlock
            web1: unlock
            ",
        )
        .exits(130);
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_turn_only_that_server_is_taken_back() {
    stack(3).serial().signal("web2 restart").run().await.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart… switch:old stay-out restart:old health prove:old renew restore
            web1 web2: mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
        ).exits(130);
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_restore_the_server_goes_back_to_the_old_release() {
    stack(3).serial().signal("web2 restore").run().await.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore… renew drain switch:old stay-out restart:old health prove:old renew restore
            web1 web2: mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
        ).exits(130);
}

#[tokio::test(start_paused = true)]
async fn after_the_last_turn_the_run_finishes() {
    stack(2)
        .serial()
        .signal("web1 prune")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_holds_takes_back_when_it_is_interrupted() {
    stack(2).serial().on_failure(OnFailure::Hold).signal("web1 restart").run().await.did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart… switch:old stay-out restart:old health prove:old renew restore mark
            lb: look
            web2: unlock
            web1: unlock
            ",
        ).exits(130);
}

#[tokio::test(start_paused = true)]
async fn revert_all_takes_earlier_turns_back_as_well() {
    let ran = stack(3).serial().on_failure(OnFailure::RevertAll).signal("web2 restart").run().await;
    ran.did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart… switch:old stay-out restart:old health prove:old renew restore
            web1: renew look drain switch:old stay-out restart:old health prove:old renew restore
            web1 web2: mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
        ).exits(130);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_interrupted_as_a_whole() {
    stack(4).rolling("2").signal("web4 restart").run().await.did(
            "
            web1 web2 web3 web4: connect
            web1: lock
            web2 web3 web4: lock
            web1 web2: look note drain download switch stay-out restart health prove restore
            web3 web4: look note drain download switch stay-out restart… switch:old stay-out restart:old health prove:old renew restore
            web1 web2 web3 web4: mark
            lb: look
            web2 web3 web4: unlock
            web1: unlock
            ",
        ).exits(130);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_is_ended() {
    let toml = "[[hooks]]\nat = \"before switch\"\nrun = \"hang\"\non = \"here\"\n";
    stack(2)
        .toml(toml)
        .takes("here hang", 600)
        .signal("here hang")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            here: hang…
            web1 web2: remove
            web2: unlock
            web1: unlock
            ",
        )
        .exits(130);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_waits_for_nothing() {
    let ran = stack(2).serial().signal("web1 restart").signal("web1 switch:old").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart… switch:old…
            ",
    )
    .stuck(&[("web1", Stuck::UndoFailed { step: StepName::Switch })])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_while_finishing_keeps_the_locks() {
    let ran = stack(2).signal("web1 prune").signal("web2 unlock").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart health prove prune
            web2: unlock…
            ",
    )
    .stuck(&[("web2", Stuck::LockKept), ("web1", Stuck::LockKept)])
    .exits(3);
}

#[tokio::test(start_paused = true)]
async fn the_failure_hooks_run_after_an_interruption() {
    let toml = "[[hooks]]\nat = \"on failure\"\nrun = \"tell\"\non = \"here\"\n";
    stack(2)
        .toml(toml)
        .signal("web1 download")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download… remove
            web2: unlock
            web1: unlock
            here: tell
            ",
        )
        .exits(130);
}
