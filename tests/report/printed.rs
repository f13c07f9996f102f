//! What is printed, word by word: plain, quiet, JSON, and the dossier of every cause.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use pitcrew::config::{OnFailure, Strategy};
use pitcrew::event::*;
use pitcrew::lease::{Held, Standing};
use pitcrew::name::{ReleaseId, Revision, ServerName};
use pitcrew::report::json::Json;
use pitcrew::report::lines::Verbosity;
use pitcrew::report::paint::Paint;
use pitcrew::report::plain::Plain;
use pitcrew::report::sink::{Sink, Sinks};
use pitcrew::wording::{cause, warning};

use crate::report::story::*;

/// What goes to stderr and to stdout.
fn print(story: &Story, verbosity: Verbosity) -> String {
    let (progress, results) = (Paper::default(), Paper::default());
    let sink = |paper: &Paper| Sink::new(Box::new(paper.clone()), Paint::PLAIN);
    story.tell(&mut Plain::new(verbosity, TimeZone::UTC, Sinks { progress: sink(&progress), results: sink(&results) }));
    format!("--- stderr\n{}--- stdout\n{}", progress.text(), results.text())
}

fn deployed() -> Story {
    let mut story = Story::empty();
    let mut planned = plan(Strategy::Parallel, OnFailure::Revert, &["web1", "web22"]);
    planned.migrate_on = Some(server("web1"));
    planned.notices = vec![Warning::SerialAdvised];
    story.say(Event::Planned(planned));
    story.stage(StageName::Lock, 0, 1);
    story.ok("web1", StepName::Lock);
    story.ok("web22", StepName::Lock);
    story.stage(StageName::Prepare, 0, 1);
    for name in ["web1", "web22"] {
        story.ok(name, StepName::Transfer);
        story.start(name, StepName::Build);
        story.output(name, StepName::Build, "Bundle complete");
        story.end(name, StepName::Build, None);
    }
    story.stage(StageName::Migrate, 0, 1);
    story.start("web1", StepName::Migrate);
    story.output("web1", StepName::Migrate, "== 20261123 AddPrice: migrated \x1b[32m(0.01s)\x1b[0m");
    story.end("web1", StepName::Migrate, None);
    story.stage(StageName::Rollout, 0, 1);
    story.all_ok("web1", &FLIP);
    story.all_ok("web22", &FLIP);
    story.finish_stage(&["web1", "web22"]);
    story.finished();
    story
}

fn stuck() -> Story {
    let webs = ["web1", "web2", "web3"];
    let mut story = Story::locked(Strategy::Serial, OnFailure::Revert, &webs);
    story.stage(StageName::Prepare, 0, 1);
    webs.iter().for_each(|s| story.all_ok(s, &[StepName::Transfer, StepName::Build]));
    story.stage(StageName::Rollout, 0, 3);
    story.all_ok("web1", &TURN);
    story.stage(StageName::Rollout, 1, 3);
    story.ok("web2", StepName::Drain);
    story.warn(Some("web2"), Warning::DrainIncomplete { open: 1, waited: 30.0 });
    story.all_ok("web2", &TURN[1..3]);
    story.fail("web2", StepName::Check, sick());
    story.undo("web2", StepName::Switch, None);
    let mut failure = because(Cause::Signal { signal: "KILL".into() });
    failure.command = Some("bundle exec unicorn -c config/unicorn.rb -D".into());
    failure.tail = vec!["master loading\x07".into(), "cannot allocate memory".into()];
    story.undo("web2", StepName::Restart, Some(failure));
    story.finished();
    story
}

#[test]
fn a_deploy_in_plain_lines() {
    insta::assert_snapshot!(print(&deployed(), Verbosity::Normal));
}

#[test]
fn a_stuck_deploy_in_plain_lines() {
    insta::assert_snapshot!(print(&stuck(), Verbosity::Normal));
}

#[test]
fn verbose_shows_every_line_of_output() {
    let count = |verbosity| print(&deployed(), verbosity).matches("| Bundle complete").count();
    assert_eq!((count(Verbosity::Normal), count(Verbosity::Verbose)), (0, 2));
}

#[test]
fn quiet_is_silent_when_all_is_well() {
    assert_eq!(print(&deployed(), Verbosity::Quiet), "--- stderr\n--- stdout\n");
}

