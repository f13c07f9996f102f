//! From the merged file to a [`Config`]: each table by its own file, in one order.

use toml::de::DeTable;

use super::input::Input;
use super::key::Form;
use super::problem::Problems;
use super::schema;
use super::section::Section;
use super::settings::Config;
use super::tables::{
    app, build, env, health, hooks, load_balancer, migrate, secrets, servers, shared, source, ssh, timeouts, web,
};

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
            Form::Many(_) => Section::many(merged, table).iter().for_each(|s| s.complain(problems)),
            _ => {
                if let Some(section) = Section::one(merged, table) {
                    section.complain(problems);
                }
            }
        }
    }
    let strategy = app::strategy(merged);
    let app = app::app(merged, strategy, problems);
    let web = web::web(input, root, merged, problems);
    let source = source::source(merged, problems);
    let reached = ssh::ssh(merged);
    let servers = servers::servers(merged, reached.port.unwrap_or(ssh::SSH_PORT), problems);
    let batch = Section::one(merged, &app::TABLE).and_then(|app| app.batch("batch"));
    let walk =
        load_balancer::Rollout { servers: &servers, strategy, template: web.as_ref().map(|w| w.strategy), batch };
    let balancer = load_balancer::balancer(merged, &walk, problems);
    let migrate = migrate::migrate(merged, &servers, problems);
    let build_on = build::build_on(merged, source.as_ref(), problems);
    let mut config = Config {
        file: input.file.to_owned(),
        base: input.base.clone(),
        app: app?,
        web: web?,
        source: source?,
        ssh: reached,
        balancer,
        health: health::health(merged, problems),
        build_on,
        build: build::build(merged),
        migrate,
        shared: shared::shared(merged, problems),
        env: env::env(merged),
        secrets: secrets::secrets(merged, problems),
        hooks: hooks::hooks(merged, problems),
        timeouts: timeouts::timeouts(merged),
        servers,
    };
    config.web.answer_named = config.health.as_ref().is_some_and(health::Health::names_release);
    Some(config)
}
