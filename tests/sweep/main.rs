//! The sweep: whatever fails, whenever, every server ends serving or named.
//!
//! Each case deploys to an embedded fleet with one thing (or two) going wrong at one of the places that a run passes:
//! commands, transfers, forwarded connections, balancer calls; or with a signal there. A killed run is recovered, and each
//! kill of a sample is followed by one where something goes wrong in the recovery, too. The rules are in `rules`.
//!
//! - `PITCREW_SWEEP=all`, `=500` (runs) or `=20m` (time): how much; by default a sample of a minute.
//! - `PITCREW_SWEEP=core`: the matrix. Every strategy, place of preparing and policy, with a release that works and one that
//!   does not (30 scenarios); at every place that a run without faults passes: error before and after the effect, cut before
//!   and after it, server dead from then on, hang (two ways, for commands), one signal, two, and `kill -9` with `recover`, at the boundary and in
//!   mid-step. `core,20m` and `core,500` begin with a part of it that is spread evenly.
//! - `PITCREW_SWEEP_PART=3/8`: one part of it. `PITCREW_SWEEP_LIST=FILE`: runs are listed there, and what is listed as good is
//!   not run again: so it is taken up where it ended. The list is of one program: start another when that has changed.
//! - `PITCREW_SWEEP_SEED=7`: another sample. The seed is printed.
//! - `PITCREW_SWEEP_CASE='serial/ahead/revert/good: s1 exec switch#0 = cut'`: just that one; several on lines of their own.
//! - `PITCREW_SWEEP_ONLY=restart`: only cases whose name holds this.
//! - `PITCREW_SWEEP_FLEETS=8`: how many fleets run side by side.
//! - `PITCREW_SWEEP_SHELL='/bin/busybox sh'`: the servers' login shell; by default /bin/sh in one fleet of four, and busybox.
//! - `PITCREW_SWEEP_PROGRAM=FILE`: another build of the program, say one that is broken on purpose.
//!
//! `cargo test --profile sweep --test sweep` builds it, and the program, optimised: several times as many runs a second.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to a person")]

mod asked;
mod case;
mod choose;
mod evidence;
mod ground;
mod offered;
mod record;
mod rules;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use asked::{Asked, Matter};
use case::{Case, Harm, Scenario, Spot};
use evidence::Evidence;
use ground::{Ground, Size};
use record::List;

/// So far ahead a case is looked for that needs no new fleet.
const AHEAD: usize = 48;
/// The longest wait for a moment with little to do.
const PATIENCE: Duration = Duration::from_secs(3);
/// Each pair of harms comes after so many single ones.
const PAIR_AFTER: usize = 5;
/// So many recoveries with something going wrong follow each kill.
const RECOVERIES: usize = 1;
/// Cases that once found a bug; always run.
const KNOWN: &str = include_str!("known.txt");

/// Counts files with evidence.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// What the fleets work on.
struct Work {
    queue: Mutex<VecDeque<Case>>,
    done: Mutex<Done>,
    until: Option<Instant>,
    began: Instant,
    seed: Option<u64>,
    list: List,
}

#[derive(Default)]
struct Done {
    runs: usize,
    missed: usize,
    starved: usize,
    left: usize,
    violations: Vec<(String, Vec<String>)>,
    learnt: BTreeMap<Scenario, Vec<Spot>>,
    codes: BTreeMap<String, usize>,
    seconds: f64,
    slowest: (f64, String),
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> ExitCode {
    if std::env::args().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    match runtime.map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(sweep())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sweep: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn sweep() -> Result<bool, String> {
    let began = Instant::now();
    let asked = Asked::read(began)?;
    let list = List::at(asked.list.clone());
    let within = Within { fleets: asked.fleets, until: asked.until, began, list: list.clone() };
    if let Some(cases) = asked.cases {
        let done = run(cases, &Within { until: None, ..within }, None).await?;
        return Ok(report(&done, began, true));
    }
    println!("sweep: seed {}, {} fleets side by side", asked.seed, asked.fleets);
    if asked.matter == Matter::Core {
        return core(&asked, &within).await;
    }

    // What each scenario passes is learnt from a run in which nothing is made to fail; with that it is a case too.
    let (seed, only) = (asked.seed, &asked.only);
    let mut scenarios = Scenario::all();
    scenarios.sort_by_key(|s| choose::rank(seed, s));
    if let Some(only) = only {
        scenarios.retain(|s| {
            only.contains('/') && only.starts_with(&s.to_string())
                || !only.contains('/')
                || s.to_string().contains(only.as_str())
        });
    }
    let minutes = asked.until.map_or(usize::MAX, |until| {
        usize::try_from(until.saturating_duration_since(began).as_secs() / 60).unwrap_or(usize::MAX)
    });
    let known: Vec<Case> = KNOWN
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with('#'))
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("known.txt: {e}"))?;
    let plain = if asked.is_whole() {
        scenarios.len()
    } else {
        scenarios.len().min(asked.runs / 12).min(minutes.saturating_mul(8)).max(1)
    };
    let mut first: Vec<Case> = scenarios.iter().take(plain).map(|s| Case::plain(*s)).collect();
    first.extend(known.into_iter().filter(|c| asked.wants(c)));
    let learnt = run(first, &within, None).await?;
    println!("sweep: {} scenarios and known cases in {:.0} s", learnt.runs, began.elapsed().as_secs_f64());

