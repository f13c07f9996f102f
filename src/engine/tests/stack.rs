//! A stack to run: how it is configured, what goes wrong, and what came of the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::recorder::{Recorder, Rule, What};
use super::table::{table, written};
use crate::balancer::Snapshot;
use crate::config::parse_batch;
use crate::config::{self, Config};
use crate::engine::fetch::Fetch;
use crate::engine::hands::Balance;
use crate::engine::{self, Running, World, recover};
use crate::event::{Cause, Event, Refusal, Stamped, Stuck, Warning};
use crate::facts::{Facts, ReleaseFacts, ServerFacts};
use crate::name::{ReleaseId, Revision, RunId, ServerName};
use crate::outcome::state::State;
use crate::outcome::{Reporter, Reporting};
use crate::plan::build::{Request, build};
use crate::plan::journal::Wreck;
use crate::plan::unwind::Record;
use crate::plan::{Plan, Verb};
use crate::policy::{OnFailure, Strategy};
use crate::release::ReleaseState;
use crate::script::Owner;
use crate::source::Delivery;
use crate::source::download::ArchiveLink;
use crate::sync::lock;
use crate::web::Template;

/// The release that every server runs before a deploy.
pub const OLD: &str = "20260101000000";

/// A stack, and a run on it.
pub struct Stack {
    servers: usize,
    balanced: bool,
    first: bool,
    toml: String,
    health: &'static str,
    within: &'static str,
    request: Request,
    recorder: Recorder,
}

/// A stack of so many servers without a balancer, for a parallel deploy.
pub fn stack(servers: usize) -> Stack {
    let request = Request {
        verb: Verb::Deploy,
        strategy: Some(Strategy::Parallel),
        batch: None,
        prepare_ahead: false,
        migrate: None,
        on_failure: None,
        servers: (1..=servers).map(|n| ServerName(format!("web{n}"))).collect(),
        revision: Some(Revision("c0ffee".into())),
        size: None,
        release: None,
        if_changed: false,
        skip_unreachable: false,
        insists: false,
        holder: None,
    };
    let recorder = Recorder { old: OLD.into(), ..Recorder::default() };
    Stack {
        servers,
        balanced: false,
        first: false,
        toml: String::new(),
        health: "port = 8080\n",
        within: "1s",
        request,
        recorder,
    }
}

impl Stack {
    /// Servers take their turn one by one, behind a balancer.
    pub fn serial(mut self) -> Self {
        (self.balanced, self.request.strategy) = (true, Some(Strategy::Serial));
        self
    }

    /// Batches of these sizes take their turn, behind a balancer.
    pub fn rolling(mut self, batches: &str) -> Self {
        (self.balanced, self.request.strategy) = (true, Some(Strategy::Rolling));
        self.request.batch = Some(parse_batch(batches).unwrap());
        self
    }

    /// The stack has a balancer.
    pub fn balanced(mut self) -> Self {
        self.balanced = true;
        self
    }

    /// The stack has no balancer.
    pub fn unbalanced(mut self) -> Self {
        self.balanced = false;
        self
    }

    /// All servers are prepared before the first one's turn.
    pub fn ahead(mut self) -> Self {
        self.request.prepare_ahead = true;
        self
    }

    /// No server has a release yet.
    pub fn first_deploy(mut self) -> Self {
        self.first = true;
        self
    }

