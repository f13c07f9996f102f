//! Who is who: servers of a dead run that the file names no more, members that are another server, locks of other runs.

use pitcrew::demo::log::Kind;
use pitcrew::demo::{FleetOptions, Sample, WebKind};
use toml::{Table, Value};

use crate::deploy::recover::killed_at;
use crate::deploy::stack::{PITCREW, Stack};

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
    stack.release(&Sample { broken: true, ..Sample::good("1") });
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
    stack.release(&Sample { broken: true, ..Sample::good("1") });
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
    assert_eq!(changes(&stack, since), [String::new(); 0]);
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