    let places: BTreeMap<Scenario, Vec<Spot>> =
        learnt.learnt.iter().map(|(scenario, spots)| (*scenario, choose::places(spots))).collect();
    let mut singles = choose::singles(&places, seed, Harm::all).into_iter().filter(|c| asked.wants(c));
    let mut cases = Vec::new();
    let room = asked.runs.saturating_sub(learnt.runs);
    let mut pairs = 0;
    while cases.len() < room {
        let Some(case) = singles.next() else { break };
        cases.push(case);
        if cases.len() % (PAIR_AFTER + 1) == PAIR_AFTER {
            pairs += 1;
            cases.extend(choose::pair(&places, seed, pairs).filter(|c| asked.wants(c)));
        }
    }
    println!("sweep: {} cases of {} single ones and their pairs", cases.len(), cases.len() + singles.count());
    let good = list.good();
    cases.retain(|case| !good.contains(&case.to_string()));
    let mut done = run(cases, &within, Some(seed)).await?;
    done.join(learnt);
    Ok(report(&done, began, false))
}

/// The matrix, or what of it is not listed as good yet.
async fn core(asked: &Asked, within: &Within) -> Result<bool, String> {
    let list = &within.list;
    let mut places = list.places()?;
    let mut done = Done::default();
    if places.is_empty() {
        let plain = Scenario::core().into_iter().map(Case::plain).collect();
        done = run(plain, within, None).await?;
        places = done.learnt.iter().map(|(scenario, spots)| (*scenario, choose::places(spots))).collect();
        if places.len() < Scenario::core().len() {
            println!("sweep: not every scenario had its run in time");
            return Ok(report(&done, within.began, false));
        }
        list.keep_places(&places).map_err(|e| format!("cannot keep the list of places: {e}"))?;
    }
    let all = choose::singles(&places, asked.seed, Harm::core);
    let (spots, count) = (places.values().map(Vec::len).sum::<usize>(), all.len());
    let mut cases: Vec<Case> = all.into_iter().filter(|case| asked.wants(case)).collect();
    let wanted = cases.len();
    let good = list.good();
    cases.retain(|case| !good.contains(&case.to_string()));
    let listed = wanted - cases.len();
    cases.truncate(asked.runs);
    println!(
        "sweep: the matrix has {} scenarios with {spots} places, {count} cases; {wanted} of them are asked for, {listed} are good already",
        places.len()
    );
    done.join(run(cases, within, None).await?);
    Ok(report(&done, within.began, false))
}

impl Done {
    fn join(&mut self, other: Self) {
        self.runs += other.runs;
        self.missed += other.missed;
        self.starved += other.starved;
        self.left += other.left;
        self.seconds += other.seconds;
        self.violations.extend(other.violations);
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
        if other.slowest.0 > self.slowest.0 {
            self.slowest = other.slowest;
        }
    }
}

/// What cases are run within.
struct Within {
    fleets: usize,
    until: Option<Instant>,
    began: Instant,
    list: List,
}

/// Runs cases on several fleets side by side; with a seed, kills are followed by troubled recoveries.
async fn run(cases: Vec<Case>, within: &Within, seed: Option<u64>) -> Result<Done, String> {
    let fleets = within.fleets.min(cases.len());
    let (until, began, list) = (within.until, within.began, within.list.clone());
    let work = Arc::new(Work { queue: Mutex::new(cases.into()), done: Mutex::default(), until, began, seed, list });
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..fleets {
        workers.spawn(worker(work.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|e| e.to_string())??;
    }
    let mut done = std::mem::take(&mut *held(&work.done));
    done.left = held(&work.queue).len();
    Ok(done)
}

/// Waits until the machine has time for another case, or a while: limits mean something only where it has.
async fn calm() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let running = stat.lines().find_map(|l| l.strip_prefix("procs_running ")).and_then(|n| n.trim().parse().ok());
        if running.unwrap_or(0) <= cores * 2 {
            return;
        }
        // Not all at the same moment.
        tokio::time::sleep(Duration::from_millis(20 + choose::rank(0, began.elapsed()) % 40)).await;
    }
}

