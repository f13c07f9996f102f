//! Every outcome and exit code of the contract, as event sequences; and that a log read back says the same.

use pitcrew::config::{OnFailure, Strategy};
use pitcrew::event::*;
use pitcrew::lease::Held;
use pitcrew::outcome::state::State;

use crate::report::story::*;

const WEBS: [&str; 3] = ["web1", "web2", "web3"];

/// Newest first, as a server's turn is taken back.
const BACK: [StepName; 3] = [StepName::Switch, StepName::Restart, StepName::Drain];

fn serial(on_failure: OnFailure) -> Story {
    let mut story = Story::locked(Strategy::Serial, on_failure, &WEBS);
    story.stage(StageName::Prepare, 0, 1);
    WEBS.iter().for_each(|s| story.all_ok(s, &[StepName::Transfer, StepName::Build]));
    story
}

fn turn(story: &mut Story, batch: usize) {
    story.stage(StageName::Rollout, batch, 3);
    story.all_ok(WEBS[batch], &TURN);
}

/// The server of this batch fails its health check.
fn sick_turn(story: &mut Story, batch: usize) {
    story.stage(StageName::Rollout, batch, 3);
    story.all_ok(WEBS[batch], &TURN[..3]);
    story.fail(WEBS[batch], StepName::Check, sick());
}

fn unlock_all(story: &mut Story) {
    WEBS.iter().for_each(|s| story.undo(s, StepName::Lock, None));
}

/// Ends the story, reads its JSON back, and sees that both ways lead to the same end.
fn judge(mut story: Story) -> Finished {
    let finished = story.finished();
    let mut state = State::new();
    for event in &story.events[..story.events.len() - 1] {
        let line = serde_json::to_string(event).unwrap();
        state.apply(&serde_json::from_str(&line).unwrap());
    }
    let (outcome, code, servers, next) = state.outcome();
    assert_eq!((outcome, code, &next), (finished.outcome, finished.exit_code, &finished.next));
    assert_eq!(serde_json::to_value(&servers).unwrap(), serde_json::to_value(&finished.servers).unwrap());
    finished
}

fn brief(finished: &Finished) -> (Outcome, u8) {
    (finished.outcome, finished.exit_code)
}

fn end<'a>(finished: &'a Finished, name: &str) -> &'a ServerEnd {
    finished.servers.iter().find(|s| s.server.as_str() == name).unwrap()
}

#[test]
fn deployed_in_parallel() {
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Prepare, 0, 1);
    WEBS.iter().for_each(|s| story.all_ok(s, &[StepName::Transfer, StepName::Build]));
    story.stage(StageName::Rollout, 0, 1);
    WEBS.iter().for_each(|s| story.all_ok(s, &FLIP));
    story.finish_stage(&WEBS);
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Deployed, 0));
    assert_eq!(end(&finished, "web2").release, Some(release(NEW)));
    assert_eq!(end(&finished, "web2").in_balancer, None, "a parallel run knows nothing of a balancer");
    assert!(finished.next.is_empty());
}

#[test]
fn deployed_in_turn() {
    let mut story = serial(OnFailure::Revert);
    (0..3).for_each(|batch| turn(&mut story, batch));
    story.finish_stage(&WEBS);
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Deployed, 0));
    assert!(finished.servers.iter().all(|s| s.in_balancer == Some(true) && s.stuck.is_none()));
}

#[test]
fn a_failed_prune_is_no_failed_deploy() {
    let mut story = serial(OnFailure::Revert);
    (0..3).for_each(|batch| turn(&mut story, batch));
    story.stage(StageName::Finish, 0, 1);
    WEBS.iter().for_each(|s| story.fail(s, StepName::Prune, exit(1)));
    WEBS.iter().for_each(|s| story.ok(s, StepName::Unlock));
    assert_eq!(brief(&judge(story)), (Outcome::Deployed, 0));
}

#[test]
fn a_lock_that_stays_is_stuck() {
    let mut story = serial(OnFailure::Revert);
    (0..3).for_each(|batch| turn(&mut story, batch));
    story.stage(StageName::Finish, 0, 1);
    WEBS.iter().for_each(|s| story.ok(s, StepName::Prune));
    WEBS[..2].iter().for_each(|s| story.ok(s, StepName::Unlock));
    story.fail("web3", StepName::Unlock, because(Cause::Lost { detail: "reset".into() }));
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    assert_eq!(end(&finished, "web3").stuck, Some(Stuck::LockKept));
    assert_eq!(finished.next, ["pitcrew check", "pitcrew unlock --only web3"]);
}

