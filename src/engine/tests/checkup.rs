//! The health check: a command reads the same facts in a deploy, on the way back, and outside any run.

use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::stack::{OLD, stack};
use crate::engine::checkup::{Checkup, Known};
use crate::event::{Refusal, Warning};
use crate::name::ServerName;
use crate::remote::Ear;
use crate::script::calls::Site;

#[tokio::test(start_paused = true)]
async fn in_a_deploy_the_command_reads_the_new_release() {
    let ran = stack(2)
        .health_command()
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart check prove prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
    assert_eq!(ran.variable("web2 check", "PITCREW_RELEASE").as_deref(), Some("20261123045900"));
    assert_eq!(ran.variable("web2 check", "PITCREW_REVISION").as_deref(), Some("c0ffee"));
    assert_eq!(ran.variable("web2 check", "PITCREW_SERVER").as_deref(), Some("web2"));
    assert_eq!(ran.variable("web2 check", "PITCREW_RUN").as_deref(), Some("run"));
}

/// What the restart said already is not said again.
#[tokio::test(start_paused = true)]
async fn what_the_proof_after_the_check_could_not_see_is_told_once() {
    const SAID: &str = "only that they are new is proven";
    let is_said = |w: &Warning| matches!(w, Warning::Note { text } if text == SAID);
    let ran = stack(1).answers("web1 prove", "notice", SAID).run().await.exits(0);
    assert_eq!(ran.warned(is_said), 1);
    let ran =
        stack(1).answers("web1 restart", "notice", SAID).answers("web1 prove", "notice", SAID).run().await.exits(0);
    assert_eq!(ran.warned(is_said), 1);
}

#[tokio::test(start_paused = true)]
async fn on_the_way_back_the_command_reads_the_old_release() {
    let ran = stack(1)
        .health_command()
        .fails("web1 check")
        .run()
        .await
        .did(
            "
            web1: connect lock download switch restart check log switch:old restart:old check:old prove:old mark unlock
            ",
        )
        .exits(1);
    assert_eq!(ran.variable("web1 check:old", "PITCREW_REVISION").as_deref(), Some("0ld"));
}

#[tokio::test(start_paused = true)]
async fn outside_a_run_the_command_reads_the_current_release_and_all_other_names() {
    let stack = stack(2).health_command();
    let (config, facts) = (stack.config(), stack.facts());
    let recorder = stack.into_recorder();
    let (app, env) = (&config.app, Vec::new());
    let site = Site { deploy_to: &app.deploy_to, app: &app.name, web: &config.web, env: &env };
    let known = Known::outside(&config, &facts, &ServerName("web2".into()), "status");
    let checkup =
        Checkup { hands: &recorder, site, known, ear: Ear::Off, proven: false, silent: AtomicBool::default() };
    let health = config.health.as_ref().unwrap();
    assert_eq!(checkup.healthy(health, &mut |_| {}, &CancellationToken::new()).await, Ok(()));
    for (name, value) in [
        ("PITCREW_APP", "shop"),
        ("PITCREW_RUN", ""),
        ("PITCREW_RELEASE", OLD),
        ("PITCREW_REVISION", "0ld"),
        ("PITCREW_STRATEGY", ""),
        ("PITCREW_STAGE", "status"),
        ("PITCREW_SERVER", "web2"),
        ("PITCREW_SERVERS", "web1 web2"),
    ] {
        assert_eq!(recorder.variable("web2 check:old", name).as_deref(), Some(value), "{name}");
    }
}

/// What a supervisor starts again and again lives whenever it is looked at, but as another process.
#[tokio::test(start_paused = true)]
async fn processes_that_keep_dying_end_the_wait_for_an_answer() {
    stack(1)
        .silent("web1 health", 9)
        .refuses("web1 prove *", Refusal::NotProven)
        .run()
        .await
        .did(
            "
            web1: connect lock download switch restart health health
            web1: health | web1: prove
            web1: health health prove
            web1: health | web1: log
            web1: switch:old restart:old health health
            web1: health | web1: prove:old
            web1: health prove:old mark unlock
            ",
        )
        .exits(1);
}

/// One that boots slowly, and lives, is waited for.
#[tokio::test(start_paused = true)]
async fn processes_that_live_are_waited_for() {
    stack(1)
        .silent("web1 health", 4)
        .run()
        .await
        .did(
            "
            web1: connect lock download switch restart health health
            web1: health | web1: prove
            web1: health health prove prove prune unlock
            ",
        )
        .exits(0);
}
