//! Every exit code of the contract, and the verbs that do not deploy.

use pitcrew::demo::log::Kind;
use pitcrew::demo::{Fault, Sample, WebKind};

use crate::deploy::stack::{Stack, tree};

#[tokio::test(flavor = "multi_thread")]
async fn code_0_deployed_and_0_again_when_nothing_changed() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    let before = stack.fleet.releases(0);
    let ran = stack.run(&["deploy", "--if-changed", "--json"]).await.expect(0);
    assert_eq!(ran.finished()["outcome"], "unchanged", "{ran}");
    assert_eq!(stack.fleet.releases(0), before);
    let quiet = stack.run(&["deploy", "--if-changed", "-q"]).await.expect(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""), "cron hears nothing");
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--if-changed"]).await.expect(0);
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_2_for_usage_and_configuration() {
    let stack = Stack::empty(1, WebKind::Reload, "").await;
    stack.run(&["deploy", "--serial", "--parallel"]).await.expect(2);
    stack.run(&["deploy", "--rolling=0"]).await.expect(2);
    stack.run(&["deploy", "--only", "nobody.example.com"]).await.expect(2);
    stack.run(&["deploy", "-c", "missing.toml"]).await.expect(2);
    stack.run(&["rollback", "yesterday"]).await.expect(2);
    std::fs::write(stack.fleet.path().join("typo.toml"), "[app]\nname = \"x\"\nstratgy = \"serial\"\n[servrs]\n")
        .unwrap();
    let ran = stack.run(&["deploy", "-c", "typo.toml"]).await.expect(2);
    for said in ["typo.toml:3", "stratgy", "strategy", "servrs", "servers"] {
        assert!(ran.stderr.contains(said), "{said}\n{ran}");
    }
    let mut records = stack.fleet.log().records();
    records.retain(|r| matches!(r.kind, Kind::Connected { .. } | Kind::Command { .. }));
    assert!(records.is_empty(), "nothing was contacted: {records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_4_names_who_holds_the_lock() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    let lock = stack.fleet.deploy_to(1).join(".pitcrew/lock");
    std::fs::create_dir_all(&lock).unwrap();
    std::fs::write(
        lock.join("owner"),
        "run=20260101T000000Z-cafe\nwho=ann\nhost=laptop\npid=42\ncommand=pitcrew deploy\nsince=x\n",
    )
    .unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(4);
    assert!(ran.stderr.contains("ann@laptop"), "{ran}");
    assert_eq!(stack.versions(), ["0", "0"]);
    assert!(!stack.fleet.lock_present(0), "the loser leaves no lock");
    // Its lease has not run out: somebody may be at work.
    stack.run(&["unlock"]).await.expect(4);
    stack.run(&["unlock", "--force", "20260101T000000Z-cafe"]).await.expect(0);
    stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_one_wins_and_one_is_told() {
    let stack = Stack::serving(2, WebKind::Reload, "build.run = ['sleep 1']").await;
    stack.release(&Sample::good("1"));
    let (a, b) = tokio::join!(stack.run(&["deploy"]), stack.run(&["deploy"]));
    let mut codes = [a.code, b.code];
    codes.sort_unstable();
    assert_eq!(codes, [0, 4], "{a}\n{b}");
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_5_for_a_dead_server_and_nothing_is_touched() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    stack.fleet.faults().decide_with(|point| (point.server == "s2").then_some(Fault::Dead));
    stack.run(&["deploy"]).await;
    // Dead since its first command: now it refuses connections.
    let ran = stack.run(&["deploy", "--json"]).await.expect(5);
    let events = ran.events();
    assert_eq!(events[0]["event"], "planned", "{ran}");
    assert_eq!(ran.finished()["outcome"], "unreachable");
    assert_eq!(stack.versions(), ["0", "0"]);
    assert!(!stack.fleet.lock_present(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn code_5_for_a_dead_balancer_in_a_serial_run_only() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    stack.fleet.faults().decide_with(|point| (point.server == "lb1").then_some(Fault::CutBefore));
    stack.run(&["deploy"]).await.expect(5);
    assert_eq!(stack.versions(), ["0", "0"]);
    stack.run(&["deploy", "--parallel"]).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_unreachable_goes_on_and_exits_3() {
    let stack = Stack::serving(3, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    stack.fleet.faults().decide_with(|point| (point.server == "s2").then_some(Fault::Dead));
    stack.run(&["releases"]).await;
    let ran = stack.run(&["deploy", "--skip-unreachable", "--json"]).await.expect(3);
    assert_eq!(ran.finished()["outcome"], "mixed", "{ran}");
    assert_eq!(stack.versions(), ["1", "0", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_an_unknown_host_are_told_apart() {
    let stack = Stack::serving(1, WebKind::Reload, "").await;
    let home = stack.fleet.path();
    let key = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(home.join("wrong"))
        .status();
    assert!(key.is_ok_and(|s| s.success()), "ssh-keygen makes a key");
    stack.fleet.write_config(&format!("ssh.identity_file = '{}'", home.join("wrong").display())).unwrap();
    let ran = stack.run(&["deploy"]).await.expect(5);
    let ip = stack.fleet.servers()[0].ip().to_string();
    for said in [ip.as_str(), "deploy", "wrong"] {
        assert!(ran.stderr.contains(said), "{said}\n{ran}");
    }
    std::fs::write(home.join("empty"), "").unwrap();
    stack.fleet.write_config(&format!("ssh.known_hosts = '{}'", home.join("empty").display())).unwrap();
    let ran = stack.run(&["deploy"]).await.expect(5);
    assert!(ran.stderr.contains("SHA256:"), "{ran}");
    assert!(ran.stderr.contains("ssh-keyscan") || ran.stderr.contains("known_hosts"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_anywhere_and_is_the_plan_that_runs() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    let homes: Vec<_> = (0..2).map(|i| stack.fleet.deploy_to(i)).collect();
    let before: Vec<_> = homes.iter().map(|h| tree(h)).collect();
    let changes = stack.fleet.balancers()[0].history().len();
    let dry = stack.run(&["deploy", "--dry-run", "--json"]).await.expect(0);
    assert_eq!(dry.events().len(), 1, "{dry}");
    let text = stack.run(&["deploy", "--dry-run", "-v"]).await.expect(0);
    assert!(text.stdout.contains("serial"), "{text}");
    assert!(text.stdout.contains("mv -fT"), "-v shows the scripts\n{text}");
    let after: Vec<_> = homes.iter().map(|h| tree(h)).collect();
    assert_eq!(before, after);
    assert_eq!(stack.fleet.balancers()[0].history().len(), changes);
    let ran = stack.run(&["deploy", "--json"]).await.expect(0);
    let steps = |planned: &serde_json::Value| planned["steps"].clone();
    assert_eq!(steps(&dry.events()[0]), steps(&ran.events()[0]));
    // And what was announced is what happened.
    let place = |e: &serde_json::Value| {
        [&e["stage"], &e["batch"], &e["server"], &e["step"]].map(std::string::ToString::to_string)
    };
    let mut announced: Vec<_> = steps(&ran.events()[0]).as_array().unwrap().iter().map(place).collect();
    let mut started: Vec<_> = ran.events().iter().filter(|e| e["event"] == "step_started").map(place).collect();
    announced.sort();
    started.sort();
    assert_eq!(announced, started);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_returns_to_the_last_good_release_and_releases_lists_it() {
    let stack = Stack::serving(2, WebKind::Restart, "migrate.run = 'true'\nmigrate.when = 'asked'").await;
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--migrate"]).await.expect(0);
    stack.assert_all("1");
    let plan = stack.run(&["rollback", "--dry-run"]).await.expect(0);
    assert!(plan.stdout.contains("old, deployed by") && plan.stdout.contains("migrations have run since"), "{plan}");
    let listed = stack.run(&["releases"]).await.expect(0);
    assert_eq!(listed.stdout.lines().count(), 2, "{listed}");
    assert!(listed.stdout.lines().next().unwrap().contains("current"), "{listed}");
    let ran = stack.run(&["rollback", "--json"]).await.expect(0);
    assert_eq!(ran.events()[0]["verb"], "rollback");
    assert_eq!(ran.events()[0]["strategy"], "serial");
    stack.assert_all("0");
    let none = stack.run(&["rollback"]).await.expect(1);
    assert!(none.stderr.contains("no release"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_releases_are_pruned_and_never_the_current_or_the_previous() {
    let stack = Stack::serving(1, WebKind::Reload, "app.keep_releases = 2").await;
    for version in ["1", "2", "3", "4"] {
        stack.release(&Sample::good(version));
        stack.run(&["deploy"]).await.expect(0);
    }
    assert_eq!(stack.fleet.releases(0).len(), 2, "{:?}", stack.fleet.releases(0));
    stack.run(&["rollback"]).await.expect(0);
    assert_eq!(stack.versions(), ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_lists_everything_at_once() {
    let stack = Stack::serving(2, WebKind::Restart, "shared.files = ['.env', 'config/master.key']").await;
    let ran = stack.run(&["check"]).await.expect(1);
    for said in [".env", "config/master.key"] {
        assert_eq!(ran.stdout.matches(said).count(), 1, "one cause, told once: {said}\n{ran}");
    }
    let both = [0, 1].map(|index| stack.fleet.servers()[index].ip().to_string());
    assert!(ran.stdout.contains(&format!("{}  FAIL\n", both.join(", "))), "{ran}");
    stack.fleet.write_config(&stack.extra.replace("shared.files", "#")).unwrap();
    let good = stack.run(&["check"]).await.expect(0);
    assert!(good.stdout.contains("nothing is in the way"), "{good}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_a_file_that_loads_and_never_overwrites() {
    let stack = Stack::empty(1, WebKind::Reload, "").await;
    for web in pitcrew::web::builtin_names() {
        let file = format!("{web}.toml");
        stack.run(&["init", web, "-c", &file]).await.expect(0);
        let again = stack.run(&["init", web, "-c", &file]).await.expect(2);
        assert!(again.stderr.contains("exists already"), "{again}");
    }
    stack.run(&["init", "apache", "-c", "apache.toml"]).await.expect(2);
    // The directory names the stack.
    let directory = stack.fleet.path().join("My Blog");
    std::fs::create_dir(&directory).unwrap();
    stack.run(&["init", "puma", "-c", "My Blog/pitcrew.toml"]).await.expect(0);
    let text = std::fs::read_to_string(directory.join("pitcrew.toml")).unwrap();
    for said in ["name = \"my-blog\"   ", "deploy_to = \"/srv/my-blog\"   "] {
        assert!(text.contains(said), "{text}");
    }
    assert!(!text.contains("shop"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_somebody_removed_under_current_is_no_reason_to_refuse_the_next() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    let gone = std::fs::canonicalize(stack.fleet.deploy_to(1).join("current")).unwrap();
    std::fs::remove_dir_all(&gone).unwrap();
    let drift =
        format!("current points to releases/{}, which is not there any more", gone.file_name().unwrap().display());
    let status = stack.run(&["status"]).await.expect(3);
    assert!(status.stdout.contains(&drift), "{status}");
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(0);
    assert!(ran.printed().contains("which is not there any more; it is made anew"), "{ran}");
    stack.assert_all("1");
}
