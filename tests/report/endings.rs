//! The last words of a run: what its sentence says of migrations and recoveries, and which commands come next.

use pitcrew::config::{OnFailure, Strategy};
use pitcrew::event::*;
use pitcrew::lease::{Held, Standing};
use pitcrew::report::lines::Verbosity;
use pitcrew::report::paint::Paint;
use pitcrew::report::plain::Plain;
use pitcrew::report::sink::{Sink, Sinks};

use crate::report::story::*;

const WEBS: [&str; 3] = ["web1", "web2", "web3"];

/// What goes to stdout at the end; with these flags.
fn said_with(mut story: Story, flags: &str) -> String {
    let mut state = story.state();
    state.flags = flags.into();
    let finished = state.finish(9.0);
    story.say(Event::Finished(finished));
    let (progress, results) = (Paper::default(), Paper::default());
    let sink = |paper: &Paper| Sink::new(Box::new(paper.clone()), Paint::PLAIN);
    let sinks = Sinks { progress: sink(&progress), results: sink(&results) };
    let mut plain = Plain::new(Verbosity::Normal, jiff::tz::TimeZone::UTC, sinks);
    state.apply(story.events.last().unwrap());
    pitcrew::outcome::Reporter::event(&mut plain, story.events.last().unwrap(), &state);
    format!("{}{}", progress.text(), results.text())
}

fn said(story: Story) -> String {
    said_with(story, "")
}

fn unlock_all(story: &mut Story) {
    WEBS.iter().for_each(|s| story.undo(s, StepName::Lock, None));
}

fn next(story: Story) -> Vec<String> {
    story.state().outcome().3
}

/// A parallel run on its way to migrate.
fn migrating() -> Story {
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Prepare, 0, 1);
    WEBS.iter().for_each(|s| story.all_ok(s, &[StepName::Transfer, StepName::Build]));
    story.stage(StageName::Migrate, 0, 1);
    story
}

#[test]
fn every_ending_after_a_migration_says_that_it_stays() {
    const RAN: &str = "; migrations have run, and are not taken back\n";
    const BEGAN: &str = "; migrations had begun, and are not taken back\n";

    let mut hook = migrating();
    hook.ok("web1", StepName::Migrate);
    hook.fail("web1", StepName::Hook, exit(1));
    unlock_all(&mut hook);
    let hook = said(hook);
    assert!(hook.contains(&format!("failed after 9.00s; nothing was switched{RAN}")), "{hook}");

    let mut term = migrating();
    term.start("web1", StepName::Migrate);
    term.warn(None, Warning::Interrupted { signal: "TERM".into(), again: false });
    term.end("web1", StepName::Migrate, Some(because(Cause::Interrupted)));
    unlock_all(&mut term);
    let term = said(term);
    assert!(term.contains(&format!("interrupted after 9.00s; nothing was switched{BEGAN}")), "{term}");

    let mut check = migrating();
    check.ok("web1", StepName::Migrate);
    check.stage(StageName::Rollout, 0, 1);
    check.all_ok("web1", &FLIP[..2]);
    check.fail("web1", StepName::Check, sick());
    check.undo_all("web1", &[StepName::Switch, StepName::Restart]);
    let mut stays = Story { events: check.events.clone(), ..Story::empty() };
    unlock_all(&mut check);
    let check = said(check);
    assert!(check.contains(&format!("every server is back on its old release{RAN}")), "{check}");

    stays.undo("web1", StepName::Restart, Some(sick()));
    let stuck = said(stays);
    assert!(stuck.contains(&format!("web1 needs a person, after 9.00s{RAN}")), "{stuck}");
}

#[test]
fn a_migration_that_never_began_or_whose_release_serves_is_not_told() {
    let mut refused = migrating();
    refused.fail("web1", StepName::Migrate, because(Cause::Abandoned));
    refused.fail("web2", StepName::Hook, exit(1));
    assert!(!said(refused).contains("migrations"));

    let mut deployed = migrating();
    deployed.ok("web1", StepName::Migrate);
    deployed.stage(StageName::Rollout, 0, 1);
    WEBS.iter().for_each(|s| deployed.all_ok(s, &FLIP));
    deployed.finish_stage(&WEBS);
    assert!(!said(deployed).contains("migrations"));
}

/// A recovery of a dead serial run whose locks were found on these servers.
fn recovery(servers: &[&str], migrate_on: Option<&str>) -> Story {
    let mut story = Story::empty();
    let mut planned = plan(Strategy::Serial, OnFailure::Revert, servers);
    planned.steps.clear();
    planned.verb = RunVerb::Recover;
    planned.migrate_on = migrate_on.map(server);
    story.say(Event::Planned(planned));
    story.stage = StageName::Lock;
    servers.iter().for_each(|s| story.ok(s, StepName::Lock));
    story
}

