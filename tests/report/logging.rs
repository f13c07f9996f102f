//! The run's log on disk.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use pitcrew::event::*;
use pitcrew::name::RunId;
use pitcrew::outcome::Reporter;
use pitcrew::report::log::{RunLog, directory, file_name};

use crate::report::story::*;

fn run(id: &str) -> RunId {
    RunId(id.into())
}

fn told(story: &Story, log: &mut RunLog) {
    story.tell(log);
}

#[test]
fn events_and_servers_have_their_files_and_nobody_else_reads_them() {
    let home = tempfile::tempdir().unwrap();
    let app = home.path().join("state/pitcrew/shop");
    let mut story = Story::empty();
    story.start("web1", StepName::Build);
    story.output("web1", StepName::Build, "Bundle complete");
    story.end("web1", StepName::Build, Some(exit(3)));
    story.ok("../../etc/web2", StepName::Build);
    story.finished();
    let mut log = RunLog::create(&app, &run("r1")).unwrap();
    told(&story, &mut log);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(log.path()), 0o700);
    let mut files: Vec<String> = fs::read_dir(log.path())
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            assert_eq!(mode(&e.path()), 0o600);
            e.file_name().into_string().unwrap()
        })
        .collect();
    files.sort();
    assert_eq!(files, ["%2E.%2F..%2Fetc%2Fweb2.log", "events.jsonl", "web1.log"]);
    assert_eq!(fs::read_link(app.join("latest")).unwrap(), Path::new("r1"));

    let events = fs::read_to_string(log.path().join("events.jsonl")).unwrap();
    assert_eq!(events.lines().count(), story.events.len());
    let web1 = fs::read_to_string(log.path().join("web1.log")).unwrap();
    assert_eq!(
        web1,
        "2026-11-23T04:59:00.123Z build started\n\
         2026-11-23T04:59:00.373Z build stdout Bundle complete\n\
         2026-11-23T04:59:00.623Z build failed 0.50s\n    exit status 3\n"
    );
}

#[test]
fn old_runs_are_pruned_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let app = home.path();
    for i in 0..60u64 {
        let directory = app.join(format!("run{i:02}"));
        fs::create_dir(&directory).unwrap();
        let events = File::create(directory.join("events.jsonl")).unwrap();
        events.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + i)).unwrap();
    }
    fs::create_dir(app.join("not-a-run")).unwrap();
    fs::write(app.join("a-file"), "").unwrap();
    let mut log = RunLog::create(app, &run("now")).unwrap();
    assert_eq!(log.trouble(), None);
    assert!(!app.join("run10").exists() && app.join("run11").exists() && app.join("now").exists());
    assert!(app.join("not-a-run").exists() && app.join("a-file").exists());
    RunLog::create(app, &run("later")).unwrap();
    assert_eq!(fs::read_link(app.join("latest")).unwrap(), Path::new("later"));
}

#[test]
fn what_cannot_be_written_is_said_once() {
    let home = tempfile::tempdir().unwrap();
    let mut log = RunLog::create(home.path(), &run("r1")).unwrap();
    fs::remove_dir_all(log.path()).unwrap();
    let mut story = Story::empty();
    story.ok("web1", StepName::Build);
    told(&story, &mut log);
    let said = log.trouble().map(|trouble| pitcrew::wording::warning::sentence(&trouble));
    assert!(said.is_some_and(|said| said.contains("cannot write the run's log")));
    told(&story, &mut log);
    assert_eq!(log.trouble(), None);
}

#[test]
fn more_servers_than_open_files_are_all_written() {
    let home = tempfile::tempdir().unwrap();
    let mut log = RunLog::create(home.path(), &run("r1")).unwrap();
    let mut story = Story::empty();
    for _ in 0..2 {
        (0..300).for_each(|i| story.output(&format!("web{i}"), StepName::Build, "hello"));
    }
    told(&story, &mut log);
    for i in [0, 127, 128, 299] {
        let text = fs::read_to_string(log.path().join(format!("web{i}.log"))).unwrap();
        assert_eq!(text.lines().count(), 2, "web{i}");
    }
}

#[test]
fn names_cannot_leave_the_directory() {
    for (name, file) in [
        ("web1.example.com:2222", "web1.example.com:2222"),
        ("../up", "%2E.%2Fup"),
        (".", "%2E"),
        ("", "%"),
        ("a b\n", "a%20b%0A"),
        ("ä", "%C3%A4"),
    ] {
        assert_eq!(file_name(name), file);
    }
    assert!(file_name(&"x".repeat(1000)).len() <= 200);
}

#[test]
fn the_place_follows_xdg() {
    let path = |p: &str| Some(p.to_owned());
    for (xdg, home, expected) in [
        (path("/state"), path("/home/a"), Some("/state/pitcrew/shop")),
        (None, path("/home/a"), Some("/home/a/.local/state/pitcrew/shop")),
        (path("relative"), path("/home/a"), Some("/home/a/.local/state/pitcrew/shop")),
        (path("relative"), None, None),
    ] {
        let found = directory(xdg.as_deref().map(Path::new), home.as_deref().map(Path::new), "shop");
        assert_eq!(found.as_deref(), expected.map(Path::new));
    }
}
