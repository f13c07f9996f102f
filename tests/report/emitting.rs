//! The way from the engine to the reporters: order, the last word, floods, panics, secrets.

use std::sync::mpsc::{Receiver, Sender, channel};

use pitcrew::config::{OnFailure, Strategy};
use pitcrew::event::*;
use pitcrew::name::RunId;
use pitcrew::outcome::state::State;
use pitcrew::outcome::{Emitter, Reporter, Reporting};
use pitcrew::text::redact::Redactor;

use crate::report::story::*;

/// Passes on all it is told.
struct Witness(Sender<Stamped>);

impl Reporter for Witness {
    fn event(&mut self, stamped: &Stamped, _: &State) {
        let _ = self.0.send(stamped.clone());
    }
}

fn run() -> RunId {
    RunId("run-1".into())
}

fn witnessed() -> (Reporting, Emitter, Receiver<Stamped>) {
    let (to, from) = channel();
    let reporting = Reporting::start(run(), vec![Box::new(Witness(to))]);
    let emitter = reporting.emitter();
    (reporting, emitter, from)
}

fn line(n: usize) -> Event {
    let place = Story::empty().place("web1", StepName::Build);
    Event::Output { place, stream: Stream::Stdout, line: format!("line {n}") }
}

fn assert_last_word(events: &[Stamped]) {
    let ends = events.iter().filter(|e| matches!(e.event, Event::Finished(_))).count();
    assert_eq!(ends, 1);
    assert!(matches!(events.last().unwrap().event, Event::Finished(_)));
    assert!(events.windows(2).all(|w| w[0].t <= w[1].t), "stamps are in order");
}

#[test]
fn finished_comes_once_and_last_whoever_else_emits() {
    for round in 0..50 {
        let (reporting, emitter, from) = witnessed();
        let start = std::sync::Arc::new(std::sync::Barrier::new(5));
        let others: Vec<_> = (0..4)
            .map(|_| {
                let (emitter, start) = (emitter.clone(), start.clone());
                std::thread::spawn(move || {
                    start.wait();
                    (0..100).for_each(|n| emitter.emit(line(n)));
                })
            })
            .collect();
        start.wait();
        let finished = reporting.finish();
        others.into_iter().for_each(|o| o.join().unwrap());
        emitter.emit(Event::Finished(finished));
        drop(emitter);
        let events: Vec<Stamped> = from.iter().collect();
        assert_last_word(&events);
        assert!(events.len() <= 401, "round {round}");
    }
}

#[test]
fn a_run_that_is_dropped_ends_all_the_same() {
    let (reporting, emitter, from) = witnessed();
    emitter.emit(line(1));
    drop(reporting);
    assert_last_word(&from.iter().collect::<Vec<_>>());
}

#[test]
fn an_engine_cannot_say_how_the_run_ended() {
    let (reporting, emitter, from) = witnessed();
    let claim = Finished { outcome: Outcome::Deployed, exit_code: 0, seconds: 1.0, servers: vec![], next: vec![] };
    emitter.emit(Event::Finished(claim));
    let finished = reporting.finish();
    assert_eq!(finished.exit_code, 1);
    assert_last_word(&from.iter().collect::<Vec<_>>());
}

#[test]
fn what_was_emitted_is_judged_at_once() {
    let (reporting, emitter, _from) = witnessed();
    emitter.emit(Event::Planned(plan(Strategy::Parallel, OnFailure::Revert, &["web1"])));
    emitter.flags("-p staging");
    let story = {
        let mut story = Story::empty();
        story.fail("web1", StepName::Connect, unreachable());
        story
    };
    story.events.into_iter().for_each(|e| emitter.emit(e.event));
    let (outcome, code, _, next) = emitter.outcome();
    assert_eq!((outcome, code), (Outcome::Unreachable, 5));
    assert_eq!(next, ["pitcrew -p staging check"]);
    assert_eq!(emitter.with_state(|s| s.failures.len()), 1);
    assert_eq!(reporting.finish().exit_code, 5);
}

#[test]
fn a_flood_of_output_is_cut_and_owned_up_to() {
    /// Waits for leave before it takes anything in.
    struct Slow(Receiver<()>, Witness);
    impl Reporter for Slow {
        fn event(&mut self, stamped: &Stamped, state: &State) {
            let _ = self.0.recv();
            self.1.event(stamped, state);
        }
    }
    let (leave, held) = channel();
    let (to, from) = channel();
    let reporting = Reporting::start(run(), vec![Box::new(Slow(held, Witness(to)))]);
    let emitter = reporting.emitter();
    let flood = 60_000;
    (0..flood).for_each(|n| emitter.emit(line(n)));
    let place = Story::empty().place("web1", StepName::Build);
    emitter.emit(Event::StepStarted { place });
    drop(leave);
    reporting.finish();
    let events: Vec<Stamped> = from.iter().collect();
    assert_last_word(&events);
    let count = |is: fn(&Event) -> bool| events.iter().filter(|e| is(&e.event)).count();
    assert_eq!(count(|e| matches!(e, Event::StepStarted { .. })), 1, "only output is left out");
    let shown = count(|e| matches!(e, Event::Output { .. }));
    let dropped: u64 = events
        .iter()
        .filter_map(|e| match &e.event {
            Event::Warning { warning: Warning::OutputDropped { lines }, .. } => Some(*lines),
            _ => None,
        })
        .sum();
    assert!(shown < flood, "{shown}");
    assert_eq!(shown + usize::try_from(dropped).unwrap(), flood);
}