fn inherit(story: &mut Story, name: &str) {
    let inherited = Inherited { drained: true, switched: true, ..Inherited::default() };
    story.say(Event::Inherited { server: server(name), inherited });
    story.undo_all(name, &[StepName::Switch, StepName::Restart, StepName::Drain, StepName::Lock]);
}

#[test]
fn a_recovery_speaks_of_the_servers_that_it_was_about() {
    let mut story = recovery(&["web2"], None);
    inherit(&mut story, "web2");
    let told = said(story);
    assert!(told.contains("recovered in 9.00s; web2 is on its old release\n"), "{told}");
    let mut story = recovery(&["web1", "web2"], Some("web1"));
    inherit(&mut story, "web1");
    inherit(&mut story, "web2");
    let told = said(story);
    let end = "web1, web2 are on their old releases; migrations may have run on web1, and are not taken back\n";
    assert!(told.contains(end), "{told}");
}

#[test]
fn a_recovery_without_a_server_names_it_and_comes_again() {
    let mut story = recovery(&["web1"], None);
    story.fail("web2", StepName::Connect, unreachable());
    inherit(&mut story, "web1");
    let next = next(Story { events: story.events.clone(), ..Story::empty() });
    assert_eq!(next, ["pitcrew check", "pitcrew recover    # when web2 can be reached"]);
    let told = said(story);
    assert!(
        told.contains("recovered what could be reached in 9.00s; web2 could not, and is as it was left\n"),
        "{told}"
    );
}

#[test]
fn a_server_lost_halfway_is_recovered_when_it_is_back() {
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Rollout, 0, 1);
    WEBS.iter().for_each(|s| story.ok(s, StepName::Switch));
    story.fail("web2", StepName::Restart, because(Cause::Lost { detail: "reset".into() }));
    ["web1", "web3"].iter().for_each(|s| story.undo_all(s, &[StepName::Switch, StepName::Lock]));
    assert_eq!(next(story)[..2], ["pitcrew check", "pitcrew recover    # when web2 can be reached"]);
}

#[test]
fn out_of_reach_offers_to_go_on_without() {
    for (verb, command) in [(RunVerb::Deploy, "pitcrew deploy"), (RunVerb::Rollback, "pitcrew rollback")] {
        let mut story = Story::empty();
        let planned = plan(Strategy::Parallel, OnFailure::Revert, &WEBS);
        story.say(Event::Planned(Planned { verb, ..planned }));
        story.ok("web1", StepName::Connect);
        story.fail("web2", StepName::Connect, unreachable());
        let next = next(story);
        assert_eq!(next, ["pitcrew check", &format!("{command} --skip-unreachable    # leaves web2 behind")]);
    }
    // Not where none can be reached, and not for what cannot be skipped.
    for missed in [&WEBS[..], &["here"]] {
        let mut story = Story::planned(Strategy::Parallel, OnFailure::Revert, &WEBS);
        missed.iter().for_each(|s| story.fail(s, StepName::Connect, unreachable()));
        assert_eq!(next(story), ["pitcrew check"]);
    }
}

#[test]
fn what_is_held_is_taken_back_by_recover() {
    let mut story = Story::locked(Strategy::Serial, OnFailure::Hold, &WEBS);
    story.stage(StageName::Rollout, 0, 3);
    story.all_ok("web1", &TURN[..3]);
    story.fail("web1", StepName::Check, sick());
    let next = next(story);
    assert_eq!(next[1], "pitcrew recover    # takes it back");
    assert_eq!(next[2], "pitcrew unlock    # instead, once it is mended by hand");
}

#[test]
fn a_member_that_the_dead_run_found_out_is_not_said_to_be_in() {
    let mut story = recovery(&["web1"], None);
    let found = Warning::FoundOut { of: server("web1"), member: "shop/web1".into(), state: "maint".into(), by: None };
    story.warn(Some("web1"), found);
    let inherited = Inherited { drained: true, restored: true, finished: true, switched: true, ..Inherited::default() };
    story.say(Event::Inherited { server: server("web1"), inherited });
    assert_eq!(story.state().server(&server("web1")).unwrap().in_balancer, None);
}

#[test]
fn hints_keep_the_flags_of_the_run() {
    let mut story = Story::planned(Strategy::Parallel, OnFailure::Revert, &WEBS);
    story.stage(StageName::Lock, 0, 1);
    let standing = Some(Standing::Dead { pid: 4711 });
    let owner = [("command".to_owned(), "pitcrew deploy".to_owned())].into();
    let held = Held { owner, standing, ..Held::default() };
    story.fail("web1", StepName::Lock, because(Cause::Locked(Box::new(held))));
    let told = said_with(story, "-c other.toml -p staging ");
    assert!(told.contains("hint: run `pitcrew -c other.toml -p staging recover`"), "{told}");
    assert!(told.contains("running `pitcrew deploy`"), "{told}");
}
