//! What a terminal shows, on one in memory.

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use pitcrew::config::{OnFailure, Strategy};
use pitcrew::event::*;
use pitcrew::outcome::Reporter;
use pitcrew::outcome::state::State;
use pitcrew::report::frame::{Size, frame};
use pitcrew::report::lines::Verbosity;
use pitcrew::report::paint::Paint;
use pitcrew::report::sink::{Sink, Sinks};
use pitcrew::report::terminal::Terminal;
use proptest::prelude::*;

use crate::report::story::*;

struct Screen {
    term: InMemoryTerm,
    progress: Paper,
    results: Paper,
    reporter: Terminal,
}

fn screen(rows: u16, columns: u16, verbosity: Verbosity) -> Screen {
    let term = InMemoryTerm::new(rows, columns);
    let (progress, results) = (Paper::default(), Paper::default());
    let sink = |paper: &Paper| Sink::new(Box::new(paper.clone()), Paint::PLAIN);
    let reporter = Terminal::new(
        ProgressDrawTarget::term_like(Box::new(term.clone())),
        Box::new(move || Size { rows, columns }),
        verbosity,
        Sinks { progress: sink(&progress), results: sink(&results) },
    );
    Screen { term, progress, results, reporter }
}

/// Two hundred servers on their way: one failed, a dozen at work, some done, the others waiting.
fn crowd() -> Story {
    let names: Vec<String> = (0..200).map(|i| format!("web{i:03}.example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &names);
    story.stage(StageName::Prepare, 0, 1);
    for name in &names[..100] {
        story.all_ok(name, &[StepName::Transfer, StepName::Build]);
    }
    story.fail(names[150], StepName::Transfer, exit(1));
    for name in &names[100..112] {
        story.start(name, StepName::Transfer);
        let place = story.place(name, StepName::Transfer);
        story.say(Event::Progress { place, progress: Progress::Bytes { done: 1_000_000, total: 4_000_000 } });
    }
    story.start(names[112], StepName::Build);
    story.output(names[112], StepName::Build, &"Installing a very long line ".repeat(20));
    story
}

#[test]
fn two_hundred_servers_fit_on_a_screen_at_every_moment() {
    let mut screen = screen(24, 80, Verbosity::Normal);
    let mut state = State::new();
    let mut most = 0;
    for event in crowd().events {
        state.apply(&event);
        screen.reporter.event(&event, &state);
        screen.reporter.tick(&state, event.t);
        let lines = frame(&state, event.t, Size { rows: 24, columns: 80 }, Paint::PLAIN);
        most = most.max(lines.len());
        assert!(lines.len() <= 20, "{lines:#?}");
    }
    assert!(most > 10, "it shows as many as fit: {most}");
    insta::assert_snapshot!(screen.term.contents());
    screen.reporter.close();
}

#[test]
fn at_the_end_the_live_lines_go_and_the_summary_comes() {
    let mut screen = screen(24, 80, Verbosity::Normal);
    let mut story = Story::locked(Strategy::Parallel, OnFailure::Revert, &["web1", "web2"]);
    story.stage(StageName::Rollout, 0, 1);
    story.all_ok("web1", &FLIP);
    story.ok("web2", StepName::Switch);
    story.fail("web2", StepName::Restart, exit(1));
    for name in ["web1", "web2"] {
        story.undo_all(name, &[StepName::Switch, StepName::Restart, StepName::Lock]);
    }
    story.finished();
    let mut state = State::new();
    for event in &story.events {
        state.apply(event);
        screen.reporter.event(event, &state);
        screen.reporter.tick(&state, event.t);
    }
    screen.reporter.close();
    insta::assert_snapshot!(format!(
        "{}\n--- stderr\n{}--- stdout\n{}",
        screen.term.contents(),
        screen.progress.text(),
        screen.results.text()
    ));
}

#[test]
fn windows_too_small_for_anything_break_nothing() {
    for (rows, columns) in [(1, 1), (2, 2), (5, 19), (3, 80), (24, 3)] {
        let mut screen = screen(rows, columns, Verbosity::Verbose);
        let mut state = State::new();
        let mut story = crowd();
        story.output("web001.example.com", StepName::Build, "日本語の長い行");
        for event in story.events {
            state.apply(&event);
            screen.reporter.event(&event, &state);
        }
        screen.reporter.tick(&state, 1.0);
        screen.reporter.close();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_frame_fits_every_window(rows in 0u16..60, columns in 0u16..200, upto in 0usize..1000, t in 0.0..1e6f64) {
        let mut state = State::new();
        let events = crowd().events;
        events.iter().take(upto).for_each(|e| state.apply(e));
        for paint in [Paint::PLAIN, Paint::COLORS] {
            let lines = frame(&state, t, Size { rows, columns }, paint);
            prop_assert!(lines.len() <= usize::from(rows).saturating_sub(4));
            for line in lines {
                prop_assert!(console::measure_text_width(&line) <= usize::from(columns), "{}", line);
                prop_assert!(!line.contains('\n'));
            }
        }
    }
}
