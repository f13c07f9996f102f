//! Plans as files: a configuration, facts and flags in `tests/plans/*.toml`, the plan they make in the `.txt` beside it.
//!
//! `UPDATE=1 cargo test --test cases plans` writes the `.txt` files anew; read the difference before committing it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use pitcrew::balancer::{Admin, MemberFacts};
use pitcrew::config::{self, Config, OnFailure, Prepare, Strategy};
use pitcrew::event::{Cause, Failure, TakenBy};
use pitcrew::facts::{Facts, PortHolder, ProcessFacts, ReleaseFacts, ServerFacts, TakenOut, WebFact};
use pitcrew::lease::LockFacts;
use pitcrew::name::{ReleaseId, Revision, ServerName};
use pitcrew::plan::build::{Request, build};
use pitcrew::plan::unwind::{Forecast, Takeback};
use pitcrew::plan::{Act, Plan, Verb};
use pitcrew::release::ReleaseState;
use pitcrew::web::{self, Template};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    config: String,
    #[serde(default)]
    flags: Flags,
    #[serde(default)]
    servers: BTreeMap<String, Found>,
    #[serde(default)]
    unreachable: Vec<String>,
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
struct Flags {
    verb: Option<String>,
    strategy: Option<Strategy>,
    batch: Option<String>,
    prepare_ahead: bool,
    migrate: Option<bool>,
    on_failure: Option<OnFailure>,
    only: Vec<String>,
    except: Vec<String>,
    release: Option<String>,
    revision: Option<String>,
    if_changed: bool,
    insists: bool,
    skip_unreachable: bool,
    size_mb: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    current: Option<String>,
    #[serde(default)]
    stack: Option<String>,
    #[serde(default)]
    place: Option<String>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    current_odd: Option<String>,
    #[serde(default)]
    current_gone: Option<String>,
    /// Its web server does not run.
    #[serde(default)]
    idle: bool,
    /// `ID STATE [REVISION]`
    #[serde(default)]
    releases: Vec<String>,
    #[serde(default)]
    missing_files: Vec<String>,
    #[serde(default)]
    missing_tools: Vec<String>,
    #[serde(default)]
    not_writable: Option<String>,
    #[serde(default)]
    locked_by: Option<String>,
    #[serde(default)]
    behind: Option<String>,
    /// Who took it out by hand.
    #[serde(default)]
    taken_out_by: Option<String>,
    /// What the web server's template tells: `interrupts WHY`, …
    #[serde(default)]
    facts: Vec<String>,
    /// `PORT USER [PID PLACE NAME]`
    #[serde(default)]
    listens: Option<String>,
    #[serde(default = "plenty")]
    free_kb: u64,
    #[serde(default)]
    clock_ahead: i64,
}

fn plenty() -> u64 {
    100_000_000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    at: String,
    backend: String,
    member: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    status: Option<String>,
}

const NOW: &str = "2026-11-23T04:59:00Z";

fn load(text: &str) -> Config {
    let template = |name: &str| Ok(Template::builtin(name).unwrap());
    let input = config::Input {
        text,
        file: Path::new("pitcrew.toml"),
        base: PathBuf::from("/stack"),
        profile: None,
        template: &template,
    };
    config::load(&input)
        .unwrap_or_else(|p| panic!("{}", p.iter().map(config::Problem::render).collect::<Vec<_>>().join("\n")))
}

