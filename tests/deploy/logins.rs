//! Passwords and signatures that stand in URLs: they let in, and are nowhere to be read.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use pitcrew::demo::WebKind;

use crate::deploy::sources::{archive, commit, configure};
use crate::deploy::stack::{Ran, Stack, tree};
use crate::hosts::{Repository, Web};

const PASSWORD: &str = "hunter22hunter22";
/// `me:hunter22hunter22`
const BASIC: &str = "bWU6aHVudGVyMjJodW50ZXIyMg==";

/// Runs it, with a `git` and a `curl` before all others that note down what they are given.
async fn run(stack: &Stack, args: &[&str]) -> Ran {
    let bin = stack.home().join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        let note = "#!/bin/sh\nprintf '%s\\n' \"$@\" >>\"$HOME/arguments\"\nPATH=${PATH#*:}\nexec git \"$@\"\n";
        std::fs::write(bin.join("git"), note).unwrap();
        std::fs::set_permissions(bin.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = stack.command(args);
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    Ran::from(tokio::time::timeout(Duration::from_secs(100), command.output()).await.unwrap().unwrap())
}

/// Fails where any of these can be read: in what was printed, in logs, on servers, in arguments.
#[track_caller]
fn assert_nowhere(stack: &Stack, ran: &[Ran], secrets: &[&str]) {
    let mut all = String::new();
    for ran in ran {
        let _ = writeln!(all, "{ran}");
    }
    let _ = writeln!(all, "{:?}", stack.fleet.log().records());
    all += &std::fs::read_to_string(stack.home().join("arguments")).unwrap_or_default();
    let places = (0..2).map(|i| stack.fleet.deploy_to(i)).chain([stack.home().to_owned()]);
    let files: Vec<(String, String)> = places.flat_map(|place| tree(&place)).collect();
    for secret in secrets {
        assert!(!all.contains(secret), "{secret} is in\n{all}");
        let bytes = format!("{:?}", secret.as_bytes());
        for (name, content) in &files {
            assert!(!content.contains(bytes.trim_matches(['[', ']'])), "{secret} is in {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_repo_lets_servers_in_and_is_nowhere_to_be_read() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    let repository = Repository::new();
    let sha = commit(&repository, "1");
    repository.git(&["-C", "shop.git", "update-server-info"]);
    let web = Web::start(repository.bare().parent().unwrap(), Some(BASIC));
    let source =
        |login: &str| format!("kind = 'git'\nrepo = 'http://{login}@127.0.0.1:{}/shop.git'\nref = 'main'", web.port);
    configure(&stack, &source(&format!("me:{PASSWORD}")), "build.run = ['env']");
    let mut all = Vec::new();
    for (args, code) in [
        (&["deploy", "-v", "--json"][..], 0),
        (&["deploy", "-v"], 0),
        (&["deploy", "--dry-run", "-v"], 0),
        (&["check", "-v"], 0),
        (&["check", "--json"], 0),
        (&["status"], 0),
        (&["releases"], 0),
        (&["deploy", "no-such-branch"], 2),
    ] {
        all.push(run(&stack, args).await.expect(code));
    }
    assert_eq!(all[0].events()[0]["revision"], sha.as_str());
    assert!(web.asked().iter().any(|a| a.contains(BASIC)));
    // Wrong ones are as secret: they may be right elsewhere. One is asked about here, the other by the servers alone.
    configure(&stack, &source("me:wrongwrong77"), "");
    all.push(run(&stack, &["deploy"]).await.expect(5));
    all.push(run(&stack, &["deploy", "--dry-run", "-v"]).await.expect(5));
    all.push(run(&stack, &["check", "--json"]).await.expect(5));
    let newer = commit(&repository, "2");
    repository.git(&["-C", "shop.git", "update-server-info"]);
    all.push(run(&stack, &["deploy", &newer, "--json"]).await.expect(1));
    configure(&stack, &source("tok_en_tok_en"), "");
    all.push(run(&stack, &["deploy"]).await.expect(5));
    // A host that is not there, and a mistake on the same line.
    configure(&stack, &format!("kind = 'git'\nrepo = 'http://me:{PASSWORD}@127.0.0.1:9/x.git'"), "");
    all.push(run(&stack, &["deploy"]).await.expect(5));
    for (source, what) in [
        (format!("kind = 'git'\nrepo = 'ssh://git:{PASSWORD}@h/x.git'"), "holds a password"),
        (format!("kind = 'git'\nrepo = 'git:{PASSWORD}@h:x.git'"), "holds a password"),
        (format!("kind = 'git'\nrepo = 'https://me:{PASSWORD}@h/x.git'\npassword = 'NONE'"), "none of the [secrets]"),
        (format!("kind = 'git'\nrepo = 'htps://me:{PASSWORD}@h/x.git'"), "nothing that git can fetch from"),
        (format!("kind = 'archive'\nurl = 's3://me:{PASSWORD}@builds/x.tgz'"), "nothing that can be downloaded"),
        (format!("kind = 'push'\npath = 'ssh://git:{PASSWORD}@h/x.git'"), "not a URL"),
    ] {
        configure(&stack, &source, "");
        let refused = run(&stack, &["deploy"]).await.expect(2);
        assert!(refused.stderr.contains(what), "{what}: {refused}");
        all.push(refused);
    }
    assert_nowhere(&stack, &all, &[PASSWORD, BASIC, "wrongwrong77", "tok_en_tok_en"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_and_a_signature_in_a_url_let_in_and_are_nowhere_to_be_read() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    let directory = tempfile::tempdir().unwrap();
    let web = Web::start(directory.path(), Some(BASIC));
    let signature = "sigsigsigsigsigsig42";
    let mut all = Vec::new();
    for (number, fetch) in ["here", "servers"].iter().enumerate() {
        let (bytes, sum) = archive(&number.to_string(), 1000);
        std::fs::write(directory.path().join("shop.tgz"), bytes).unwrap();
        let written = format!("http://me:{PASSWORD}@127.0.0.1:{}/shop.tgz?X-Sig={signature}", web.port);
        std::fs::write(stack.fleet.path().join("url"), &written).unwrap();
        for url in [format!("url = '{written}'"), "url_secret = 'URL'".to_owned()] {
            let source = format!("kind = 'archive'\n{url}\nsha256 = '{sum}'\nfetch = '{fetch}'");
            configure(&stack, &source, "secrets.URL = { file = 'url' }");
            for (args, code) in
                [(&["deploy", "-v", "--json"][..], 0), (&["deploy", "--dry-run", "-v"], 0), (&["check", "-v"], 0)]
            {
                all.push(run(&stack, args).await.expect(code));
            }
            // What is not there, and a host that is none.
            for broken in [source.replace("shop.tgz", "gone.tgz"), source.replace(&web.port.to_string(), "9")] {
                std::fs::write(stack.fleet.path().join("url"), written.replace("shop.tgz", "gone.tgz")).unwrap();
                configure(&stack, &broken, "secrets.URL = { file = 'url' }");
                all.push(run(&stack, &["deploy", "-v"]).await.expect(if *fetch == "here" { 5 } else { 1 }));
            }
            std::fs::write(stack.fleet.path().join("url"), &written).unwrap();
        }
    }
    assert_nowhere(&stack, &all, &[PASSWORD, BASIC, signature]);
}
