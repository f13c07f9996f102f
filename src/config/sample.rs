//! The commented `pitcrew.toml` that `pitcrew init` writes, which is the reference of all keys.
//!
//! The text is `templates/pitcrew.toml`; only what the web server template knows is filled in here.

use super::words::neutral;
use crate::web::{Parameter, ParameterKind, Template};

const SAMPLE: &str = include_str!("../../templates/pitcrew.toml");
/// Column at which comments begin, as in the sample.
const COMMENT: usize = 40;

/// Writes the sample for a web server; `web` is its template's name or path, as written.
pub fn sample(web: &str, template: &Template) -> String {
    let mut out = String::new();
    for line in SAMPLE.lines() {
        if line.trim() == "@WEB@" {
            out.push_str(&parameters(template));
        } else {
            // The quotes are the placeholder's, so that any name is quoted as TOML wants it.
            let line = line.replace("\"@WEB_SERVER@\"", &quote(web));
            out.push_str(&line.replace("@STRATEGY@", &template.strategy.to_string()));
        }
        out.push('\n');
    }
    out
}

/// Writes a line for each parameter: those that must be given first, with a value to be changed.
fn parameters(template: &Template) -> String {
    let mut all: Vec<(&String, &Parameter)> = template.parameters.iter().collect();
    all.sort_by_key(|(name, p)| (!must(p), (*name).clone()));
    let lines: Vec<String> = all
        .into_iter()
        .map(|(name, parameter)| {
            let mark = if must(parameter) { "" } else { "# " };
            let about = neutral(parameter.about.trim());
            let words = match &parameter.kind {
                ParameterKind::Choice(words) => format!("{}: ", neutral(&words.join(" | "))),
                _ => String::new(),
            };
            let line = format!("{mark}{name} = {}", value(parameter));
            format!("{line:<width$}# {words}{about}", width = COMMENT.max(line.chars().count() + 1))
        })
        .collect();
    if lines.is_empty() { format!("# {} has no parameters", neutral(&template.name)) } else { lines.join("\n") }
}

/// Tells whether the file is wrong without it.
fn must(parameter: &Parameter) -> bool {
    parameter.required && parameter.default.is_none()
}

fn value(parameter: &Parameter) -> String {
    match (&parameter.kind, parameter.default.as_deref()) {
        // Booleans and numbers are written bare; a default is checked where the template is read.
        (ParameterKind::Boolean, default) => default.unwrap_or("false").to_owned(),
        (ParameterKind::Integer, default) => default.unwrap_or("1").to_owned(),
        (ParameterKind::Choice(words), None) => quote(words.first().map_or("", String::as_str)),
        (_, Some(default)) => quote(default),
        (_, None) => quote("CHANGE-ME"),
    }
}

