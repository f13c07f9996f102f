//! From the merged file to a [`Config`]: every default, and every contradiction between values.
//!
//! One module a table where there is much to say. What one value may look like is decided before, in `schema`.

pub mod balancer;
pub mod env;
mod haproxy;
pub mod health;
pub mod hooks;
pub mod parameters;
pub mod servers;
pub mod shared;
pub mod source;

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::load::Input;
use super::problem::Problems;
use super::raw::{Found, Section};
use super::schema;
use super::words::quoted;
use super::{
    App, BatchSize, BuildPlace, Config, ConfigFile, HostKeyChecking, Migrate, MigrateWhen, OnFailure, Prepare, Source,
    SourceKind, Ssh, Strategy, Timeouts,
};

/// Servers in a batch of a rolling run when nobody says how many.
const BATCH: usize = 2;
/// Releases that are kept.
const KEEP_RELEASES: usize = 5;
/// The SSH port.
pub const SSH_PORT: u16 = 22;

/// pitcrew's own short steps: they do a few file operations, and a server that needs longer is in trouble.
const STEP: Duration = Duration::from_secs(60);

/// The strategy as the file has it, and where.
type Written = Option<Found<Strategy>>;

/// Resolves the merged file; `None` when something is missing without which there is no value to make.
///
/// `root` is the file with all its profiles: parameters of the web server are checked in those not chosen too.
pub fn resolve(
    input: &Input<'_>,
    root: &DeTable<'_>,
    merged: &DeTable<'_>,
    problems: &mut Problems<'_>,
) -> Option<Config> {
    for table in schema::TABLES {
        match table.form {
            schema::Form::Many(_) => Section::many(merged, table.name).iter().for_each(|s| s.complain(problems)),
            _ => {
                if let Some(section) = Section::one(merged, table.name) {
                    section.complain(problems);
                }
            }
        }
    }
    let strategy = written_strategy(merged);
    let app = app(merged, strategy, problems);
    let web = parameters::web(input, root, merged, problems);
    let source = source::source(merged, problems);
    let ssh = ssh(merged);
    let servers = servers::servers(merged, ssh.port.unwrap_or(SSH_PORT), problems);
    let batch = Section::one(merged, "app").and_then(|app| app.batch("batch"));
    let walk = balancer::Walk { servers: &servers, strategy, template: web.as_ref().map(|w| w.strategy), batch };
    let balancer = balancer::balancer(merged, &walk, problems);
    let migrate = migrate(merged, &servers, problems);
    let build_on = build_on(merged, source.as_ref(), problems);
    let config = Config {
        file: input.file.to_owned(),
        base: input.base.clone(),
        app: app?,
        web: web?,
        source: source?,
        ssh,
        balancer,
        health: health::health(merged, problems),
        build_on,
        build: build(merged),
        migrate,
        shared: shared::shared(merged, problems),
        env: env::env(merged),
        secrets: env::secrets(merged, problems),
        hooks: hooks::hooks(merged, problems),
        timeouts: timeouts(merged),
        servers,
    };
    Some(config)
}

/// Reads one of several words; `None` when it is not written.
pub fn word<T: Copy>(section: Option<&Section<'_>>, key: &str, words: &[(&str, T)]) -> Option<Found<T>> {
    let written = section?.text(key)?;
    let (_, value) = words.iter().find(|(word, _)| *word == written.value)?;
    Some(Found { value: *value, at: written.at })
}

fn written_strategy(merged: &DeTable<'_>) -> Written {
    let words = [("parallel", Strategy::Parallel), ("serial", Strategy::Serial), ("rolling", Strategy::Rolling)];
    word(Section::one(merged, "app").as_ref(), "strategy", &words)
}

fn app(merged: &DeTable<'_>, strategy: Written, problems: &mut Problems<'_>) -> Option<App> {
    let Some(section) = Section::one(merged, "app") else {
        if !merged.contains_key("app") {
            problems.nowhere("there is no [app]", "add [app] with `name`, `deploy_to` and `web_server`");
        }
        return None;
    };
    let batch = section.batch("batch");
    if let (Some(Found { value: chosen @ (Strategy::Parallel | Strategy::Serial), .. }), Some(at)) =
        (strategy, section.wrote("batch"))
    {
        problems.at(
            at,
            format!("`batch` in {} has no meaning with strategy = \"{chosen}\"", section.title),
            "write strategy = \"rolling\"; or leave `strategy` out, and `batch` is for runs with --rolling",
        );
    }
    let prepare = word(Some(&section), "prepare", &[("in-turn", Prepare::InTurn), ("ahead", Prepare::Ahead)]);
    let policies = [("revert", OnFailure::Revert), ("revert-all", OnFailure::RevertAll), ("hold", OnFailure::Hold)];
    let on_failure = word(Some(&section), "on_failure", &policies);
    Some(App {
        name: section.text("name")?.value.to_owned(),
        deploy_to: section.text("deploy_to")?.value.to_owned(),
        strategy: strategy.map(|s| s.value),
        batch: batch.map_or_else(|| vec![BatchSize::Count(BATCH)], |b| b.value),
        prepare: prepare.map_or(Prepare::InTurn, |p| p.value),
        on_failure: on_failure.map_or(OnFailure::Revert, |p| p.value),
        keep_releases: section.whole("keep_releases").and_then(|n| n.value.try_into().ok()).unwrap_or(KEEP_RELEASES),
    })
}