#[test]
fn what_comes_before_the_plan_waits_for_it_in_order_and_not_without_end() {
    let flood = 60_000;
    for planned in [true, false] {
        let (reporting, emitter, from) = witnessed();
        emitter.plan_first();
        let place = Story::empty().place("here", StepName::Build);
        emitter.emit(Event::StepStarted { place: place.clone() });
        (0..flood).for_each(|n| emitter.emit(line(n)));
        let warning = Warning::Interrupted { signal: "INT".into(), again: false };
        emitter.emit(Event::Warning { server: None, warning });
        assert!(from.try_recv().is_err(), "nothing is told before the plan");
        if planned {
            let plan = Story::planned(Strategy::Parallel, OnFailure::Revert, &["web1"]).events.remove(0);
            emitter.emit(plan.event);
            emitter.emit(Event::StepStarted { place });
        }
        reporting.finish();
        let events: Vec<Stamped> = from.iter().collect();
        assert_last_word(&events);
        let first = usize::from(planned);
        assert_eq!(matches!(events[0].event, Event::Planned(_)), planned);
        assert!(matches!(events[first].event, Event::StepStarted { .. }));
        assert!(matches!(&events[first + 1].event, Event::Output { line, .. } if line == "line 0"));
        let shown = events.iter().filter(|e| matches!(e.event, Event::Output { .. })).count();
        let dropped = events.iter().find_map(|e| match &e.event {
            Event::Warning { warning: Warning::OutputDropped { lines }, .. } => usize::try_from(*lines).ok(),
            _ => None,
        });
        assert!(shown < flood && shown + dropped.unwrap() == flood, "{shown} {dropped:?}");
        let Event::Finished(finished) = &events.last().unwrap().event else { panic!("no end") };
        assert_eq!(finished.exit_code, 130);
    }
}

#[test]
fn a_reporter_that_panics_costs_only_itself() {
    struct Fool;
    impl Reporter for Fool {
        fn event(&mut self, _: &Stamped, _: &State) {
            std::panic::resume_unwind(Box::new("a bug"));
        }
    }
    let (to, from) = channel();
    let reporting = Reporting::start(run(), vec![Box::new(Fool), Box::new(Witness(to))]);
    reporting.emitter().emit(line(1));
    reporting.finish();
    assert_eq!(from.iter().count(), 2);
}

#[test]
fn a_troubled_reporter_is_heard_by_the_others() {
    struct Troubled(bool);
    impl Reporter for Troubled {
        fn event(&mut self, _: &Stamped, _: &State) {}
        fn trouble(&mut self) -> Option<Warning> {
            std::mem::take(&mut self.0).then(|| Warning::Note { text: "disk full".into() })
        }
    }
    let (to, from) = channel();
    let reporting = Reporting::start(run(), vec![Box::new(Troubled(true)), Box::new(Witness(to))]);
    reporting.emitter().emit(line(1));
    let heard = from.iter().take(2).collect::<Vec<_>>();
    assert!(matches!(&heard[1].event, Event::Warning { warning: Warning::Note { .. }, .. }));
    reporting.finish();
}

#[test]
fn no_secret_leaves_through_any_event() {
    let secret = "s3cr3t-value";
    let (reporting, emitter, from) = witnessed();
    emitter.redact(Redactor::new([secret]));
    let mut story = Story::empty();
    story.output("web1", StepName::Build, &format!("\x1b[1mDATABASE_URL={secret}\x1b[0m\r"));
    let mut failure = because(Cause::Local { detail: format!("cannot use {secret}") });
    failure.tail = vec![format!("x{secret}x")];
    failure.command = Some(format!("psql {secret}"));
    story.fail("web1", StepName::Build, failure.clone());
    story.undo("web1", StepName::Build, Some(failure));
    story.warn(None, Warning::Note { text: secret.into() });
    story.events.into_iter().for_each(|e| emitter.emit(e.event));
    emitter.with_state(|s| assert!(!format!("{s:?}").contains(secret)));
    reporting.finish();
    for stamped in from.iter() {
        let json = serde_json::to_string(&stamped).unwrap();
        assert!(!json.contains(secret) && !json.contains("\\u001b"), "{json}");
    }
}