fn facts(case: &Case, now: jiff::Timestamp) -> Facts {
    let mut facts = Facts::default();
    for (name, found) in &case.servers {
        let releases = found.releases.iter().map(|text| {
            let mut words = text.split_whitespace();
            ReleaseFacts {
                id: ReleaseId::parse(words.next().unwrap()).unwrap(),
                state: match words.next().unwrap() {
                    "prepared" => ReleaseState::Prepared,
                    "active" => ReleaseState::Active,
                    "good" => ReleaseState::Good,
                    "failed" => ReleaseState::Failed,
                    "reverted" => ReleaseState::Reverted,
                    "foreign" => ReleaseState::Foreign,
                    other => panic!("no such state: {other}"),
                },
                revision: words.next().map(|r| Revision(r.into())),
            }
        });
        let release = found.current.as_deref().and_then(ReleaseId::parse);
        let runs = release.is_some() && !found.idle && found.listens.is_none();
        let running = runs.then(|| ProcessFacts { pid: 7, release, ..ProcessFacts::default() });
        let server = ServerFacts {
            root: "/srv/shop".into(),
            stack: found.stack.clone(),
            place: found.place.clone(),
            addresses: found.addresses.clone(),
            user: "deploy".into(),
            time: now.as_second() + found.clock_ahead,
            current: found.current.as_deref().and_then(ReleaseId::parse),
            current_odd: found.current_odd.clone(),
            current_gone: found.current_gone.clone(),
            processes: running.into_iter().collect(),
            releases: releases.collect(),
            lock: found.locked_by.as_ref().map(|run| LockFacts {
                owner: [("run".to_owned(), run.clone())].into(),
                age: Some(30),
                ..LockFacts::default()
            }),
            free_kb: Some(found.free_kb),
            missing_files: found.missing_files.clone(),
            missing_tools: found.missing_tools.clone(),
            not_writable: found.not_writable.clone(),
            behind: found.behind.clone(),
            listener: found.listens.as_deref().and_then(PortHolder::read),
            web: found.facts.iter().map(|text| WebFact::read(text).unwrap()).collect(),
            taken_out: found.taken_out_by.as_ref().map(|who| TakenOut {
                by: TakenBy { who: who.clone(), host: "laptop".into(), ..TakenBy::default() },
                found: Vec::new(),
            }),
            ..ServerFacts::default()
        };
        facts.servers.insert(ServerName(name.clone()), server);
    }
    for name in &case.unreachable {
        let cause = Cause::Connect { detail: format!("{name}:22 refused the connection"), hint: String::new() };
        facts.unreachable.insert(ServerName(name.clone()), Failure { cause, command: None, tail: vec![] });
    }
    let up = |m: &Member| m.status.as_deref().unwrap_or("UP") == "UP";
    for m in &case.members {
        let mates: Vec<&Member> = case.members.iter().filter(|o| o.at == m.at && o.backend == m.backend).collect();
        let status = m.status.clone().unwrap_or_else(|| "UP".into());
        facts.members.push(MemberFacts {
            at: m.at.clone(),
            backend: m.backend.clone(),
            member: m.member.clone(),
            address: m.address.clone(),
            also: m.also.clone(),
            admin: match status.as_str() {
                "MAINT" => Admin::Maint,
                "DRAIN" => Admin::Drain,
                _ => Admin::Ready,
            },
            in_service: up(m),
            status,
            sessions: Some(0),
            others_in_service: mates.iter().filter(|o| o.member != m.member && up(o)).count(),
            size: mates.len(),
            ..MemberFacts::default()
        });
    }
    facts
}

fn plan(case: &Case, config: &Config) -> Plan {
    let now: jiff::Timestamp = NOW.parse().unwrap();
    let flags = &case.flags;
    let request = Request {
        holder: None,
        verb: if flags.verb.as_deref() == Some("rollback") { Verb::Rollback } else { Verb::Deploy },
        strategy: flags.strategy,
        batch: flags.batch.as_deref().map(|b| config::parse_batch(b).unwrap()),
        prepare_ahead: flags.prepare_ahead,
        migrate: flags.migrate,
        on_failure: flags.on_failure,
        servers: config::select::select(&config.servers, &flags.only, &flags.except).unwrap(),
        revision: Some(Revision(flags.revision.clone().unwrap_or_else(|| "c0ffee".repeat(6) + "c0ff"))),
        size: flags.size_mb.map(|mb| (mb * 1024 * 1024, 100)),
        release: flags.release.as_deref().and_then(ReleaseId::parse),
        if_changed: flags.if_changed,
        insists: flags.insists,
        skip_unreachable: flags.skip_unreachable,
    };
    build(config, &facts(case, now), &request, now)
}

