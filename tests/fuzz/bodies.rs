//! What is done with hostile input, one function a target: nothing may panic, hang or grow without bound.
//!
//! Shared by the fuzz targets and by the ordinary test over the seeds. The assertions are promises made elsewhere.

#![allow(dead_code, clippy::unwrap_used, reason = "each fuzz target uses one of them, and a broken promise panics")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use pitcrew::answer::{Answer, Nonce};
use pitcrew::balancer::haproxy::protocol;
use pitcrew::config::{
    self, BatchSize, HostKeyChecking, HttpProbe, Input, Named, Problem, Scheme, Source, SourceKind, hosts, values,
};
use pitcrew::facts::ServerFacts;
use pitcrew::lease;
use pitcrew::lease::LockFacts;
use pitcrew::name::{ReleaseId, ServerName};
use pitcrew::plan::journal::Journal;
use pitcrew::release::ReleaseState;
use pitcrew::script::calls;
use pitcrew::script::calls::Site;
use pitcrew::script::quote;
use pitcrew::source::members::{Body, Members};
use pitcrew::ssh::known_hosts::{KnownHosts, Shown, ToldKeys, Whom};
use pitcrew::ssh::lines::{LINE_LIMIT, Lines};
use pitcrew::text::clean::{LIMIT, clean, clean_lines, cut};
use pitcrew::text::redact::Redactor;
use pitcrew::web::Template;

/// A target: its name, its body, and where its seeds lie below `tests/`.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("answers", answers, &["fuzz/seeds/answers"]),
    ("archive", archive, &["fuzz/seeds/archive"]),
    ("clean", clean_text, &["fuzz/seeds/clean"]),
    ("config", config, &["fuzz/seeds/config", "configs/valid", "configs/invalid"]),
    ("haproxy", haproxy, &["fuzz/seeds/haproxy"]),
    ("health", health, &["fuzz/seeds/health"]),
    ("known_hosts", known_hosts, &["fuzz/seeds/known_hosts"]),
    ("probe", probe, &["fuzz/seeds/probe"]),
    ("template", template, &["fuzz/seeds/template", "../templates/web"]),
];

/// Nothing that a terminal would act on, over one line or several.
fn assert_harmless(text: &str, newlines: bool) {
    let bad = text.chars().find(|c| c.is_control() && !(newlines && *c == '\n'));
    assert_eq!(bad, None, "{text:?}");
}

/// The configuration, with and without a profile.
pub fn config(data: &[u8]) {
    // Parsed once: the templates have a target of their own.
    static TEMPLATES: OnceLock<Vec<(&str, Template)>> = OnceLock::new();
    let templates = TEMPLATES.get_or_init(|| {
        pitcrew::web::builtin_names().into_iter().map(|name| (name, Template::builtin(name).unwrap())).collect()
    });
    let text = String::from_utf8_lossy(data);
    let template = |name: &str| {
        let unknown = || vec![Problem::of_flag(format!("no web server template is called `{name}`"), "")];
        templates.iter().find(|(n, _)| *n == name).map(|(_, t)| t.clone()).ok_or_else(unknown)
    };
    for profile in [None, Some("staging")] {
        let file = Path::new("pitcrew.toml");
        let loaded =
            config::load(&Input { text: &text, file, base: "/home/me/shop".into(), profile, template: &template });
        match loaded {
            Ok(config) => {
                let mut names: Vec<&ServerName> = config.servers.iter().map(|s| &s.name).collect();
                assert!(!names.is_empty() && names.len() <= 100_000);
                names.sort();
                assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "names are unique");
                for server in &config.servers {
                    assert_harmless(server.name.as_str(), false);
                }
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                assert_harmless(&config::problem::render_all(&problems), true);
            }
        }
    }
    // Each line once more as the value of a key that has a syntax of its own.
    for line in text.lines().take(50) {
        let _ = hosts::parse(line).map(|_| hosts::expand(line).map(|all| assert!(all.len() <= 100_000)));
        let _ = hosts::parse_one(line);
        let _ = values::parse_duration(line);
        let _ = values::parse_statuses(line);
        let _ = config::parse_address(line);
        let _ = config::parse_hook_point(line);
        let _ = config::parse_batch(line).map(|sizes: Vec<BatchSize>| assert!(!sizes.is_empty()));
        let _ = (values::deploy_to(line), values::shared_path(line), values::url_path(line), values::host_header(line));
        let _ = (ReleaseId::parse(line), quote::is_name(line));
    }
}