#[test]
fn nothing_to_do() {
    let mut story = Story::empty();
    let steps = Vec::new();
    story.say(Event::Planned(Planned { steps, ..plan(Strategy::Parallel, OnFailure::Revert, &WEBS) }));
    assert_eq!(brief(&judge(story)), (Outcome::Unchanged, 0));
}

#[test]
fn a_plan_of_which_nothing_happened_is_no_success() {
    let story = Story::planned(Strategy::Parallel, OnFailure::Revert, &WEBS);
    assert_eq!(brief(&judge(story)), (Outcome::Reverted, 1));
    assert_eq!(brief(&judge(Story::empty())), (Outcome::Reverted, 1));
}

#[test]
fn a_broken_build_changes_nothing() {
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Prepare, 0, 1);
    story.all_ok("web1", &[StepName::Transfer, StepName::Build]);
    story.ok("web2", StepName::Transfer);
    story.fail("web2", StepName::Build, exit(5));
    story.fail("web3", StepName::Transfer, because(Cause::Abandoned));
    WEBS.iter().for_each(|s| story.undo(s, StepName::Transfer, None));
    unlock_all(&mut story);
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Reverted, 1));
    assert!(finished.servers.iter().all(|s| s.release == Some(release(OLD))));
}

#[test]
fn a_first_batch_taken_back_is_reverted() {
    let mut story = serial(OnFailure::Revert);
    sick_turn(&mut story, 0);
    story.undo_all("web1", &BACK);
    unlock_all(&mut story);
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Reverted, 1));
    assert!(finished.servers.iter().all(|s| s.release == Some(release(OLD)) && s.in_balancer == Some(true)));
}

#[test]
fn a_later_batch_taken_back_leaves_a_mixture() {
    let mut story = serial(OnFailure::Revert);
    turn(&mut story, 0);
    sick_turn(&mut story, 1);
    story.undo_all("web2", &BACK);
    unlock_all(&mut story);
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Mixed, 3));
    assert_eq!(end(&finished, "web1").release, Some(release(NEW)));
    assert_eq!(end(&finished, "web2").release, Some(release(OLD)));
    assert!(finished.servers.iter().all(|s| s.stuck.is_none()));
    assert_eq!(finished.next[0], "pitcrew check");
    assert!(finished.next[1].starts_with("pitcrew deploy"));
}

#[test]
fn revert_all_takes_earlier_batches_back_too() {
    let mut story = serial(OnFailure::RevertAll);
    turn(&mut story, 0);
    sick_turn(&mut story, 1);
    story.undo_all("web2", &BACK);
    story.undo("web1", StepName::Restore, None);
    story.undo_all("web1", &BACK);
    unlock_all(&mut story);
    assert_eq!(brief(&judge(story)), (Outcome::Reverted, 1));
}

#[test]
fn a_server_drained_again_and_left_so_is_stuck() {
    let mut story = serial(OnFailure::RevertAll);
    turn(&mut story, 0);
    sick_turn(&mut story, 1);
    story.undo_all("web2", &BACK);
    story.undo("web1", StepName::Restore, None);
    unlock_all(&mut story);
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    assert_eq!(end(&finished, "web1").stuck, Some(Stuck::OutOfBalancer));
    assert_eq!(end(&finished, "web1").in_balancer, Some(false));
}

#[test]
fn held_where_it_failed() {
    let mut story = serial(OnFailure::Hold);
    turn(&mut story, 0);
    sick_turn(&mut story, 1);
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    assert_eq!(end(&finished, "web2").stuck, Some(Stuck::Held));
    assert_eq!(end(&finished, "web2").in_balancer, Some(false));
    assert_eq!(end(&finished, "web3").stuck, Some(Stuck::LockKept), "the locks are kept with it");
    assert!(finished.next[2].starts_with("pitcrew unlock "), "{:?}", finished.next);
}

