//! How many round trips a parallel deploy takes, by a delay on the wire: it is measured, so it is run by hand.
//!
//! `cargo test --test embedded -- rounds --ignored --nocapture`

use std::collections::BTreeMap;
use std::time::Duration;

use pitcrew::demo::{FleetOptions, Sample, WebKind};

use crate::deploy::stack::{PITCREW, Stack};

/// One-way delays; the round trips are the slope between them.
const DELAYS: [u64; 2] = [20, 100];

/// Seconds from each step's start to its end, and of the whole, at a delay: the least of some deploys.
async fn deploys(delay: u64) -> BTreeMap<String, f64> {
    let mut options = FleetOptions::new(PITCREW);
    options.servers = 3;
    options.web = WebKind::Reload;
    options.delays = vec![Duration::from_millis(delay); 3];
    let stack = Stack::with(options, "").await;
    stack.settle().await;
    let mut least: BTreeMap<String, f64> = BTreeMap::new();
    for i in 1..=3 {
        stack.release(&Sample::good(i.to_string()));
        let began = std::time::Instant::now();
        let ran = stack.run(&["deploy", "--parallel", "--json"]).await.expect(0);
        let process = began.elapsed().as_secs_f64();
        let events = ran.events();
        let mut note = |name: &str, seconds: f64| {
            let known = least.entry(name.to_owned()).or_insert(f64::MAX);
            *known = known.min(seconds);
        };
        for event in events.iter().filter(|e| e["event"] == "step_finished") {
            note(event["step"].as_str().unwrap(), event["seconds"].as_f64().unwrap());
        }
        // With the connections, which are made before the run is planned.
        note("the process", process);
        note("the run", events.last().unwrap()["t"].as_f64().unwrap());
    }
    least
}

#[tokio::test]
#[ignore = "measures time"]
async fn round_trips_of_a_parallel_deploy() {
    let (near, far) = (deploys(DELAYS[0]).await, deploys(DELAYS[1]).await);
    let slope = (2 * (DELAYS[1] - DELAYS[0])) as f64 / 1000.0;
    #[expect(clippy::print_stderr, reason = "that is what it is for")]
    for (step, seconds) in &far {
        let trips = (seconds - near[step]) / slope;
        eprintln!("{step:12} {trips:5.1} round trips, {:.2} s at {} ms", seconds, 2 * DELAYS[1]);
    }
    assert!(far["the process"] > near["the process"]);
}