/// Answers of HAProxy's Runtime API, whole and in parts.
pub fn haproxy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for commands in 0..6 {
        if let Ok(sections) = protocol::sections(&text, commands) {
            assert_eq!(sections.len(), commands);
        }
    }
    let sections: Vec<&str> = text.split("\n\n").take(8).collect();
    for section in &sections {
        if let Some(refusal) = protocol::ChangeRefusal::read(section) {
            let detail = refusal.to_string();
            assert_harmless(&detail, false);
            assert!(detail.len() < 2000 && refusal.hint().len() < 500);
        }
        let _ = protocol::no_backend(section);
        for name in protocol::backends(section) {
            assert!(protocol::name(&name).is_ok());
        }
    }
    for pair in sections.windows(2) {
        for (state, stat) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            match protocol::members("shop", state, stat) {
                Ok(members) => {
                    for member in members {
                        let _ = (member.admin(), member.in_service(), member.held_out(), member.is_back());
                        assert!(member.standing().len() < 2000);
                    }
                }
                Err(detail) => {
                    assert_harmless(&detail, false);
                    assert!(detail.len() < 2000);
                }
            }
        }
    }
}

/// A known_hosts file, asked about hosts that are in it, and about others.
pub fn known_hosts(data: &[u8]) {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmnkgEzr8g05tO6Mi5yEiNeFNi0oUmJTiFEHTH2lYzk";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), data).unwrap();
    let known = KnownHosts::load(&[file.path().to_path_buf()]).unwrap();
    assert!(known.bad_lines() <= data.len() + 1);
    let key: russh::keys::PublicKey = KEY.parse().unwrap();
    let long = "a".repeat(255);
    let told = ToldKeys::read(data, "/bin/keys");
    for (host, port) in [("web1.example.com", 22), ("10.0.0.1", 2222), ("::1", 22), ("", 0), (&*long, 65535)] {
        let whom = Whom { host, port, told: &told };
        let of = known.of(whom);
        let _ = (of.algorithms(), of.certificate_algorithms());
        let judged = known.check(whom, Shown::Key(&key), HostKeyChecking::Strict);
        if let Err(e) = futures::executor::block_on(judged) {
            let detail = e.to_string();
            assert!(!detail.is_empty());
            assert_harmless(&detail, true);
            assert_harmless(&e.hint(), true);
        }
    }
    // Nothing is ever written by a look.
    assert_eq!(std::fs::read(file.path()).unwrap(), data);
}