/// Writes a basic string on one line.
///
/// JSON's escapes are TOML's too, but for DEL, which TOML wants escaped.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::key::Form;
    use crate::config::schema;
    use crate::config::tables::load_balancer::KINDS;
    use crate::config::{Input, Strategy, load};
    use crate::web::{Proof, Scripts};

    fn template(parameters: &[(&str, ParameterKind, Option<&str>, bool)]) -> Template {
        let parameters = parameters.iter().map(|(name, kind, default, required)| {
            let parameter = Parameter {
                default: default.map(str::to_owned),
                required: *required,
                kind: kind.clone(),
                about: format!("what {name} is for"),
            };
            ((*name).to_owned(), parameter)
        });
        Template {
            about: String::new(),
            name: "unicorn".into(),
            strategy: Strategy::Parallel,
            parameters: parameters.collect(),
            tools: Vec::new(),
            scripts: Scripts::default(),
            proof: Proof { none: false, old_gone: Duration::from_secs(60), lazy: false },
        }
    }

    fn rich() -> Template {
        template(&[
            ("pid_file", ParameterKind::Path, None, true),
            ("start", ParameterKind::Text, Some("say \"go\" \\ now\n"), true),
            ("signal", ParameterKind::Choice(vec!["USR2".into(), "HUP".into()]), Some("USR2"), false),
            ("workers", ParameterKind::Integer, None, true),
            ("preload", ParameterKind::Boolean, Some("true"), false),
        ])
    }

    /// Loads a text with `rich` as every template; renders what is wrong.
    fn problems(text: &str) -> String {
        let input =
            Input { text, file: Path::new("pitcrew.toml"), base: "/".into(), profile: None, template: &|_| Ok(rich()) };
        load(&input).map_or_else(|problems| crate::config::problem::render_all(&problems), |_| String::new())
    }

    #[test]
    fn the_sample_is_valid_as_it_is() {
        assert_eq!(problems(&sample("unicorn", &rich())), "");
        assert_eq!(problems(&sample("my \"own\" file.toml", &rich())), "");
    }

    #[test]
    fn parameters_that_must_be_given_are_active_and_come_first() {
        let text = sample("unicorn", &rich());
        let section: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("[web]")).skip(1).take(5).collect();
        assert!(section[0].starts_with("pid_file = \"CHANGE-ME\""), "{section:?}");
        assert!(section[1].starts_with("workers = 1 "), "{section:?}");
        assert!(section[2].starts_with("# preload = true "), "{section:?}");
        assert!(section[3].ends_with("# USR2 | HUP: what signal is for"), "{section:?}");
        assert!(!text.contains("@WEB") && !text.contains("@STRATEGY"), "{text}");
        assert!(sample("static", &template(&[])).contains("# unicorn has no parameters"));
    }

    /// The sample's keys by table: what is written, and what is commented out.
    fn mentioned(text: &str) -> BTreeMap<String, Vec<String>> {
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut table = String::new();
        for line in text.lines() {
            let line = line.strip_prefix("# ").unwrap_or(line);
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
                table = header.trim_start_matches('[').to_owned();
                tables.entry(table.clone()).or_default();
            } else if let Some((key, _)) = line.split_once(" = ")
                && !key.contains(' ')
            {
                tables.entry(table.clone()).or_default().push(key.to_owned());
            }
        }
        tables
    }

    #[test]
    fn the_sample_mentions_every_key_and_no_other() {
        let tables = mentioned(&sample("unicorn", &rich()));
        for table in schema::TABLES {
            let keys = tables.get(table.name).unwrap_or_else(|| panic!("[{}] is not in the sample", table.name));
            let known = match table.form {
                Form::One(known) | Form::Many(known) => known,
                Form::Parameters | Form::Variables | Form::Secrets(_) => continue,
            };
            let expected: Vec<&str> = known.iter().map(|k| k.name).collect();
            assert_eq!(*keys, expected, "[{}]: the sample on the left, the schema on the right", table.name);
        }
        for name in tables.keys() {
            let known = schema::table(name).is_some() || name.is_empty() || name == "profiles.staging";
            assert!(known, "[{name}] is in the sample and not in the schema");
        }
        for key in schema::table("secrets").unwrap().keys() {
            assert!(SAMPLE.contains(&format!("{{ {} = ", key.name)), "secrets have no example of `{}`", key.name);
        }
    }

    /// Tells whether a line of [source] is about kinds other than push alone.
    fn of_other_sources(line: &str) -> bool {
        line.contains("# git: ") || line.contains("# archive: ")
    }

    #[test]
    fn keys_of_each_kind_of_source_are_valid_together() {
        let base = "[app]\nname = \"shop\"\ndeploy_to = \"/srv/shop\"\nweb_server = \"unicorn\"\n\
                    [web]\npid_file = \"p\"\nworkers = 1\n[[servers]]\nhost = \"web1\"\n[secrets]\nARCHIVE_URL = { env = \"X\" }\n";
        // A password is for https, and a URL is in one place.
        for (kind, except) in [("git", "password"), ("archive", "url_secret")] {
            let keys =
                SAMPLE.lines().filter(|l| l.contains(&format!("# {kind}: ")) && !l.contains(&format!("# {except} = ")));
            let keys: String = keys.map(|l| format!("{}\n", l.strip_prefix("# ").unwrap_or(l))).collect();
            assert!(keys.lines().count() >= 4, "{keys}");
            assert_eq!(problems(&format!("{base}[source]\nkind = \"{kind}\"\n{keys}")), "", "{keys}");
        }
    }

    #[test]
    fn what_is_commented_out_is_valid_too() {
        const HAPROXY: [&str; 5] =
            ["# at = [\"ssh:", "# backends = ", "# via = ", "# https://: ", "# check_addresses = "];
        for (kind, others) in [
            ("haproxy", &["# command: ", "# elb: ", "# elb-classic: ", "# elb, ", HAPROXY[3]][..]),
            ("command", &["# elb: ", "# elb-classic: ", "# elb, "]),
            ("elb", &["# command: ", "# elb-classic: "]),
            ("elb-classic", &["# command: ", "# elb: "]),
        ] {
            let foreign = if kind == "haproxy" { &[][..] } else { &HAPROXY[..] };
            let text =
                without(&[others, foreign].concat()).replace("kind = \"haproxy\"", &format!("kind = \"{kind}\""));
            assert_eq!(problems(&text), "", "{kind}");
        }
    }

    /// The sample as if nothing in it were commented out, but for these lines.
    fn without(others: &[&str]) -> String {
        sample("unicorn", &rich())
            .lines()
            .filter(|line| !line.starts_with("# command = ") && !line.starts_with("# paths = "))
            .filter(|line| !of_other_sources(line))
            .filter(|line| !others.iter().any(|other| line.contains(other)))
            .skip_while(|line| !line.starts_with('['))
            // Three web servers, so that one can be drained; batch wants its own strategy.
            .map(|line| match line.strip_prefix("# ").unwrap_or(line) {
                host if host.starts_with("host = \"web1") => "host = \"web[1-3].example.com\"\n".to_owned(),
                lb if lb.starts_with("lb = ") => String::new(),
                strategy if strategy.starts_with("strategy = ") => "strategy = \"rolling\"\n".to_owned(),
                line => format!("{line}\n"),
            })
            .collect()
    }

    #[test]
    fn the_defaults_shown_are_the_defaults() {
        // Whole tables whose every key shows its default: written or not must make no difference.
        for (name, except) in [
            ("app", &["name", "deploy_to", "web_server", "strategy"][..]),
            (
                "source",
                &[
                    "repo",
                    "password",
                    "deploy_key",
                    "host_keys",
                    "at_once",
                    "url",
                    "url_secret",
                    "sha256",
                    "fetch",
                    "endpoint",
                    "region",
                ],
            ),
            ("timeouts", &[]),
            ("health", &["paths", "release", "command"]),
            ("load_balancer", &[&["kind"][..], &KINDS.map(|(_, of)| of.keys).concat()].concat()),
        ] {
            let base = "[app]\nname = \"shop\"\ndeploy_to = \"/srv/shop\"\nweb_server = \"unicorn\"\nstrategy = \"rolling\"\n\
                        [web]\npid_file = \"p\"\nworkers = 1\n[[servers]]\nhost = \"web[1-3]\"\n";
            let required = match name {
                "load_balancer" => "kind = \"haproxy\"\nat = \"tcp://lb:1\"\nbackends = \"shop\"\n",
                _ => "",
            };
            let shown: String = SAMPLE
                .lines()
                .map(|l| l.strip_prefix("# ").unwrap_or(l))
                .skip_while(|l| !l.starts_with(&format!("[{name}]")))
                .skip(1)
                .take_while(|l| !l.is_empty())
                .filter(|l| !except.iter().any(|key| l.starts_with(&format!("{key} = "))))
                .map(|l| format!("{l}\n"))
                .collect();
            assert!(!shown.is_empty());
            let with = |extra: &str| match name {
                "app" => base.replacen("[web]", &format!("{extra}[web]"), 1),
                _ => format!("{base}[{name}]\n{required}{extra}"),
            };
            let debug = |text: &str| {
                let input = Input {
                    text,
                    file: Path::new("pitcrew.toml"),
                    base: "/".into(),
                    profile: None,
                    template: &|_| Ok(rich()),
                };
                let mut config = load(&input).unwrap_or_else(|p| panic!("{}", crate::config::problem::render_all(&p)));
                config.servers.iter_mut().for_each(|s| s.line = 0);
                format!("{config:#?}")
            };
            assert_eq!(debug(&with(&shown)), debug(&with("")), "[{name}]");
        }
    }
}
