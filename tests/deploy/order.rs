//! Order and barriers of every strategy, from the servers' own logs.

use pitcrew::demo::log::Kind;
use pitcrew::demo::{Flaw, FleetOptions, Sample, WebKind};

use crate::deploy::stack::{PITCREW, Span, Stack, assert_before, of, spans};

/// Appends to a file beside the release, so that the servers themselves tell who migrated and when.
const MIGRATE: &str = "migrate.run = 'echo \"$PITCREW_RELEASE $PITCREW_SERVER\" >> ../../migrations'\n";

fn migrations(stack: &Stack) -> Vec<usize> {
    let lines = |i| std::fs::read_to_string(stack.fleet.deploy_to(i).join("migrations")).unwrap_or_default();
    (0..stack.fleet.servers().len()).map(|i| lines(i).lines().count()).collect()
}

/// The migration's own span: user commands run as the `command` script.
fn commands(all: &[Span]) -> Vec<&Span> {
    of(all, "command")
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_prepares_all_migrates_once_then_switches_all() {
    let stack = Stack::serving(3, WebKind::Reload, MIGRATE).await;
    let (since, changes) = (stack.now(), stack.fleet.balancers()[0].history().len());
    stack.release(&Sample::good("1"));
    let before = migrations(&stack);
    stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("1");
    let all = spans(&stack.fleet.log().since(since));
    assert_eq!(of(&all, "transfer").len(), 3);
    assert_eq!(of(&all, "switch").len(), 3);
    assert_before(&of(&all, "lock"), &of(&all, "transfer"));
    assert_before(&of(&all, "transfer"), &commands(&all));
    assert_before(&commands(&all), &of(&all, "switch"));
    assert_before(&of(&all, "prove"), &of(&all, "unlock"));
    let ran: Vec<usize> = migrations(&stack).iter().zip(before).map(|(now, then)| now - then).collect();
    assert_eq!(ran, [1, 0, 0], "migrations run once, on one server");
    let admin_changes: Vec<_> = stack.fleet.balancers()[0].history().split_off(changes);
    let touched = admin_changes.iter().any(|c| c.admin != pitcrew::demo::Admin::Ready);
    assert!(!touched, "parallel never touches the balancer: {admin_changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serial_takes_one_out_at_a_time_and_proves_it_before_the_next() {
    let stack = Stack::serving(3, WebKind::Restart, MIGRATE).await;
    let (since, changes) = (stack.now(), stack.fleet.balancers()[0].history().len());
    stack.release(&Sample::good("1"));
    let before = migrations(&stack);
    let ran = stack.run(&["deploy", "--json"]).await.expect(0);
    assert_eq!(ran.events()[0]["strategy"], "serial");
    assert_eq!(ran.events()[0]["decided_by"], "template");
    stack.assert_all("1");
    assert_eq!(stack.fleet.balancers()[0].most_out(changes), 1);
    let records = stack.fleet.log().since(since);
    let all = spans(&records);
    let of_server = |name: &str, step: &str| -> Vec<Span> {
        all.iter().filter(|s| s.server == name && s.step == step).cloned().collect()
    };
    for (this, next) in [("s1", "s2"), ("s2", "s3")] {
        let proven = of_server(this, "prove");
        let begins = of_server(next, "transfer");
        assert_before(&proven.iter().collect::<Vec<_>>(), &begins.iter().collect::<Vec<_>>());
        // Its member is back before the next one's is taken out.
        let member = |name: &str, admin| {
            records.iter().find(|r| matches!(&r.kind, Kind::Member { member, admin: a, up: true } if member.ends_with(name) && *a == admin))
        };
        let drained = records.iter().find(|r| matches!(&r.kind, Kind::Member { member, admin, .. } if member.ends_with(next) && *admin == pitcrew::demo::Admin::Drain));
        let restored = records.iter().rfind(|r| matches!(&r.kind, Kind::Member { member, admin, up: true } if member.ends_with(this) && *admin == pitcrew::demo::Admin::Ready));
        assert!(member(this, pitcrew::demo::Admin::Ready).is_some());
        assert!(restored.unwrap().seq < drained.unwrap().seq, "{this} is not back before {next} is drained");
    }
    // In its turn: drained, prepared, migrated; and nobody else switches before the migration.
    let ran: Vec<usize> = migrations(&stack).iter().zip(before).map(|(now, then)| now - then).collect();
    assert_eq!(ran, [1, 0, 0]);
    assert_before(&commands(&all), &of(&all, "switch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_goes_in_batches_of_the_chosen_size() {
    let stack = Stack::serving(4, WebKind::Restart, "").await;
    let changes = stack.fleet.balancers()[0].history().len();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--rolling=2", "--json"]).await.expect(0);
    let planned = &ran.events()[0];
    assert_eq!(planned["strategy"], "rolling");
    assert_eq!(planned["decided_by"], "flag");
    let sizes: Vec<usize> =
        planned["batches"].as_array().unwrap().iter().map(|b| b.as_array().unwrap().len()).collect();
    assert_eq!(sizes, [2, 2]);
    stack.assert_all("1");
    assert!(stack.fleet.balancers()[0].most_out(changes) <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_ahead_everybody_is_prepared_before_anybody_is_drained() {
    let stack = Stack::serving(3, WebKind::Restart, "build.run = ['test -e REVISION']").await;
    let (since, changes) = (stack.now(), stack.fleet.balancers()[0].history().len());
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--prepare-ahead"]).await.expect(0);
    stack.assert_all("1");
    let records = stack.fleet.log().since(since);
    let all = spans(&records);
    let drained = |r: &&pitcrew::demo::Record| matches!(&r.kind, Kind::Member { admin, .. } if *admin == pitcrew::demo::Admin::Drain);
    let first_drain = records.iter().find(drained).unwrap().seq;
    let prepared = of(&all, "transfer").into_iter().chain(of(&all, "command"));
    assert!(prepared.map(|s| s.ended).max().unwrap() < first_drain);
    assert_eq!(stack.fleet.balancers()[0].most_out(changes), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_balancers_are_both_drained_and_both_restored() {
    let mut options = FleetOptions::new(PITCREW);
    options.web = WebKind::Restart;
    options.balancers = 2;
    let stack = Stack::with(options, "").await;
    stack.settle().await;
    let changes: Vec<usize> = stack.fleet.balancers().iter().map(|b| b.history().len()).collect();
    stack.release(&Sample::good("1"));
    stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("1");
    for (balancer, since) in stack.fleet.balancers().iter().zip(changes) {
        assert_eq!(balancer.most_out(since), 1, "{}", balancer.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_somebody_took_out_is_deployed_to_and_left_out() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.fleet.balancers()[0].set("s2", pitcrew::demo::Admin::Maint);
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(0);
    assert!(ran.stderr.contains("MAINT"), "{ran}");
    assert_eq!(stack.versions(), ["1", "1", "1"]);
    let states = stack.fleet.balancers()[0].snapshot();
    assert_eq!(states[1].admin, pitcrew::demo::Admin::Maint);
    assert!(states[0].in_service && states[2].in_service);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_at_their_points_where_they_should() {
    let hook = |at: &str, on: &str| {
        format!(
            "[[hooks]]\nat = \"{at}\"\nrun = '''echo \"$PITCREW_HOOK $PITCREW_SERVER\" >> \"$HOME/hooks\"'''\non = \"{on}\"\n"
        )
    };
    let extra = [("before switch", "each"), ("after switch", "one"), ("on success", "here"), ("on failure", "here")];
    let extra: String = extra.iter().map(|(at, on)| hook(at, on)).collect();
    let stack = Stack::empty(2, WebKind::Reload, &extra).await;
    stack.run(&["deploy"]).await.expect(0);
    let log = |i: usize| {
        let home = stack.fleet.deploy_to(i).parent().unwrap().join("hooks");
        std::fs::read_to_string(home).unwrap_or_default()
    };
    let ip = |i: usize| stack.fleet.servers()[i].ip().to_string();
    assert_eq!(log(0), format!("before switch {}\nafter switch {}\n", ip(0), ip(0)));
    assert_eq!(log(1), format!("before switch {}\n", ip(1)));
    let here = std::fs::read_to_string(stack.home().join("hooks")).unwrap();
    assert_eq!(here, "on success here\n");
    stack.release(&Sample::flawed("1", Flaw::Stillborn));
    stack.run(&["deploy"]).await.expect(1);
    let here = std::fs::read_to_string(stack.home().join("hooks")).unwrap();
    assert_eq!(here, "on success here\non failure here\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_allows_one_session_at_a_time_is_deployed_to() {
    let mut options = FleetOptions::new(PITCREW);
    options.web = WebKind::Restart;
    options.max_sessions = 1;
    let hook = "[[hooks]]\nat = \"before switch\"\nrun = \"sleep 1\"\non = \"each\"\n";
    // So short a lease that renewals come between the steps, and while the one session is in use.
    let stack = Stack::with(options, &format!("timeouts.lease = \"15s\"\n{MIGRATE}{hook}")).await;
    stack.settle().await;
    for (release, flag) in [("1", "--serial"), ("2", "--parallel")] {
        stack.release(&Sample::good(release));
        let ran = stack.run(&["deploy", flag]).await.expect(0);
        stack.assert_all(release);
        assert!(!ran.printed().contains("could not be renewed"), "{ran}");
    }
    stack.release(&Sample::flawed("3", Flaw::Stillborn));
    stack.run(&["deploy", "--serial"]).await.expect(1);
    stack.assert_all("2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_renewed_while_a_long_step_has_the_only_session() {
    let mut options = FleetOptions::new(PITCREW);
    options.servers = 1;
    options.max_sessions = 1;
    let hook = "[[hooks]]\nat = \"before switch\"\nrun = \"sleep 12\"\non = \"each\"\n";
    let stack = Stack::with(options, &format!("timeouts.lease = \"15s\"\n{hook}")).await;
    stack.settle().await;
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("1");
    assert!(!ran.printed().contains("could not be renewed"), "{ran}");
}
