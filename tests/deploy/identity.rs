//! Who is who: servers of a dead run that the file names no more, members that are another server, locks of other runs.

use std::path::Path;
use std::sync::{Arc, Mutex};

use pitcrew::demo::log::Kind;
use pitcrew::demo::{Fault, Flaw, FleetOptions, Sample, WebKind};
use toml::{Table, Value};

use crate::deploy::recover::killed_at;
use crate::deploy::stack::{PITCREW, Stack, tree};

/// Writes the stack's configuration as a person has edited it.
fn edit(stack: &Stack, change: impl FnOnce(&mut Table)) {
    let mut config: Table = stack.fleet.config_text(&stack.extra).unwrap().parse().unwrap();
    change(&mut config);
    std::fs::write(stack.fleet.path().join("pitcrew.toml"), toml::to_string(&config).unwrap()).unwrap();
}

/// Takes a server out of the file.
fn forget(config: &mut Table, index: usize) {
    config["servers"].as_array_mut().unwrap().remove(index);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_dead_run_that_the_file_names_no_more_is_named() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy", "--serial"], ("Exec", "s2", "restart")).await);
    edit(&stack, |config| forget(config, 1));
    let s2 = stack.fleet.servers()[1].ip().to_string();
    for (args, code) in [(&["check"][..], 4), (&["status"], 3)] {
        let ran = stack.run(args).await.expect(code);
        assert!(ran.stdout.contains(&format!("{s2}: at deploy@{s2}:")), "{ran}");
    }
    let ran = stack.run(&["recover"]).await.expect(3);
    for said in [s2.as_str(), "the file does not name it", "app/s2 on", "is MAINT", "pitcrew deploy --serial"] {
        assert!(ran.stderr.contains(said), "{said}\n{ran}");
    }
    assert!(ran.printed().contains("pitcrew recover    # when the file names"), "{ran}");
    // What the file names is recovered all the same.
    assert!(!stack.fleet.lock_present(0) && stack.fleet.lock_present(1) && !stack.fleet.lock_present(2), "{ran}");
    edit(&stack, |_| ());
    stack.run(&["recover"]).await.expect(0);
    assert_eq!(stack.versions(), ["1", "0", "0"]);
    stack.assert_unlocked();
    stack.assert_in_service();
}

