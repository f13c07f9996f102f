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
    // Of one step's output most is left out for another reason.
    let place = Story::empty().place(&format!("web{}", n % 20), StepName::Build);
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

/// Its beginning, its end, and how much there was between them.
#[test]
fn the_output_of_one_step_has_a_limit() {
    let (reporting, emitter, from) = witnessed();
    let place = |server: &str| Story::empty().place(server, StepName::Build);
    let line = |server: &str, line: String| Event::Output { place: place(server), stream: Stream::Stdout, line };
    let flood = 300_000;
    for n in 0..flood {
        emitter.emit(line("web1", format!("line {n}")));
        if n % 1000 == 0 {
            emitter.emit(line("web2", format!("line {n}")));
        }
    }
    let finished = |server: &str| Event::StepFinished {
        place: place(server),
        outcome: StepOutcome::Ok,
        seconds: 1.0,
        failure: None,
        sent: None,
    };
    emitter.emit(finished("web1"));
    emitter.emit(finished("web2"));
    // Another command of the same step begins anew.
    emitter.emit(line("web1", "again".into()));
    // One that does not end is heard to its end all the same.
    (0..flood).for_each(|n| emitter.emit(line("web3", format!("line {n}"))));
    reporting.finish();
    let events: Vec<Stamped> = from.iter().collect();
    assert_last_word(&events);
    let of = |server: &str| -> Vec<&str> {
        let lines = events.iter().filter_map(|e| match &e.event {
            Event::Output { place, line, .. } if place.server.as_str() == server => Some(line.as_str()),
            _ => None,
        });
        lines.collect()
    };
    let left_out = |server: &str| -> usize {
        let warned = events.iter().filter_map(|e| match &e.event {
            Event::Warning { server: Some(of), warning: Warning::OutputLeftOut { step, lines, bytes } }
                if of.as_str() == server =>
            {
                assert!(*step == StepName::Build && *bytes > lines * 8);
                Some(usize::try_from(*lines).unwrap())
            }
            _ => None,
        });
        warned.sum()
    };
    assert_eq!((of("web2").len(), left_out("web2")), (300, 0), "another server's step has limits of its own");
    for (server, more) in [("web1", 1), ("web3", 0)] {
        let shown = of(server);
        assert!((5_000..15_000).contains(&shown.len()), "{}", shown.len());
        assert_eq!(shown.len() - more + left_out(server), flood);
        assert_eq!(shown[5_000], "line 5000");
        assert_eq!(shown[shown.len() - 1 - more], format!("line {}", flood - 1));
    }
    let end = events.iter().position(|e| matches!(e.event, Event::StepFinished { .. })).unwrap();
    assert!(matches!(&events[end - 1].event, Event::Output { line, .. } if *line == format!("line {}", flood - 1)));
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