    /// Sets what becomes of servers after a failure.
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.request.on_failure = Some(policy);
        self
    }

    /// Returns to an earlier release.
    pub fn rollback(mut self) -> Self {
        (self.request.verb, self.request.revision) = (Verb::Rollback, None);
        self
    }

    /// A command of the stack's own answers for its health.
    pub fn health_command(mut self) -> Self {
        self.health = "command = \"bin/check\"\n";
        self
    }

    /// Adds tables to the configuration.
    pub fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self
    }

    /// Adds a rule for a call.
    ///
    /// `SERVER CALL` is about the first such call, `SERVER CALL 2` about the second, `SERVER CALL *` about all.
    fn rule(mut self, call: &str, what: What) -> Self {
        let (name, nth) = match call.rsplit_once(' ').map(|(name, nth)| (name, nth.parse())) {
            Some((name, Ok(nth))) => (name, Some(nth)),
            Some((name, Err(_))) if call.ends_with('*') => (name, None),
            _ => (call, Some(1)),
        };
        self.recorder.rules.push(Rule { call: name.to_owned(), nth, what });
        self
    }

    /// A call fails with exit status 1.
    pub fn fails(self, call: &str) -> Self {
        self.rule(call, What::Fails(Cause::Exit { status: 1 }))
    }

    /// The first so many requests get no answer, which is waited for longer than usual.
    pub fn silent(mut self, call: &str, requests: usize) -> Self {
        self.within = "60s";
        for nth in 1..=requests {
            self.recorder.rules.push(Rule { call: call.to_owned(), nth: Some(nth), what: What::Silent });
        }
        self
    }

    /// A call fails with this cause.
    pub fn fails_with(self, call: &str, cause: Cause) -> Self {
        self.rule(call, What::Fails(cause))
    }

    /// The server refuses a call with this code.
    pub fn refuses(self, call: &str, code: Refusal) -> Self {
        self.fails_with(call, Cause::Refused { code, detail: "it is another run's".into() })
    }

    /// The connection is lost in the middle of a call.
    pub fn loses(self, call: &str) -> Self {
        self.fails_with(call, Cause::Lost { detail: "connection reset".into() })
    }

    /// A call takes so many seconds instead of one.
    pub fn takes(self, call: &str, seconds: u64) -> Self {
        self.rule(call, What::Takes(Duration::from_secs(seconds)))
    }

    /// A signal reaches the run in the middle of a call.
    pub fn signal(self, call: &str) -> Self {
        self.rule(call, What::Signal)
    }

    /// A call answers this.
    pub fn answers(self, call: &str, key: &'static str, value: &'static str) -> Self {
        self.rule(call, What::Answers(key, value))
    }

    /// A member was out of the balancer before the run.
    pub fn found_out(self, server: &str) -> Self {
        lock(&self.recorder.out).insert(server.to_owned());
        self
    }

    /// The configuration, as a file says it.
    pub fn config(&self) -> Config {
        let mut text = String::from(
            "[app]\nname = \"shop\"\ndeploy_to = \"/srv/shop\"\nweb_server = \"unicorn\"\n\
             [health]\nsuccesses = 1\n",
        );
        text.push_str(&format!("within = \"{}\"\n", self.within));
        text.push_str(self.health);
        text.push_str(&self.toml);
        if self.balanced {
            text.push_str("[load_balancer]\nkind = \"haproxy\"\nat = [\"unix:///lb\"]\nbackends = [\"shop\"]\n");
        }
        for server in &self.request.servers {
            text.push_str(&format!("[[servers]]\nhost = \"{server}\"\n"));
        }
        let input = config::Input {
            text: &text,
            file: Path::new("pitcrew.toml"),
            base: PathBuf::from("/stack"),
            profile: None,
            template: &|name| Ok(Template::builtin(name).unwrap()),
        };
        config::load(&input)
            .unwrap_or_else(|p| panic!("{}", p.iter().map(config::Problem::render).collect::<Vec<_>>().join("\n")))
    }

    /// What is found before a run.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        let release = |id: &str| ReleaseFacts {
            id: ReleaseId::parse(id).unwrap(),
            revision: Some(Revision("0ld".into())),
            state: ReleaseState::Good,
        };
        for server in &self.request.servers {
            let found = ServerFacts {
                root: "/srv/shop".into(),
                user: "deploy".into(),
                current: ReleaseId::parse(OLD).filter(|_| !self.first),
                releases: if self.first { Vec::new() } else { vec![release("20251201000000"), release(OLD)] },
                free_kb: Some(100_000_000),
                zstd: true,
                ..ServerFacts::default()
            };
            facts.servers.insert(server.clone(), found);
            if self.balanced {
                facts.members.push(self.recorder.member(server.as_str()));
            }
        }
        facts
    }

    /// What stands in for the servers.
    pub fn into_recorder(self) -> Recorder {
        self.recorder
    }

    /// Plans the run and takes it to its end.
    pub async fn run(self) -> Ran {
        let (config, facts) = (self.config(), self.facts());
        let plan = build(&config, &facts, &self.request, "2026-11-23T04:59:00Z".parse().unwrap());
        assert_eq!(plan.blockers, [], "the plan is possible");
        self.with(config, facts).run(plan).await
    }

    /// Recovers a run that died with these records; `failing` is the batch that it had in flight.
    pub async fn recover(self, records: &[(&str, Record)], failing: Option<usize>) -> Ran {
        let (config, facts) = (self.config(), self.facts());
        let plan = build(&config, &facts, &self.request, "2026-11-23T04:59:00Z".parse().unwrap());
        let records: BTreeMap<ServerName, Record> =
            records.iter().map(|(server, record)| (ServerName((*server).to_owned()), record.clone())).collect();
        let found = |server: &ServerName| Snapshot { members: vec![self.recorder.member(server.as_str())] };
        let snapshots = records.iter().filter(|(_, r)| r.drained).map(|(s, _)| (s.clone(), found(s))).collect();
        let wreck = Wreck {
            plan,
            who: None,
            records,
            snapshots,
            failing,
            unproven: Vec::new(),
            unreadable: Vec::new(),
            differ: Vec::new(),
        };
        self.with(config, facts).recover(wreck).await
    }

    /// Makes the world of a run.
    fn with(self, config: Config, facts: Facts) -> Bench {
        assert_eq!(self.servers, self.request.servers.len());
        let run = RunId("run".into());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let reporting = Reporting::start(run.clone(), vec![Box::new(Listener(heard.clone()))]);
        let recorder = Arc::new(self.recorder);
        let balancer = self.balanced.then(|| -> Arc<dyn Balance> { recorder.clone() });
        let link = ArchiveLink { url: "https://example.com/shop.tar".into(), sha256: "0".into(), secret: false };
        let owner = Owner {
            run: run.clone(),
            who: "ann".into(),
            host: "laptop".into(),
            pid: 7,
            command: "pitcrew deploy".into(),
            since: "2026-11-23T04:59:00Z".into(),
            process: None,
            lease: config.timeouts.lease.as_secs(),
        };
        let emitter = reporting.emitter();
        let world = World {
            config: Arc::new(config),
            facts,
            hands: recorder.clone(),
            balancer,
            package: None,
            fetch: Fetch::of(&Delivery::Downloaded(link)),
            run,
            owner,
            roster: Vec::new(),
            held: Vec::new(),
            env: Vec::new(),
            emitter,
            stop: recorder.stop.clone(),
        };
        Bench { world, recorder, reporting, heard }
    }
}