/// A stack of files: nothing runs, so nothing but a health check proves a release.
async fn files(health: &str) -> Stack {
    let mut options = FleetOptions::new(PITCREW);
    (options.servers, options.balancers, options.web) = (2, 0, WebKind::Reload);
    let stack = Stack::with(options, "").await;
    edit(&stack, |config| {
        config.remove("web");
        config["app"]["web_server"] = "static".into();
        config["timeouts"].as_table_mut().unwrap().remove("restart");
        let health: Table = format!("command = '{health}'\nwithin = '2s'\ninterval = '100ms'").parse().unwrap();
        config.insert("health".into(), Value::Table(health));
    });
    stack.run(&["deploy"]).await.expect(0);
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_only_its_health_proves_is_asked_before_recover_calls_it_good() {
    let stack = files("test ! -e BROKEN").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--on-failure", "hold"]).await.expect(3);
    assert_eq!(stack.versions(), ["1", "1"]);
    let ran = stack.run(&["recover"]).await.expect(0);
    assert!(ran.stderr.contains("fails its health check"), "{ran}");
    assert_eq!(stack.versions(), ["0", "0"], "{ran}");
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_died_after_its_health_checks_is_finished_when_they_still_pass() {
    let stack = files("test ! -e BROKEN").await;
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy"], ("Exec", "s1", "prune")).await);
    let ran = stack.run(&["recover"]).await.expect(0);
    assert_eq!(stack.versions(), ["1", "1"], "{ran}");
    stack.assert_unlocked();
}

/// The old release is asked on the way back, too: where it fails, nothing is called good.
#[tokio::test(flavor = "multi_thread")]
async fn recover_asks_the_old_release_on_the_way_back() {
    let stack = files("test ! -e BROKEN && test ! -e $HOME/SICK").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--on-failure", "hold"]).await.expect(3);
    std::fs::write(stack.fleet.deploy_to(1).parent().unwrap().join("SICK"), "").unwrap();
    let ran = stack.run(&["recover"]).await.expect(3);
    assert_eq!(stack.versions(), ["0", "0"], "{ran}");
    assert!(stack.fleet.lock_present(1), "{ran}");
}

/// Names shifted by one, as `server-template` makes them by itself.
fn shift(config: &mut Table) {
    let servers = config["servers"].as_array_mut().unwrap();
    let last = servers.len();
    for (index, server) in servers.iter_mut().enumerate() {
        server["lb"] = format!("s{}", (index + 1) % last + 1).into();
    }
}

/// Commands that a balancer has heard and that change something.
fn changes(stack: &Stack, since: u64) -> Vec<String> {
    let heard = stack.fleet.log().since(since);
    let commands = heard.into_iter().filter_map(|record| match record.kind {
        Kind::Command { command } => Some(command),
        _ => None,
    });
    commands.filter(|command| command.contains("set server")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_another_server_is_refused_before_anything_is_touched() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    edit(&stack, shift);
    stack.release(&Sample::good("1"));
    let [s1, s2]: [String; 2] = [0, 1].map(|index| stack.fleet.servers()[index].ip().to_string());
    let since = stack.now();
    for args in [&["deploy", "--serial"][..], &["check"], &["lb", "drain", &s1]] {
        let ran = stack.run(args).await.expect(1);
        for said in [format!("it is {s2} there, an address of {s2}, and not of {s1}"), "check_addresses = false".into()]
        {
            assert!(ran.printed().contains(&said), "{said}\n{ran}");
        }
    }
    assert_eq!(stack.versions(), ["0", "0", "0"]);
    assert_eq!(changes(&stack, since), Vec::<String>::new());
    stack.assert_unlocked();
    // A parallel run touches no balancer.
    stack.run(&["deploy", "--parallel"]).await.expect(0);
    // Where addresses are translated, the file says so.
    edit(&stack, |config| {
        shift(config);
        config["load_balancer"].as_table_mut().unwrap().insert("check_addresses".into(), false.into());
    });
    stack.run(&["check"]).await.expect(0);
    stack.run(&["lb", "drain", &s1]).await.expect(0);
    assert!(!changes(&stack, since).is_empty());
}

/// Has another run take a server's lock over just before a script runs there for the nth time, and tells what lay there
/// then: the lock, the records, `current`.
fn steal(stack: &Stack, index: usize, (label, nth): (&'static str, usize)) -> Arc<Mutex<Option<Held>>> {
    let (root, server) = (stack.fleet.deploy_to(index), format!("s{}", index + 1));
    let seen = Arc::new(Mutex::new(None));
    let (told, mut passed) = (seen.clone(), 0);
    stack.fleet.faults().decide_with(move |point| {
        if point.server == server && point.label == label {
            passed += 1;
            if passed == nth {
                std::fs::write(root.join(".pitcrew/lock/owner"), "run=20990101T000000Z-other\nwho=ann\n").unwrap();
                *told.lock().unwrap() = Some(held(&root));
            }
        }
        None::<Fault>
    });
    seen
}

/// Names and what they hold.
type Held = Vec<(String, String)>;

/// What a run may change on a server.
fn held(root: &Path) -> Held {
    let mut all = tree(&root.join(".pitcrew"));
    all.push(("current".into(), std::fs::read_link(root.join("current")).unwrap().display().to_string()));
    all.push(("log".into(), std::fs::read_to_string(root.join("revisions.log")).unwrap()));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lock_was_taken_over_changes_nothing_more_there() {
    // On its way forward, and on the way back of a release that fails its health check.
    for (broken, label, nth) in
        [(false, "restart", 1), (false, "prove", 1), (true, "switch", 2), (true, "restart", 2), (true, "prove", 1)]
    {
        let stack = Stack::serving(2, WebKind::Restart, "").await;
        stack.release(&Sample { flaw: broken.then_some(Flaw::Sick), ..Sample::good("1") });
        let seen = steal(&stack, 0, (label, nth));
        let ran = stack.run(&["deploy", "--serial"]).await.expect(3);
        let before = seen.lock().unwrap().clone().expect("it was taken over");
        assert_eq!(held(&stack.fleet.deploy_to(0)), before, "{label} {nth}\n{ran}");
        // Its balancer leaves it out, where the run that has it now finds it.
        let lb = &stack.fleet.balancers()[0];
        assert!(!lb.snapshot()[0].in_service && lb.snapshot()[1].in_service, "{label} {nth}\n{ran}");
        assert_eq!(stack.versions()[1], "0", "{label} {nth}\n{ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_two_names_in_the_balancer_is_taken_out_and_put_back_by_both() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    edit(&stack, |config| {
        forget(config, 1);
        config["servers"][0]["lb"] = Value::Array(vec!["s1".into(), "s2".into()]);
    });
    stack.release(&Sample::good("1"));
    let since = stack.now();
    let ran = stack.run(&["deploy", "--serial"]).await.expect(0);
    let records = stack.fleet.log().since(since);
    let at = |fits: &dyn Fn(&Kind) -> bool| records.iter().position(|record| fits(&record.kind));
    let told = |text: &str| at(&|kind| matches!(kind, Kind::Command { command } if command.contains(text)));
    let switch = records
        .iter()
        .position(|r| r.server == "s1" && matches!(&r.kind, Kind::Exec { step: Some(step), .. } if step == "switch"));
    for name in ["s1", "s2"] {
        let out = told(&format!("set server app/{name} state maint"));
        assert!(out.is_some() && out < switch, "{name}\n{ran}");
    }
    assert_eq!(stack.versions(), ["1", "0", "1"]);
    stack.assert_in_service();
    let ran = stack.run(&["lb", "drain", &stack.fleet.servers()[0].ip().to_string()]).await.expect(0);
    let out: Vec<bool> = stack.fleet.balancers()[0].snapshot().iter().map(|m| m.in_service).collect();
    assert_eq!(out, [false, false, true], "{ran}");
    stack.run(&["lb", "restore", &stack.fleet.servers()[0].ip().to_string()]).await.expect(0);
    stack.assert_in_service();
}

/// Deployer, Mina and others name their releases otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_tool_has_deployed_is_taken_over_and_is_the_way_back() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    for server in 0..2 {
        let root = stack.fleet.deploy_to(server);
        let served = std::fs::canonicalize(root.join("current")).unwrap();
        std::fs::rename(&served, root.join("releases/7")).unwrap();
        std::fs::remove_file(root.join("current")).unwrap();
        std::os::unix::fs::symlink("releases/7", root.join("current")).unwrap();
        std::fs::remove_dir_all(root.join(".pitcrew")).unwrap();
        std::fs::remove_file(root.join("revisions.log")).unwrap();
    }
    stack.release(&Sample::flawed("1", Flaw::Sick));
    let told = "leads to releases/7, which another tool has made: a run takes it over as release 00000000000007";
    let ran = stack.run(&["check"]).await.expect(0);
    assert!(ran.stdout.contains(told), "{ran}");
    assert!(!stack.fleet.deploy_to(0).join("releases/00000000000007").exists());
    let ran = stack.run(&["deploy"]).await.expect(1);
    assert!(ran.printed().contains(told), "{ran}");
    assert_eq!(stack.versions(), ["0", "0"]);
    stack.release(&Sample::good("2"));
    let ran = stack.run(&["deploy"]).await.expect(0);
    assert!(!ran.printed().contains("another tool"), "{ran}");
    stack.assert_all("2");
    stack.run(&["rollback"]).await.expect(0);
    assert_eq!(stack.versions(), ["0", "0"]);
    stack.run(&["status"]).await.expect(0);
}