/// An archive as it is, and once more with the checksums of its headers put right, so that damage gets further in.
pub fn archive(data: &[u8]) {
    members(data);
    let mut mended = data.to_vec();
    let mut whole = false;
    for round in [true, false] {
        if round {
            for block in mended.chunks_exact_mut(512).filter(|b| b.iter().any(|b| *b != 0)) {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            whole = members(&mended);
        } else if whole {
            packed(&mended);
        }
    }
}

/// Reads every member; true when the archive is whole.
fn members(bytes: &[u8]) -> bool {
    let mut members = Members::new(bytes);
    loop {
        match members.next() {
            Ok(None) => return true,
            Err(_) => return false,
            Ok(Some(member)) => {
                // No length that is only claimed may be held.
                assert!(member.path.len() <= bytes.len().max(512));
                if let Body::File(size) = member.body {
                    let mut sink = Vec::new();
                    match members.by_ref().take(size).read_to_end(&mut sink) {
                        Ok(read) => assert_eq!(read as u64, size),
                        Err(_) => return false,
                    }
                    assert!(sink.len() <= bytes.len());
                }
            }
        }
    }
}

/// Packs it as a deploy would; what comes out leads nowhere outside.
fn packed(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let source = Source::local(SourceKind::Archive, file.path());
    let Ok(resolved) = pitcrew::source::resolve(&source, Path::new("/"), None) else { return };
    match pitcrew::source::pack(&source, Path::new("/"), &resolved, &|| false) {
        Ok(package) => assert!(package.entries > 0 && package.payload.len > 0),
        Err(e) => assert_harmless(&e.what(), false),
    }
}

/// What the probe script answers, and what a lock says of its holder.
pub fn probe(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let answers: Vec<Answer> = text
        .lines()
        .map(|line| {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            Answer { key: key.to_owned(), value: value.to_owned() }
        })
        .collect();
    match ServerFacts::read(&answers) {
        Ok(facts) => {
            assert!(facts.releases.len() <= answers.len());
            let _ = facts.was_left_drained();
        }
        Err(e) => assert!(!e.is_empty() && e.len() < 2000 + text.len()),
    }
    let lock = LockFacts::read(&answers);
    assert!(lock.owner.len() <= answers.len());
    let standing = lease::judge(&lock);
    let _ = (lease::held(&lock), lease::lease(&lock), standing);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = Journal::read(&lines);
    for line in &lines {
        let _ = (ReleaseState::parse(line), lease::Process::parse(line));
    }
}

/// Output as it comes from a server, in pieces: cut into lines, answers told apart from noise.
pub fn answers(data: &[u8]) {
    let nonce = Nonce("0123456789abcdef".into());
    let size = usize::from(data.first().copied().unwrap_or(1)).max(1);
    let mut lines = Lines::default();
    let mut all = Vec::new();
    let mut hear = |line: &str| {
        // A byte that is no UTF-8 becomes a character of three.
        assert!(line.len() <= 3 * LINE_LIMIT);
        let (before, answer) = nonce.split(line);
        assert!(line.starts_with(before));
        if let Some(answer) = answer {
            assert!(answer.key.len() + answer.value.len() <= line.len());
            assert_harmless(&answer.key, false);
            assert_harmless(&answer.value, true);
            all.push(answer);
        }
    };
    for chunk in data.chunks(size) {
        lines.push(chunk, &mut hear);
    }
    lines.finish(&mut hear);
    let _ = (Answer::refusal(&all), Answer::is_done(&all));
    let _ = ServerFacts::read(&all);
}

/// A web server template, filled in and made a script.
pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Template::parse("own", &text) {
        Ok(template) => {
            let mut given = BTreeMap::new();
            let _ = template.objections(&given);
            given.insert("start".to_owned(), text.chars().take(100).collect());
            given.insert("pid_file".to_owned(), "it's".to_owned());
            let _ = template.objections(&given);
            let web = template.fill(&given);
            let site = Site { deploy_to: "/srv/shop", app: "shop", web: &web, env: &[] };
            let id = ReleaseId::parse("20260101000000").unwrap();
            let run = pitcrew::name::RunId("run-1".into());
            let call = calls::restart(&site, &run, &id, Duration::from_secs(1));
            let command = call.command(&Nonce("0123456789abcdef".into()));
            assert!(command.is_ascii() && !command.contains('\n') && !command.contains('!'));
            let _ = call.head(&Nonce("0123456789abcdef".into()));
        }
        Err(e) => assert!(e.line <= text.lines().count() + 1 && !e.what.is_empty()),
    }
}

/// Text for a terminal, cleaned and masked.
pub fn clean_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = clean(&text);
    assert_harmless(&shown, false);
    assert!(shown.len() <= LIMIT);
    assert_eq!(clean(&shown), shown);
    for line in clean_lines(&text) {
        assert_harmless(&line, false);
    }
    for limit in [0, 1, 2, 3, 4, 10, 100] {
        assert!(cut(&text, limit).len() <= limit);
    }
    let (secret, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let redactor = Redactor::new([secret]);
    let masked = redactor.line(rest);
    assert_harmless(&masked, false);
    let encoded = quote::encode(&text);
    assert!(encoded.is_ascii() && !encoded.contains(['\'', '!', '\n']));
}

/// An application's answer to the health check.
pub fn health(data: &[u8]) {
    let probe = HttpProbe {
        paths: vec!["/up".into()],
        port: 80,
        host: "localhost".into(),
        scheme: Scheme::Http,
        accept: vec![(200, 200)],
        release: Some(Named::Body),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer = runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let sent = data.to_vec();
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let _ = far.write_all(&sent).await;
            let _ = far.shutdown().await;
        });
        pitcrew::health::http(near, &probe, "/up", Duration::from_secs(5)).await
    });
    assert_ne!(answer.error.as_deref(), Some("no whole answer within 5s"));
    let attempt = pitcrew::health::judge(&probe.into(), answer);
    assert_harmless(&attempt.body, true);
    assert!(attempt.body.len() <= 3 * 2048);
    for text in [&attempt.location, &attempt.error].into_iter().flatten() {
        assert_harmless(text, true);
        assert!(text.len() < 200_000);
    }
}