#[test]
fn an_undo_that_fails_is_stuck_and_stays_out() {
    let mut story = serial(OnFailure::Revert);
    sick_turn(&mut story, 0);
    story.undo("web1", StepName::Switch, None);
    story.undo("web1", StepName::Restart, Some(sick()));
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    let web1 = end(&finished, "web1");
    assert_eq!(web1.stuck, Some(Stuck::UndoFailed { step: StepName::Restart }));
    assert_eq!((web1.release.clone(), web1.in_balancer), (Some(release(OLD)), Some(false)));
    assert!(!finished.next.iter().any(|c| c.contains("state ready")), "never back in without a good check");
}

#[test]
fn an_undo_repeated_with_success_is_no_longer_stuck() {
    let mut story = serial(OnFailure::Revert);
    sick_turn(&mut story, 0);
    story.undo("web1", StepName::Switch, None);
    story.undo("web1", StepName::Restart, Some(because(Cause::Lost { detail: "reset".into() })));
    story.undo_all("web1", &BACK[1..]);
    unlock_all(&mut story);
    assert_eq!(brief(&judge(story)), (Outcome::Reverted, 1));
}

#[test]
fn a_balancer_that_fails_to_take_back_gets_its_command() {
    let refusal = || {
        because(Cause::Balancer {
            at: "ssh://lb1/run/haproxy/admin.sock".into(),
            member: Some("shop/web1".into()),
            detail: "no answer within 5s".into(),
            hint: String::new(),
        })
    };
    let mut story = serial(OnFailure::Revert);
    sick_turn(&mut story, 0);
    story.undo_all("web1", &BACK[..2]);
    story.undo("web1", StepName::Drain, Some(refusal()));
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    assert_eq!(end(&finished, "web1").in_balancer, None, "nobody knows");
    assert_eq!(
        finished.next[1],
        "echo 'set server shop/web1 state ready' | ssh lb1 socat stdio unix-connect:/run/haproxy/admin.sock"
    );
}

#[test]
fn a_refused_drain_changed_nothing_but_a_broken_one_may_have() {
    let refused = because(Cause::Refused { code: Refusal::NotWritable, detail: "no space".into() });
    let broken = because(Cause::Balancer {
        at: "tcp://lb1:9999".into(),
        member: Some("shop/web1".into()),
        detail: "closed".into(),
        hint: String::new(),
    });
    for (failure, expected) in [(refused, (Outcome::Reverted, 1)), (broken, (Outcome::Stuck, 3))] {
        let mut story = serial(OnFailure::Revert);
        story.stage(StageName::Rollout, 0, 3);
        story.fail("web1", StepName::Drain, failure);
        unlock_all(&mut story);
        assert_eq!(brief(&judge(story)), expected);
    }
}

#[test]
fn locked_by_another() {
    let mut story = Story::planned(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Lock, 0, 1);
    story.ok("web1", StepName::Lock);
    story.fail("web2", StepName::Lock, because(Cause::Locked(Box::new(Held { age: Some(3), ..Held::default() }))));
    story.undo("web1", StepName::Lock, None);
    assert_eq!(brief(&judge(story)), (Outcome::Locked, 4));
}

#[test]
fn locked_by_another_with_an_own_lock_left_behind_is_stuck() {
    let mut story = Story::planned(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Lock, 0, 1);
    story.ok("web1", StepName::Lock);
    story.fail("web2", StepName::Lock, because(Cause::Locked(Box::default())));
    story.undo("web1", StepName::Lock, Some(because(Cause::Lost { detail: "reset".into() })));
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    assert_eq!(end(&finished, "web1").stuck, Some(Stuck::LockKept));
}

#[test]
fn out_of_reach_before_anything_was_changed() {
    let gone = because(Cause::Balancer {
        at: "tcp://lb1:9999".into(),
        member: None,
        detail: "connection refused".into(),
        hint: String::new(),
    });
    for (who, failure) in [("web2", unreachable()), ("lb1", gone)] {
        let mut story = Story::empty();
        story.stage = StageName::Lock;
        story.ok("web1", StepName::Connect);
        story.fail(who, StepName::Connect, failure);
        let finished = judge(story);
        assert_eq!(brief(&finished), (Outcome::Unreachable, 5));
        assert_eq!(finished.next, ["pitcrew check"]);
    }
}

