//! Releases that servers fetch themselves, from a git repository or an object store; and builds on the operator's machine.

use std::time::Duration;

use pitcrew::demo::{Sample, WebKind, make_release};
use sha2::{Digest as _, Sha256};

use crate::deploy::moto::Moto;
use crate::deploy::stack::{Stack, of, spans};
use crate::hosts::{Repository, Web};

/// Lays `extra` over the stack's configuration, with this source in place of its own.
pub fn configure(stack: &Stack, source: &str, extra: &str) {
    let text = stack.fleet.config_text(&format!("{}\n{extra}", stack.extra)).unwrap();
    let mut config: toml::Table = text.parse().unwrap();
    config.insert("source".into(), toml::Value::Table(source.parse().unwrap()));
    std::fs::write(stack.fleet.path().join("pitcrew.toml"), toml::to_string(&config).unwrap()).unwrap();
}

/// Commits a release of the application.
pub fn commit(repository: &Repository, version: &str) -> String {
    make_release(&repository.work(), &Sample::good(version)).unwrap();
    repository.commit(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_fetch_the_commit_that_was_resolved_once() {
    let repository = Repository::new();
    let first = commit(&repository, "1");
    repository.git(&["-C", "work", "tag", "-a", "-m", "annotated", "v1"]);
    let second = commit(&repository, "2");
    let stack = Stack::empty(3, WebKind::Reload, "").await;
    configure(&stack, &format!("kind = 'git'\nrepo = '{}'\nref = 'main'\nat_once = 1", repository.url()), "");
    let since = stack.now();
    let ran = stack.run(&["deploy", "--json"]).await.expect(0);
    assert_eq!(ran.events()[0]["revision"], second.as_str());
    assert_eq!(stack.versions(), ["2", "2", "2"]);
    let records = stack.fleet.log().since(since);
    let mut fetches = of(&spans(&records), "fetch").into_iter().cloned().collect::<Vec<_>>();
    fetches.sort_by_key(|f| f.began);
    assert_eq!(fetches.len(), 3, "{fetches:?}");
    assert!(fetches.windows(2).all(|two| two[0].ended < two[1].began), "one at a time: {fetches:?}");

    // An annotated tag is the commit that it stands for.
    let ran = stack.run(&["deploy", "v1", "--json"]).await.expect(0);
    assert_eq!(ran.events()[0]["revision"], first.as_str());
    assert_eq!(stack.versions(), ["1", "1", "1"]);
    stack.run(&["deploy", "main", "--if-changed", "--serial"]).await.expect(0);
    assert_eq!(stack.versions(), ["2", "2", "2"]);

    // A damaged mirror is cloned anew, and that is said; the others fetch as before.
    let third = commit(&repository, "3");
    let objects = stack.fleet.deploy_to(1).join("repo/objects");
    std::fs::remove_dir_all(&objects).unwrap();
    let ran = stack.run(&["deploy"]).await.expect(0);
    assert!(ran.stderr.contains("cloned anew"), "{ran}");
    assert_eq!(stack.versions(), ["3", "3", "3"]);
    let checked = stack.run(&["check"]).await.expect(0);
    assert!(checked.stdout.contains(&format!("main is {}", &third[..7])), "{checked}");
    stack.run(&["rollback"]).await.expect(0);
    stack.assert_all("2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_released_from_a_repository_is_refused_before_anything_is_touched() {
    let repository = Repository::new();
    commit(&repository, "1");
    repository.git(&["-C", "work", "branch", "same"]);
    let second = commit(&repository, "2");
    repository.git(&["-C", "work", "tag", "same"]);
    repository.push();
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    let source = |reference: &str| format!("kind = 'git'\nrepo = '{}'\nref = '{reference}'", repository.url());
    configure(&stack, &source("main"), "");
    for (reference, code, what) in [
        ("same", 2, "both a branch and a tag"),
        ("mian", 2, "Did you mean `main`?"),
        (&second[..8], 2, "Write the whole SHA"),
        ("-x", 2, ""),
    ] {
        let ran = stack.run(&["deploy", "--", reference]).await.expect(code);
        assert!(ran.stderr.contains(what), "{what}: {ran}");
    }
    stack.run(&["deploy", "refs/heads/same"]).await.expect(0);
    assert_eq!(stack.versions(), ["1", "1"]);

    let module = format!("160000,{second},vendor/module");
    repository.git(&["-C", "work", "update-index", "--add", "--cacheinfo", &module]);
    repository.git(&["-C", "work", "commit", "-q", "-m", "a module"]);
    let with_module = repository.push();
    let ran = stack.run(&["deploy"]).await.expect(2);
    assert!(ran.stderr.contains("submodules") && ran.stderr.contains("vendor/module"), "{ran}");
    // Where this machine cannot look, the servers do.
    configure(&stack, &source("main"), "");
    let ran = stack.run(&["deploy", &with_module]).await.expect(2);
    assert!(ran.stderr.contains("submodules"), "{ran}");
    configure(&stack, "kind = 'git'\nrepo = 'file:///nowhere/shop.git'", "");
    let ran = stack.run(&["deploy"]).await.expect(5);
    assert!(ran.stderr.contains("cannot ask file:///nowhere/shop.git"), "{ran}");
    let ran = stack.run(&["deploy", &with_module]).await.expect(1);
    assert!(ran.stderr.contains("cannot fetch from the repository"), "{ran}");
    assert_eq!(stack.versions(), ["1", "1"]);
    stack.assert_unlocked();
}

/// A release of the application with this many bytes that do not compress, as a tar.gz; and its checksum.
pub fn archive(version: &str, bytes: usize) -> (Vec<u8>, String) {
    let directory = tempfile::tempdir().unwrap();
    make_release(directory.path(), &Sample::good(version)).unwrap();
    let mut noise = Vec::with_capacity(bytes);
    let mut block = Sha256::digest(version.as_bytes());
    while noise.len() < bytes {
        block = Sha256::digest(block);
        noise.extend_from_slice(&block);
    }
    std::fs::write(directory.path().join("noise"), noise).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    tar.append_dir_all(".", directory.path()).unwrap();
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let sum = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (bytes, sum)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_feeds_twenty_servers_and_this_machine_sends_nothing_of_it() {
    const SERVERS: usize = 20;
    const SIZE: usize = 3 << 20;
    let stack = Stack::empty(SERVERS, WebKind::Reload, "").await;
    let Some(store) = Moto::start(stack.fleet.path()).await else { return };
    let (bytes, sum) = archive("1", SIZE);
    assert!(bytes.len() > SIZE);
    let object = format!("/builds/shop/{sum}.tar.gz");
    store.put("/builds", b"");
    store.put(&object, &bytes);
    let source = format!(
        "kind = 'archive'\nurl = 's3://builds/shop/{{sha256}}.tar.gz'\nfetch = 'servers'\nregion = 'us-east-1'\n\
         endpoint = 'http://127.0.0.1:{}'",
        store.at.port()
    );
    configure(&stack, &source, "");
    let without = stack.run(&["deploy", &sum]).await.expect(2);
    assert!(without.stderr.contains("AWS_ACCESS_KEY_ID"), "{without}");
    let since = stack.now();
    let sent_before: u64 = stack.fleet.servers().iter().map(|s| s.received()).sum();
    let mut command = stack.command(&["deploy", &sum, "--json"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENG");
    let output = tokio::time::timeout(Duration::from_secs(100), command.output()).await.unwrap().unwrap();
    let ran = crate::deploy::stack::Ran::from(output).expect(0);
    assert!(stack.versions().iter().all(|v| v == "1"), "{:?}", stack.versions());
    assert_eq!(store.gets(&object), SERVERS, "each server asks once, and nobody else");
    let sent = stack.fleet.servers().iter().map(|s| s.received()).sum::<u64>() - sent_before;
    assert!((1..bytes.len() as u64).contains(&sent), "{sent} bytes were sent to {SERVERS} servers");
    let records = stack.fleet.log().since(since);
    let spans = spans(&records);
    assert!(of(&spans, "transfer").is_empty());
    assert_eq!(of(&spans, "download").len(), SERVERS);
    // The link is a secret.
    let shown = format!("{ran}{records:?}");
    assert!(!shown.contains("X-Amz-Signature") && !shown.contains("wJalrXUtnFEMIK7MDENG"), "{ran}");

    // Another archive in its place is found out by every server, and nothing is switched.
    let (other, _) = archive("2", 1000);
    let (_, wanted) = archive("3", 1000);
    store.put(&format!("/builds/shop/{wanted}.tar.gz"), &other);
    let mut command = stack.command(&["deploy", &wanted]);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENG");
    let output = tokio::time::timeout(Duration::from_secs(100), command.output()).await.unwrap().unwrap();
    let ran = crate::deploy::stack::Ran::from(output).expect(1);
    assert!(ran.stderr.contains("not what was meant"), "{ran}");
    assert!(stack.versions().iter().all(|v| v == "1"));
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_downloaded_here_once_and_sent() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    let (bytes, sum) = archive("1", 1000);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("shop.tar.gz"), &bytes).unwrap();
    let web = Web::start(directory.path(), None);
    let url = format!("http://127.0.0.1:{}/shop.tar.gz?signature=hunter22hunter22", web.port);
    configure(&stack, &format!("kind = 'archive'\nurl = '{url}'\nsha256 = '{sum}'"), "");
    let ran = stack.run(&["deploy", "-v"]).await.expect(0);
    assert_eq!(stack.versions(), ["1", "1"]);
    assert_eq!(web.asked().len(), 1);
    let wrong = sum.replace('0', "1");
    configure(&stack, &format!("kind = 'archive'\nurl = '{url}'\nsha256 = '{wrong}'"), "");
    let other = stack.run(&["deploy"]).await.expect(2);
    assert!(other.stderr.contains("its SHA-256 is"), "{other}");
    std::fs::remove_file(directory.path().join("shop.tar.gz")).unwrap();
    let gone = stack.run(&["deploy"]).await.expect(5);
    assert!(gone.stderr.contains("404"), "{gone}");
    for ran in [&ran, &other, &gone] {
        assert!(!ran.printed().contains("hunter22"), "{ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_here_runs_once_before_the_source_is_read() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    let build = "build.on = 'here'\nbuild.run = ['mkdir -p dist/lib && echo \"$N\" > dist/VERSION && echo x > dist/lib/app.rb', \
                 'echo built $PITCREW_APP $PITCREW_SERVER $PITCREW_STAGE with $TOKEN >> \"$HOME/built\"; echo $TOKEN; exit $STATUS']\n\
                 secrets.TOKEN = { file = 'token' }\n";
    std::fs::write(stack.fleet.path().join("token"), "correct-horse\n").unwrap();
    let with = |n: u32, status: u32| format!("{build}env.N = '{n}'\nenv.STATUS = '{status}'");
    let source = "kind = 'archive'\npath = 'dist'";
    configure(&stack, source, &with(1, 0));
    let dry = stack.run(&["deploy", "--dry-run"]).await.expect(2);
    assert!(dry.stderr.contains("[build]"), "a dry run builds nothing: {dry}");
    let ran = stack.run(&["deploy"]).await.expect(0);
    assert_eq!(stack.versions(), ["1", "1"]);
    assert!(!ran.printed().contains("correct-horse") && ran.stderr.contains("[REDACTED]"), "{ran}");
    let built = std::fs::read_to_string(stack.home().join("built")).unwrap();
    assert_eq!(built, "built demo here prepare with correct-horse\n");
    let quiet = stack.run(&["deploy", "-q"]).await.expect(0);
    assert_eq!(quiet.printed(), "");

    configure(&stack, source, &with(2, 7));
    let since = stack.now();
    let failed = stack.run(&["deploy", "-q"]).await.expect(1);
    assert!(failed.stderr.contains("7") && !failed.printed().contains("correct-horse"), "{failed}");
    let steps: Vec<_> = spans(&stack.fleet.log().since(since)).into_iter().map(|s| s.step).collect();
    assert!(!steps.iter().any(|s| s == "lock" || s == "transfer"), "{steps:?}");
    assert_eq!(stack.versions(), ["1", "1"]);
}