/// Every field of the plan that decides something, in a form that a person can review.
fn show(plan: &Plan) -> String {
    let mut out = String::new();
    let names = |list: &[ServerName]| list.iter().map(ServerName::as_str).collect::<Vec<_>>().join(" ");
    let (strategy, by, prepare, policy) = (plan.strategy, plan.decided_by, plan.prepare, plan.on_failure);
    writeln!(out, "{:?} {strategy} (decided by {by}), prepare {prepare}, on_failure {policy}", plan.verb).unwrap();
    writeln!(out, "release {} revision {}", plan.release, plan.revision.short()).unwrap();
    writeln!(out, "batches {}", plan.batches.iter().map(|b| names(b)).collect::<Vec<_>>().join(" | ")).unwrap();
    if let Some(first) = plan.places().first().filter(|_| plan.built_here) {
        writeln!(out, "before all else {} on {}", first.step, first.server).unwrap();
    }
    if !plan.bystanders.is_empty() {
        writeln!(out, "locked only: {}", names(&plan.bystanders)).unwrap();
    }
    if !plan.skipped.is_empty() {
        writeln!(out, "left behind: {}", names(&plan.skipped)).unwrap();
    }
    if plan.unchanged {
        writeln!(out, "unchanged").unwrap();
    }
    for notice in &plan.notices {
        writeln!(out, "notice {}", serde_json::to_string(notice).unwrap()).unwrap();
    }
    for blocker in &plan.blockers {
        writeln!(out, "blocker {}", serde_json::to_string(blocker).unwrap()).unwrap();
    }
    let mut forecast = Forecast::of(plan);
    for stage in &plan.stages {
        for (index, batch) in stage.batches.iter().enumerate() {
            writeln!(out, "{} {}", stage.name, index + 1).unwrap();
            for phase in &batch.phases {
                for lane in &phase.lanes {
                    let steps: Vec<String> = lane
                        .steps
                        .iter()
                        .map(|act| {
                            let detail = match act {
                                Act::Switch { from, to } => {
                                    format!("({}->{to})", from.as_ref().map_or("none", |f| f.as_str()))
                                }
                                Act::Hook { index, on } => format!("(#{index} on {on:?})"),
                                _ => String::new(),
                            };
                            format!("{}{detail}", act.name())
                        })
                        .collect();
                    writeln!(out, "  {}: {}", lane.server, steps.join(", ")).unwrap();
                    let back: Vec<String> = forecast.after(lane).iter().map(taken_back).collect();
                    if !back.is_empty() {
                        writeln!(out, "    taken back by: {}", back.join(", ")).unwrap();
                    }
                }
                writeln!(out, "  --").unwrap();
            }
        }
    }
    out
}

fn taken_back(takeback: &Takeback) -> String {
    match takeback {
        Takeback::Drain => "drain".into(),
        Takeback::SwitchBack(None) => "switch(none)".into(),
        Takeback::SwitchBack(Some(release)) => format!("switch({release})"),
        Takeback::Restart(release) => format!("restart({release})"),
        Takeback::Stop => "stop".into(),
        Takeback::Check(release) => format!("check({release})"),
        Takeback::StayOut => "stay out".into(),
        Takeback::Restore => "restore".into(),
        Takeback::RemoveRelease => "remove".into(),
    }
}

fn agree(path: &Path, made: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, made).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected != made {
        wrong.push(format!("{}:\n--- expected\n{expected}\n--- made\n{made}", path.display()));
    }
}

