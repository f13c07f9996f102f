//! Hooks: where they stand among the steps, and what their failures stop.

use super::stack::stack;
use crate::event::Warning;

fn hook(at: &str, on: &str, halt: bool) -> String {
    format!("[[hooks]]\nat = \"{at}\"\nrun = \"{at}\"\non = \"{on}\"\nhalt = {halt}\n")
}

#[tokio::test(start_paused = true)]
async fn hooks_stand_around_their_steps() {
    let toml = hook("before lock", "here", true)
        + &hook("after prepare", "each", true)
        + &hook("before switch", "one", true)
        + &hook("after switch", "here", true)
        + &hook("on success", "here", false)
        + &hook("on failure", "here", false);
    stack(2)
        .toml(&toml)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            here: before lock
            web1: lock
            web2: lock
            web1 web2: download hook
            web1: hook
            web1 web2: switch
            here: after switch
            web1 web2: restart health prove prune
            here: on success
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn hooks_of_a_walk_come_with_each_turn() {
    let toml = hook("before drain", "here", true) + &hook("after restore", "each", true);
    stack(2)
        .serial()
        .toml(&toml)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            here: before drain
            web1: look note drain download switch stay-out restart health prove restore hook
            here: before drain
            web2: look note drain download switch stay-out restart health prove restore hook
            lb: look
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_hook_stops_the_batch_and_is_taken_back() {
    stack(2)
        .toml(&hook("before switch", "one", true))
        .fails("web1 hook")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            web1: hook
            web1 web2: remove
            web2: unlock
            web1: unlock
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_hook_that_must_not_halt_is_a_warning() {
    let ran = stack(2).toml(&hook("before switch", "one", false)).fails("web1 hook").run().await;
    ran.did(
        "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            web1: hook
            web1 web2: switch restart health prove prune
            web2: unlock
            web1: unlock
            ",
    )
    .warns(|w| matches!(w, Warning::Hook { .. }))
    .exits(0);
}

#[tokio::test(start_paused = true)]
async fn the_failure_hooks_run_after_all_is_taken_back_and_unlocked() {
    let toml = hook("on failure", "here", false) + &hook("on failure", "each", false);
    stack(2)
        .toml(&toml)
        .fails("web2 restart")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart
            web1: health prove
            web1 web2: switch:old restart:old health prove:old mark
            web2: unlock
            web1: unlock
            here: on failure
            web1: hook
            web2: hook
            ",
        )
        .exits(1);
}

#[tokio::test(start_paused = true)]
async fn a_hook_on_a_server_knows_the_run() {
    let ran = stack(2).toml(&hook("before switch", "each", true)).run().await;
    for (name, value) in [
        ("PITCREW_SERVER", "web2"),
        ("PITCREW_SERVERS", "web1 web2"),
        ("PITCREW_HOOK", "before switch"),
        ("PITCREW_RUN", "run"),
    ] {
        assert_eq!(ran.variable("web2 hook", name).as_deref(), Some(value), "{name}");
    }
}