#[test]
fn a_server_left_out_is_behind() {
    let mut story = Story::empty();
    story.fail("web4", StepName::Connect, unreachable());
    let mut rest = serial(OnFailure::Revert);
    (0..3).for_each(|batch| turn(&mut rest, batch));
    rest.finish_stage(&WEBS);
    rest.events.into_iter().for_each(|e| story.say(e.event));
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Mixed, 3));
    assert_eq!(end(&finished, "web4").stuck, Some(Stuck::Unreachable));
}

#[test]
fn interrupted_and_taken_back() {
    let int = || Warning::Interrupted { signal: "INT".into(), again: false };
    let mut story = serial(OnFailure::Revert);
    story.stage(StageName::Rollout, 0, 3);
    story.all_ok("web1", &TURN[..2]);
    story.start("web1", StepName::Restart);
    story.warn(None, int());
    story.end("web1", StepName::Restart, Some(because(Cause::Interrupted)));
    story.undo_all("web1", &BACK);
    unlock_all(&mut story);
    assert_eq!(brief(&judge(story)), (Outcome::Interrupted, 130));

    let mut story = serial(OnFailure::Revert);
    story.warn(None, int());
    unlock_all(&mut story);
    assert_eq!(brief(&judge(story)), (Outcome::Interrupted, 130), "before the rollout");

    let mut story = serial(OnFailure::Revert);
    turn(&mut story, 0);
    story.warn(None, int());
    unlock_all(&mut story);
    assert_eq!(brief(&judge(story)), (Outcome::Interrupted, 130), "an earlier batch keeps the new release");
}

#[test]
fn interrupted_twice_is_stuck() {
    for policy in [OnFailure::Revert, OnFailure::Hold] {
        let mut story = serial(policy);
        story.stage(StageName::Rollout, 0, 3);
        story.all_ok("web1", &TURN[..2]);
        story.start("web1", StepName::Restart);
        story.warn(None, Warning::Interrupted { signal: "INT".into(), again: false });
        story.end("web1", StepName::Restart, Some(because(Cause::Interrupted)));
        story.say(Event::UndoStarted { server: server("web1"), step: StepName::Switch });
        story.warn(None, Warning::Interrupted { signal: "INT".into(), again: false });
        let finished = judge(story);
        assert_eq!(brief(&finished), (Outcome::Stuck, 3));
        assert_eq!(end(&finished, "web1").stuck, Some(Stuck::CutShort));
    }
}

#[test]
fn a_connection_lost_for_good_is_stuck() {
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Rollout, 0, 1);
    WEBS.iter().for_each(|s| story.ok(s, StepName::Switch));
    story.fail("web2", StepName::Restart, because(Cause::Lost { detail: "reset".into() }));
    for name in ["web1", "web3"] {
        story.undo_all(name, &[StepName::Switch, StepName::Lock]);
    }
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    assert_eq!(end(&finished, "web2").stuck, Some(Stuck::Unreachable));
    assert_eq!(end(&finished, "web1").stuck, None);
}

#[test]
fn a_switch_back_without_its_restart_is_not_taken_back() {
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Rollout, 0, 1);
    story.all_ok("web1", &FLIP[..1]);
    story.fail("web1", StepName::Restart, exit(1));
    story.undo("web1", StepName::Switch, None);
    assert_eq!(brief(&judge(story)), (Outcome::Stuck, 3), "its processes may be the new ones");
}

#[test]
fn a_restart_stopped_before_it_began_needs_proof_alone() {
    let mut story = serial(OnFailure::Revert);
    story.stage(StageName::Rollout, 0, 3);
    story.all_ok("web1", &TURN[..2]);
    story.start("web1", StepName::Restart);
    story.warn(None, Warning::Interrupted { signal: "INT".into(), again: false });
    story.end("web1", StepName::Restart, Some(because(Cause::Interrupted)));
    story.undo_all("web1", &[StepName::Switch, StepName::Check, StepName::Drain]);
    unlock_all(&mut story);
    assert_eq!(brief(&judge(story)), (Outcome::Interrupted, 130));
}

#[test]
fn a_hook_that_fails_after_everything_needs_a_person() {
    let mut story = serial(OnFailure::Revert);
    (0..3).for_each(|batch| turn(&mut story, batch));
    story.finish_stage(&WEBS);
    story.fail("here", StepName::Hook, exit(1));
    let finished = judge(story);
    assert_eq!(brief(&finished), (Outcome::Stuck, 3));
    assert_eq!(finished.next, ["pitcrew check"]);
}