#[test]
fn every_case_makes_the_plan_beside_it() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(files.len() >= 10, "the cases are gone: {files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let case: Case = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let config = load(&case.config);
        agree(&file.with_extension("txt"), &show(&plan(&case, &config)), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Every strategy × template × policy × preparation, on one stack: the whole matrix in one reviewed file.
#[test]
fn the_matrix_of_strategies_templates_and_policies() {
    let mut all = String::new();
    for web in web::builtin_names() {
        for strategy in [None, Some(Strategy::Parallel), Some(Strategy::Serial), Some(Strategy::Rolling)] {
            for policy in [OnFailure::Revert, OnFailure::RevertAll, OnFailure::Hold] {
                for ahead in [false, true] {
                    let extra = if web == "systemd" { "[web]\nunit = \"shop.service\"\n" } else { "" };
                    let config = format!(
                        "[app]\nname = \"shop\"\ndeploy_to = \"/srv/shop\"\nweb_server = \"{web}\"\n{extra}[health]\nport = 8080\n\
                         [migrate]\nrun = \"migrate\"\n[[servers]]\nhost = \"web[1-3]\"\n\
                         [load_balancer]\nkind = \"haproxy\"\nat = [\"unix:///h\"]\nbackends = [\"b\"]\n"
                    );
                    let found = |_| Found {
                        stack: None,
                        facts: Vec::new(),
                        listens: None,
                        place: None,
                        addresses: Vec::new(),
                        current: Some("20260101000000".into()),
                        current_odd: None,
                        current_gone: None,
                        idle: false,
                        releases: vec!["20260101000000 good aaa".into()],
                        missing_files: vec![],
                        missing_tools: vec![],
                        not_writable: None,
                        locked_by: None,
                        behind: None,
                        taken_out_by: None,
                        free_kb: plenty(),
                        clock_ahead: 0,
                    };
                    let names = ["web1", "web2", "web3"];
                    let member = |m: &&str| Member {
                        at: "unix:///h".into(),
                        backend: "b".into(),
                        member: (*m).into(),
                        address: String::new(),
                        also: Vec::new(),
                        status: None,
                    };
                    let case = Case {
                        config: config.clone(),
                        flags: Flags { strategy, on_failure: Some(policy), prepare_ahead: ahead, ..Flags::default() },
                        servers: names.iter().map(|n| ((*n).to_owned(), found(n))).collect(),
                        unreachable: vec![],
                        members: names.iter().map(member).collect(),
                    };
                    let config = load(&case.config);
                    let plan = plan(&case, &config);
                    assert!(plan.blockers.is_empty(), "{:?}", plan.blockers);
                    barriers_hold(&plan);
                    let (prepare, by) = (plan.prepare, plan.decided_by);
                    write!(
                        all,
                        "{web} {strategy:?} {policy} ahead={ahead}: {} by {by}, prepare {prepare};",
                        plan.strategy
                    )
                    .unwrap();
                    for stage in &plan.stages {
                        let steps = stage.batches.iter().map(|b| {
                            let phase = |p: &pitcrew::plan::Phase| {
                                let lane = &p.lanes[0];
                                let steps: Vec<String> = lane.steps.iter().map(|act| act.name().to_string()).collect();
                                format!("{}×{}", p.lanes.len(), steps.join("+"))
                            };
                            b.phases.iter().map(phase).collect::<Vec<_>>().join(" ")
                        });
                        write!(all, " {}[{}]", stage.name, steps.collect::<Vec<_>>().join(" | ")).unwrap();
                    }
                    all.push('\n');
                }
            }
        }
    }
    let mut wrong = Vec::new();
    agree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/matrix.snap"), &all, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the contract says of every plan, whatever its strategy.
fn barriers_hold(plan: &Plan) {
    use pitcrew::event::{StageName, StepName};
    let places = plan.places();
    let first = |step| places.iter().position(|p| p.step == step);
    let last = |step| places.iter().rposition(|p| p.step == step);
    assert!(places.windows(2).all(|w| w[0].stage <= w[1].stage), "a stage is entered twice");
    let migrations = places.iter().filter(|p| p.step == StepName::Migrate).count();
    assert_eq!(migrations, usize::from(plan.migrate_on.is_some()));
    if let Some(migrate) = first(StepName::Migrate) {
        assert!(first(StepName::Switch).is_some_and(|s| migrate < s), "something switches before the migrations");
    }
    if plan.prepare == Prepare::Ahead {
        assert!(last(StepName::Transfer) < first(StepName::Switch), "something switches before all are prepared");
        assert!(last(StepName::Transfer) < first(StepName::Drain) || first(StepName::Drain).is_none());
    }
    if plan.strategy == Strategy::Parallel {
        assert!(first(StepName::Drain).is_none() && first(StepName::Restore).is_none());
        assert_eq!(plan.batches.len(), 1);
    }
    for stage in plan.stages.iter().filter(|s| s.name == StageName::Rollout) {
        for batch in &stage.batches {
            let of = |step| {
                let steps = batch
                    .phases
                    .iter()
                    .flat_map(|p| &p.lanes)
                    .flat_map(|l| l.steps.iter().map(|s| (s.name(), l.server.clone())));
                steps.filter(|(s, _)| *s == step).map(|(_, server)| server).collect::<Vec<_>>()
            };
            assert_eq!(of(StepName::Drain), of(StepName::Restore), "drained and not restored, or the reverse");
        }
    }
}