/// A run that is about to begin.
struct Bench {
    world: World,
    recorder: Arc<Recorder>,
    reporting: Reporting,
    heard: Arc<Mutex<Vec<Event>>>,
}

impl Bench {
    async fn run(self, plan: Plan) -> Ran {
        let Self { world, recorder, reporting, heard } = self;
        let _ = recorder.emitter.set(world.emitter.clone());
        engine::run(world, plan).await;
        let exit = reporting.finish().exit_code;
        Ran { exit, recorder, events: std::mem::take(&mut *lock(&heard)) }
    }
}

impl Bench {
    async fn recover(self, wreck: Wreck) -> Ran {
        let Self { world, recorder, reporting, heard } = self;
        let _ = recorder.emitter.set(world.emitter.clone());
        let dead = RunId("dead".into());
        let servers: Vec<(ServerName, RunId)> = wreck.records.keys().map(|s| (s.clone(), dead.clone())).collect();
        let (planned, failing) = (engine::run::planned(&world, &wreck.plan), wreck.failing);
        world.emitter.emit(Event::Planned(planned));
        let running = Arc::new(Running::inheriting(world, wreck));
        if recover::take_over(&running, &servers, &dead).await == recover::Taken::All {
            recover::run(&running, failing, &[]).await;
        }
        drop(running);
        let exit = reporting.finish().exit_code;
        Ran { exit, recorder, events: std::mem::take(&mut *lock(&heard)) }
    }
}

/// Keeps all events.
struct Listener(Arc<Mutex<Vec<Event>>>);

impl Reporter for Listener {
    fn event(&mut self, stamped: &Stamped, _: &State) {
        lock(&self.0).push(stamped.event.clone());
    }
}

/// What came of a run.
pub struct Ran {
    exit: u8,
    recorder: Arc<Recorder>,
    events: Vec<Event>,
}

impl Ran {
    /// Asserts every call of the run, in order.
    #[track_caller]
    pub fn did(self, expected: &str) -> Self {
        let made = table(&lock(&self.recorder.made));
        assert!(made == written(expected), "--- the run did\n{made}\n--- the test wants\n{}", written(expected));
        self
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: u8) -> Self {
        assert_eq!(self.exit, code, "exit code");
        self
    }

    /// Asserts which servers need a person, and why, in the order in which they were named.
    #[track_caller]
    pub fn stuck(self, expected: &[(&str, Stuck)]) -> Self {
        let stuck = self.events.iter().filter_map(|event| match event {
            Event::Warning { server: Some(server), warning: Warning::Stuck { stuck } } => {
                Some((server.as_str(), stuck.clone()))
            }
            _ => None,
        });
        assert_eq!(stuck.collect::<Vec<_>>(), expected, "stuck");
        self
    }

    /// Asserts that a warning was given that fits.
    #[track_caller]
    pub fn warns(self, fits: impl Fn(&Warning) -> bool) -> Self {
        let warned = self.events.iter().any(|e| matches!(e, Event::Warning { warning, .. } if fits(warning)));
        assert!(warned, "no such warning among {:#?}", self.events);
        self
    }

    /// How often a warning was given that fits.
    pub fn warned(&self, fits: impl Fn(&Warning) -> bool) -> usize {
        self.events.iter().filter(|e| matches!(e, Event::Warning { warning, .. } if fits(warning))).count()
    }

    /// Asserts which servers' locks were renewed.
    #[track_caller]
    pub fn renewed(self, expected: &[&str]) -> Self {
        assert_eq!(lock(&self.recorder.renewed).iter().collect::<Vec<_>>(), expected, "renewed");
        self
    }

    /// The value of a variable in the environment of the last script of that name, as `SERVER CALL`.
    pub fn variable(&self, call: &str, name: &str) -> Option<String> {
        self.recorder.variable(call, name)
    }
}