#[test]
fn quiet_speaks_up_when_something_needs_reading() {
    insta::assert_snapshot!(print(&stuck(), Verbosity::Quiet));
    let mut story = deployed();
    story.events.pop();
    story.warn(Some("web1"), Warning::ClockSkew { of: ServerName("web1".into()), seconds: -95 });
    story.finished();
    let printed = print(&story, Verbosity::Quiet);
    assert!(
        printed.starts_with("--- stderr\nweb1: warning: the clock of web1 is 1m 35s behind this machine's\n"),
        "{printed}"
    );
}

#[test]
fn the_same_failure_on_many_servers_is_told_once() {
    let names: Vec<String> = (1..=40).map(|i| format!("web{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &names);
    story.stage(StageName::Prepare, 0, 1);
    names.iter().skip(1).for_each(|s| story.fail(s, StepName::Build, exit(7)));
    names.iter().for_each(|s| story.undo(s, StepName::Lock, None));
    story.finished();
    let printed = print(&story, Verbosity::Quiet);
    assert_eq!(printed.matches("exit status 7").count(), 1, "{printed}");
    assert!(printed.contains("web02, web03") && printed.contains("and 27 more: build failed (prepare)"), "{printed}");
    assert!(printed.contains("web40  "), "every server that failed is in the table");
}

#[test]
fn a_long_table_leaves_out_those_who_are_well() {
    let names: Vec<String> = (1..=200).map(|i| format!("web{i:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &names);
    story.stage(StageName::Rollout, 0, 1);
    names.iter().for_each(|s| story.all_ok(s, &FLIP));
    story.finish_stage(&names);
    story.finished();
    let printed = print(&story, Verbosity::Normal);
    let results = printed.split("--- stdout\n").nth(1).unwrap();
    assert!(results.lines().count() < 40 && results.contains("… and 170 more, all well"), "{results}");
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let sink = || Sink::new(Box::new(Gone), Paint::PLAIN);
    stuck().tell(&mut Plain::new(Verbosity::Verbose, TimeZone::UTC, Sinks { progress: sink(), results: sink() }));
    stuck().tell(&mut Json::new(Box::new(Gone)));
}

#[test]
fn json_is_one_object_a_line_with_the_names_of_the_contract() {
    let mut story = stuck();
    let end = story.events.pop().unwrap();
    let place = story.place("web2", StepName::Transfer);
    for progress in [
        Progress::Bytes { done: 1, total: 2 },
        Progress::Sessions { open: 3 },
        Progress::Attempts { good: 1, needed: 2, asked: 3 },
    ] {
        story.say(Event::Progress { place: place.clone(), progress });
    }
    story.output("web2", StepName::Build, "a \"quoted\" line");
    let outcome = StepOutcome::Ok;
    story.say(Event::StageFinished { stage: StageName::Rollout, batch: 1, outcome, seconds: 1.5 });
    for warning in every_warning() {
        story.warn(Some("web2"), warning);
    }
    for cause in every_cause() {
        story.fail("web2", StepName::Build, because(cause));
    }
    story.events.push(end);

    let paper = Paper::default();
    story.tell(&mut Json::new(Box::new(paper.clone())));
    let text = paper.text();
    let mut names = Vec::new();
    for (line, event) in text.lines().zip(&story.events) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let at = value["at"].as_str().unwrap();
        assert_eq!((at.len(), &at[19..20], &at[23..]), ("2026-11-23T04:59:00.123Z".len(), ".", "Z"), "{at}");
        assert!(value["t"].is_f64() && value["run"].is_string(), "{line}");
        names.push(value["event"].as_str().unwrap().to_owned());
        let back: Stamped = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(serde_json::to_value(&back).unwrap(), serde_json::to_value(event).unwrap());
    }
    assert_eq!(names.len(), story.events.len());
    assert_eq!((names.first().unwrap().as_str(), names.last().unwrap().as_str()), ("planned", "finished"));
    names.sort();
    names.dedup();
    assert_eq!(
        names.join(" "),
        "finished output planned progress stage_finished stage_started step_finished step_started \
         undo_finished undo_started warning"
    );
}

#[test]
fn every_cause_has_words() {
    let mut told = String::new();
    for cause in every_cause() {
        let failure =
            Failure { command: Some("bin/step \\\n  --now".into()), tail: vec!["\x1b[1mlast\x1b[0m".into()], cause };
        told.push_str(&cause::lines(&failure).join("\n"));
        told.push_str("\n\n");
    }
    assert!(!told.contains('\x1b'));
    insta::assert_snapshot!(told);
}

#[test]
fn every_warning_has_words() {
    let told: Vec<String> = every_warning().iter().map(warning::sentence).collect();
    insta::assert_snapshot!(told.join("\n"));
}

fn every_cause() -> Vec<Cause> {
    let owner = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let holder = owner(&[
        ("who", "ann"),
        ("host", "laptop"),
        ("pid", "4711"),
        ("since", "2026-11-23T04:47:01Z"),
        ("command", "pitcrew deploy --serial"),
        ("run", "20261123044700-9f8e"),
    ]);
    let refused = |code: &str, detail: &str| Cause::Refused { code: Refusal::read(code), detail: detail.into() };
    vec![
        Cause::Exit { status: 1 },
        Cause::Exit { status: 127 },
        Cause::Signal { signal: "KILL".into() },
        Cause::NoStatus,
        Cause::Lost { detail: "connection reset by peer".into() },
        unreachable().cause,
        Cause::TimedOut { limit: 1800.0 },
        refused("no_space", "12 MB free, 300 MB needed"),
        refused("current_changed", "current is 20261123000000, expected 20261122000000"),
        refused("brand_new", "something else"),
        refused("stale_facts", "current was 20261122000000 and is 20261123000000"),
        Cause::Locked(Box::new(Held { owner: holder.clone(), age: Some(7), ..Held::default() })),
        held(&holder, Standing::Renewed { age: 31, lease: 120 }),
        held(&holder, Standing::AliveHere { pid: 4711 }),
        held(&holder, Standing::Dead { pid: 4711 }),
        held(&holder, Standing::Silent { age: 4000, lease: 120 }),
        held(&holder, Standing::Stuck { reason: "web2: could not restart on the old release".into() }),
        held(&holder, Standing::Frozen { reason: "the fair".into(), left: Some(4800) }),
        held(&holder, Standing::Frozen { reason: String::new(), left: None }),
        held(&holder, Standing::Expired),
        held(&BTreeMap::new(), Standing::Unowned { age: Some(3) }),
        held(&BTreeMap::new(), Standing::Unowned { age: Some(300) }),
        held(&holder, Standing::Unknown),
        Cause::Locked(Box::default()),
        sick().cause,
        Cause::Unhealthy(Box::new(Unhealthy {
            asked: "bin/check".into(),
            attempts: 1,
            error: Some("no answer within 5s".into()),
            ..Default::default()
        })),
        Cause::Balancer {
            at: "tcp://lb1:9999".into(),
            member: Some("shop/web1".into()),
            detail: "No such server.".into(),
            hint: "see `lb` of the server in pitcrew.toml".into(),
        },
        Cause::Local { detail: "cannot read app.tar.gz".into() },
        Cause::Interrupted,
        Cause::Abandoned,
    ]
}

fn held(owner: &BTreeMap<String, String>, standing: Standing) -> Cause {
    let age = match &standing {
        Standing::Renewed { age, .. } | Standing::Silent { age, .. } => Some(*age),
        _ => None,
    };
    let phase = Some("rollout, batch 2 of 5 (switch)".to_owned());
    Cause::Locked(Box::new(Held { owner: owner.clone(), age, phase, standing: Some(standing) }))
}

fn found_out(by: Option<TakenBy>) -> Warning {
    Warning::FoundOut { of: ServerName("web1".into()), member: "shop/web1".into(), state: "maint".into(), by }
}

fn taken_by(reason: Option<&str>) -> TakenBy {
    let text = |text: &str| text.to_owned();
    let since = text("2026-11-26T18:00:00Z");
    TakenBy { who: text("ann"), host: text("laptop"), since, reason: reason.map(text) }
}

#[test]
fn who_took_a_server_out_by_hand_is_told_as_far_as_it_is_known() {
    let told = warning::taken_by(&taken_by(Some("a new disk")));
    assert_eq!(told, "by hand by ann@laptop at 2026-11-26T18:00:00Z: a new disk");
    let told = warning::taken_by(&taken_by(None));
    assert_eq!(told, "by hand by ann@laptop at 2026-11-26T18:00:00Z");
    assert_eq!(warning::taken_by(&TakenBy::default()), "by hand");
    let told = warning::sentence(&found_out(Some(taken_by(None))));
    assert_eq!(
        told,
        "shop/web1 was maint before the run came to it, and is left so; taken out by hand by ann@laptop at 2026-11-26T18:00:00Z"
    );
}

fn every_warning() -> Vec<Warning> {
    vec![
        Warning::SerialAdvised,
        Warning::StaysInTraffic,
        Warning::StaysOn {
            servers: ["web3", "web4"].map(|s| ServerName(s.into())).into(),
            release: ReleaseId::parse("20260101000000").unwrap(),
        },
        Warning::NoHealthCheck,
        Warning::WaitsForBalancer { seconds: 150, batches: 3 },
        Warning::ReleaseKept {
            release: ReleaseId::parse("20260101000000").unwrap(),
            why: "process 77, which this login may not look into, may come from it".into(),
        },
        Warning::Fled {
            revision: Revision("c0ffee1234".into()),
            release: ReleaseId::parse("20260101000000").unwrap(),
            on: ServerName("web1".into()),
            how: Flight::Failed,
        },
        Warning::Fled {
            revision: Revision("c0ffee1234".into()),
            release: ReleaseId::parse("20260101000000").unwrap(),
            on: ServerName("web1".into()),
            how: Flight::RolledBack,
        },
        Warning::BalancerDiffers { member: "shop/web1".into(), was: "UP".into(), now: "MAINT\u{1b}[0m".into() },
        Warning::Quiet { step: StepName::Build, seconds: 60, last_line: "Installing nokogiri".into() },
        Warning::Quiet { step: StepName::Build, seconds: 60, last_line: String::new() },
        Warning::DrainIncomplete { open: 2, waited: 30.0 },
        found_out(None),
        found_out(Some(taken_by(Some("a new disk\u{1b}[0m")))),
        Warning::CurrentMoved { current: "20260101000000".into() },
        Warning::CurrentGone { on: ServerName("web1".into()), target: "releases/20260101000000".into() },
        Warning::ClockSkew { of: ServerName("web1".into()), seconds: 42 },
        Warning::Hook { command: "bin/notify".into(), failure: Box::new(exit(1)) },
        Warning::Prune { failure: Box::new(exit(1)) },
        Warning::OutputDropped { lines: 12 },
        Warning::OutputLeftOut { step: StepName::Build, lines: 1_234_567, bytes: 317 << 20 },
        Warning::Waited { seconds: 95, held: Box::new(Held { age: Some(3), ..Held::default() }) },
        Warning::NotRenewed { seconds: 61, lease: 120, failure: Box::new(exit(1)) },
        Warning::LockLost { detail: "the lock is held by no run".into() },
        Warning::Interrupted { signal: "TERM".into(), again: false },
        Warning::Interrupted { signal: "INT".into(), again: true },
        Warning::DrainWaits { detail: "2 of 3 are up".into() },
        Warning::DrainUncounted { waited: 30.0 },
        Warning::DrainedAgain,
        Warning::NotCompared { detail: "lb1 does not answer".into() },
        Warning::LockKept { servers: vec![ServerName("web1".into()), ServerName("web2".into())] },
        Warning::LockUnmarked { detail: "no room".into() },
        Warning::TreeUnusable { detail: "the cached tree has been changed".into() },
        Warning::ModesLost,
        Warning::MayNotFit { of: ServerName("web1".into()), free_kb: 10, root: "/srv/shop".into(), current_kb: 20 },
        Warning::WouldSend { what: "1.2 kB to 2 servers".into() },
        Warning::WaitedForMembers { seconds: 12 },
        Warning::BalancerUnusable { detail: "lb1 does not answer".into() },
        Warning::NoAgent { detail: "SSH_AUTH_SOCK is not set".into() },
        Warning::PlanDiffers { on: vec![ServerName("web1".into())], undecided: false },
        Warning::PlanDiffers { on: vec![ServerName("web1".into()), ServerName("web2".into())], undecided: true },
        Warning::NotMasked { names: vec!["PIN".into(), "SALT".into()] },
        Warning::NoLog { detail: "set HOME or XDG_STATE_HOME".into() },
        Warning::LogBroken { directory: "/var/log/x".into(), detail: "no room".into() },
        Warning::Note { text: "something".into() },
    ]
}