#[test]
fn a_member_found_out_is_not_said_to_be_in() {
    let mut story = Story::planned(Strategy::Serial, OnFailure::Revert, &WEBS);
    story.warn(
        Some("web1"),
        Warning::FoundOut {
            of: pitcrew::name::ServerName("web1".into()),
            member: "shop/web1".into(),
            state: "maint".into(),
            by: None,
        },
    );
    story.stage(StageName::Rollout, 0, 3);
    story.all_ok("web1", &TURN);
    let state = story.state();
    assert_eq!(state.server(&server("web1")).unwrap().in_balancer, None);
    assert_eq!(state.server(&server("web2")).unwrap().in_balancer, Some(true));
}

#[test]
fn commands_carry_the_flags_that_pick_the_stack() {
    let mut story = serial(OnFailure::Hold);
    sick_turn(&mut story, 0);
    let mut state = story.state();
    state.flags = "-c other.toml -p staging ".into();
    let (.., next) = state.outcome();
    assert_eq!(next[0], "pitcrew -c other.toml -p staging check");
    assert!(next[3].ends_with("pitcrew -c other.toml -p staging rollback"), "{next:?}");
}

/// How far a server's steps got, and then how far they were taken back, the last step of either well or not.
fn every_story(turn: &[StepName], back: &[StepName]) -> Vec<(Story, bool)> {
    let strategy = if turn.len() == FLIP.len() { Strategy::Parallel } else { Strategy::Serial };
    let mut all = Vec::new();
    for done in 0..=turn.len() {
        for stumbles in [false, true] {
            for undone in 0..=back.len() {
                for kept in [false, true] {
                    if (stumbles && done == turn.len()) || (kept && undone == back.len()) {
                        continue;
                    }
                    let mut story = Story::locked(strategy, OnFailure::Revert, &["web1"]);
                    story.stage(StageName::Rollout, 0, 1);
                    story.all_ok("web1", &turn[..done]);
                    if stumbles {
                        story.fail("web1", turn[done], exit(1));
                    }
                    story.undo_all("web1", &back[..undone]);
                    if kept {
                        story.undo("web1", back[undone], Some(exit(1)));
                    }
                    let whole = done == turn.len() && undone == 0 && !kept;
                    all.push((story, whole));
                }
            }
        }
    }
    all
}

#[test]
fn only_a_whole_rollout_that_nobody_began_to_take_back_is_new() {
    let drained = [StepName::Restore, StepName::Switch, StepName::Restart, StepName::Check, StepName::Drain];
    let mut count = 0;
    for (story, whole) in every_story(&TURN, &drained).into_iter().chain(every_story(&FLIP, &drained[1..4])) {
        let state = story.state();
        assert_eq!(state.server(&server("web1")).unwrap().is_new(), whole, "{:#?}", story.events);
        count += 1;
    }
    assert!(count > 100, "{count}");
}

#[test]
fn what_a_dead_run_left_is_new_only_where_it_had_finished_and_nobody_began_to_take_it_back() {
    for bits in 0..32u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        // A run in parallel drains nobody; whoever finished has been restored and restarted.
        let (drained, finished) = (bit(0), bit(1));
        let inherited = Inherited {
            drained,
            restored: drained && (finished || bit(2)),
            switched: true,
            restarted: finished || bit(3),
            finished,
            taken_back: !finished && bit(4),
        };
        for undone in [None, Some((StepName::Restore, None)), Some((StepName::Switch, Some(exit(1))))] {
            let mut story = Story::empty();
            let mut planned = plan(Strategy::Serial, OnFailure::RevertAll, &["web1"]);
            planned.steps.clear();
            planned.verb = RunVerb::Recover;
            story.say(Event::Planned(planned));
            story.say(Event::Inherited { server: server("web1"), inherited });
            let whole = finished && undone.is_none();
            if let Some((step, failure)) = undone {
                story.undo("web1", step, failure);
            }
            assert_eq!(story.state().server(&server("web1")).unwrap().is_new(), whole, "{:#?}", story.events);
        }
    }
}