async fn worker(work: Arc<Work>) -> Result<(), String> {
    let mut ground: Option<(Size, Ground)> = None;
    loop {
        if work.until.is_some_and(|until| Instant::now() > until) {
            break;
        }
        calm().await;
        let Some(case) = work.next(ground.as_ref().map(|(size, _)| *size)) else { break };
        let size = size(&case);
        // One at a time: a fleet that waits for its turn costs the others time, too.
        if ground.as_ref().is_some_and(|(found, _)| *found != size)
            && let Some((_, old)) = ground.take()
        {
            leave(old).await;
        }
        let (_, ground) = match &mut ground {
            Some(ground) => ground,
            none => none.insert((size, start(size).await?)),
        };
        let evidence = match ground.run(&case).await {
            Ok(evidence) => evidence,
            Err(error) => return Err(format!("{case}: {error}")),
        };
        work.note(&evidence);
    }
    if let Some((_, ground)) = ground {
        leave(ground).await;
    }
    Ok(())
}

/// Starts a fleet; another program may take a port between the search for a free one and its use.
async fn start(size: Size) -> Result<Ground, String> {
    for _ in 0..3 {
        match Ground::new(size).await {
            Err(error) => println!("sweep: {error}; trying again"),
            ground => return ground,
        }
    }
    Ground::new(size).await
}

/// Ends a fleet. That a machine has no time for that says nothing of a run.
async fn leave(ground: Ground) {
    if let Err(error) = ground.end().await {
        println!("sweep: {error}");
    }
}

fn size(case: &Case) -> Size {
    (case.scenario.servers(), case.scenario.balancers(), case.scenario.distance())
}

impl Work {
    /// Takes one of the next cases, best one that a fleet of this size can be used for.
    fn next(&self, wanted: Option<Size>) -> Option<Case> {
        let mut queue = held(&self.queue);
        let fits = queue.iter().take(AHEAD).position(|case| Some(size(case)) == wanted);
        queue.remove(fits.unwrap_or(0))
    }
}

impl Work {
    fn note(&self, evidence: &Evidence) {
        let broken = rules::judge(evidence);
        let name = evidence.case.to_string();
        let mut done = held(&self.done);
        done.runs += 1;
        done.seconds += evidence.took;
        if evidence.took > done.slowest.0 {
            done.slowest = (evidence.took, name.clone());
        }
        done.starved += usize::from(rules::starved(evidence));
        done.missed += usize::from(evidence.hits < evidence.case.harms.len() + evidence.case.then.len());
        *done.codes.entry(evidence.code.map_or("killed".into(), |c| c.to_string())).or_default() += 1;
        self.list.add(evidence, &broken);
        if let Some(seed) = self.seed
            && evidence.case.then.is_empty()
            && let Some(recovery) = evidence.recovered.first()
        {
            let more = (0..RECOVERIES).filter_map(|n| choose::recovery(&evidence.case, &recovery.spots, seed, n));
            // Soon: the places are those that this kill has just led to.
            more.for_each(|case| held(&self.queue).push_front(case));
        }
        if evidence.case.harms.is_empty() {
            done.learnt.insert(evidence.case.scenario, evidence.spots.clone());
        }
        if done.runs.is_multiple_of(100) {
            println!("sweep: {} runs, {:.0} s", done.runs, self.began.elapsed().as_secs_f64());
        }
        if !broken.is_empty() {
            println!("\nVIOLATION in {name}");
            for rule in &broken {
                println!("  {rule}");
            }
            match record::keep(evidence, &broken, NUMBER.fetch_add(1, Ordering::Relaxed)) {
                Ok(file) => println!("  evidence: {file}"),
                Err(error) => println!("  the evidence could not be kept: {error}"),
            }
            done.violations.push((name, broken));
        }
    }
}

/// What a run costs. What the applications' processes used is not in it: they have no parent here.
fn spent(runs: usize, seconds: f64) -> String {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let of = |who| {
        let usage = getrusage(who).map(|u| (u.user_time(), u.system_time()));
        usage.map_or(0.0, |(u, s)| (u.num_microseconds() + s.num_microseconds()) as f64 / 1e6)
    };
    let runs = runs.max(1) as f64;
    format!(
        "{:.1} runs a second; a run takes {:.2} s of processor time here and {:.2} s in what it starts",
        runs / seconds,
        of(UsageWho::RUSAGE_SELF) / runs,
        of(UsageWho::RUSAGE_CHILDREN) / runs
    )
}

/// Says how it went; true: no rule was broken.
fn report(done: &Done, began: Instant, quiet: bool) -> bool {
    let seconds = began.elapsed().as_secs_f64();
    let codes: Vec<String> = done.codes.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    println!(
        "\nsweep: {} runs in {seconds:.0} s, {} violations; exit codes {}",
        done.runs,
        done.violations.len(),
        codes.join(", ")
    );
    println!("sweep: {}", spent(done.runs, seconds));
    if done.missed > 0 {
        println!("sweep: in {} runs a place was not passed again", done.missed);
    }
    if !quiet {
        println!("sweep: slowest {:.0} s, {}", done.slowest.0, done.slowest.1);
        println!("sweep: {} runs were on a machine too busy for limits to mean anything", done.starved);
        println!("sweep: {} cases did not fit in", done.left);
    }
    for (name, broken) in &done.violations {
        println!("PITCREW_SWEEP_CASE='{name}'\n    {}", broken.join("\n    "));
    }
    done.violations.is_empty()
}