fn ssh(merged: &DeTable<'_>) -> Ssh {
    let section = Section::one(merged, "ssh");
    let section = section.as_ref();
    let paths = |key: &str| -> Vec<PathBuf> {
        let texts = section.and_then(|s| s.texts(key)).unwrap_or_default();
        texts.iter().map(|t| PathBuf::from(t.value)).collect()
    };
    let checking = [("strict", HostKeyChecking::Strict), ("accept-new", HostKeyChecking::AcceptNew)];
    let config_file = match section.and_then(|s| s.path_or_false("config_file")) {
        None => ConfigFile::Usual,
        Some(None) => ConfigFile::Off,
        Some(Some(path)) => ConfigFile::Path(PathBuf::from(path)),
    };
    Ssh {
        user: section.and_then(|s| s.text("user")).map(|u| u.value.to_owned()),
        port: section.and_then(|s| s.whole("port")).and_then(|p| p.value.try_into().ok()),
        identity_files: paths("identity_file"),
        known_hosts: paths("known_hosts"),
        host_key_checking: word(section, "host_key_checking", &checking).map(|c| c.value),
        config_file,
        connect_timeout: section.and_then(|s| s.duration("connect_timeout")).map(|d| d.value),
        jump: section.and_then(|s| s.text("jump")).map(|j| j.value.to_owned()),
        forward_agent: section.and_then(|s| s.boolean("forward_agent")),
    }
}

fn build(merged: &DeTable<'_>) -> Vec<String> {
    let commands = Section::one(merged, "build").and_then(|s| s.texts("run")).unwrap_or_default();
    commands.iter().map(|c| c.value.to_owned()).collect()
}

fn build_on(merged: &DeTable<'_>, source: Option<&Source>, problems: &mut Problems<'_>) -> BuildPlace {
    let section = Section::one(merged, "build");
    let places = [("each", BuildPlace::Each), ("here", BuildPlace::Here)];
    let Some(on) = word(section.as_ref(), "on", &places) else { return BuildPlace::Each };
    let fetched = source.is_some_and(|s| s.kind == SourceKind::Git || s.download.is_some());
    if on.value == BuildPlace::Here && fetched {
        let what = "on = \"here\" in [build] has no meaning for a source that is fetched from elsewhere";
        problems.at(on.at, what, "build on each server, or release a local directory");
    }
    on.value
}

fn migrate(merged: &DeTable<'_>, servers: &[super::Server], problems: &mut Problems<'_>) -> Option<Migrate> {
    let section = Section::one(merged, "migrate")?;
    let server = match section.text("server") {
        Some(named) => {
            let known = servers::find(servers, named.value);
            if known.is_none() && !servers.is_empty() {
                let names: Vec<&str> = servers.iter().map(|s| s.name.as_str()).collect();
                problems.at(
                    named.at,
                    format!("{} in {} is none of the servers", quoted(named.value), section.title),
                    super::words::suggest(named.value, "servers", &names),
                );
            }
            known
        }
        None => servers.iter().find(|s| s.roles.iter().any(|r| r == "db")).or(servers.first()),
    }?;
    let when = word(Some(&section), "when", &[("always", MigrateWhen::Always), ("asked", MigrateWhen::Asked)]);
    Some(Migrate {
        run: section.text("run")?.value.to_owned(),
        server: server.name.clone(),
        when: when.map_or(MigrateWhen::Always, |w| w.value),
    })
}

fn timeouts(merged: &DeTable<'_>) -> Timeouts {
    let section = Section::one(merged, "timeouts");
    let limit = |key: &str, default: Option<Duration>| section.as_ref().and_then(|s| s.limit(key)).unwrap_or(default);
    Timeouts {
        prepare: limit("prepare", Some(Duration::from_secs(30 * 60))),
        migrate: limit("migrate", None),
        restart: limit("restart", Some(Duration::from_secs(2 * 60))),
        step: section.as_ref().and_then(|s| s.duration("step")).map_or(STEP, |d| d.value),
        lease: section.as_ref().and_then(|s| s.duration("lease")).map_or(crate::lease::DEFAULT, |d| d.value),
        quiet: limit("quiet", Some(Duration::from_secs(60))).unwrap_or(Duration::ZERO),
    }
}
