//! How a rollout walks: parallel, serial and rolling, by default and on request, and rollback along the same way.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::{FILES, PASSENGER, PUMA, Row, Seen, UNICORN, names, under_load};
use crate::fleet::{self, Host};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("parallel::unicorn_by_default", UNICORN, || parallel_by_default(App::Unicorn, "unicorn.pid")),
    ("parallel::puma_by_default", PUMA, || parallel_by_default(App::Puma, "puma.pid")),
    ("serial::passenger_by_default", PASSENGER, serial_passenger_by_default),
    ("serial::unicorn_with_migrations_on_request", UNICORN, serial_unicorn_with_migrations),
    ("rolling::two_at_a_time", UNICORN, rolling_two_at_a_time),
    ("rollback::parallel", UNICORN, || rollback(&[], &[])),
    ("rollback::serial", UNICORN, || rollback(&["--serial"], &["host1", "host2", "host3"])),
    ("strategy::template_file_and_flag_decide", FILES, template_file_and_flag_decide),
];

/// `passenger-config` finds one Apache a server; two would make it ask which is meant.
static APACHE: Mutex<()> = Mutex::new(());

fn parallel_by_default(app: App, pid_file: &str) {
    let stack = Stack::new(app).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.assert_serves(&[&first, &first, &first]);

    let second = stack.commit(&[]);
    let seen = under_load(&stack, &["--json", "deploy"]);
    let events = seen.ran.expect(0).events();
    let planned = &events[0];
    assert_eq!(planned["strategy"], "parallel");
    assert_eq!(planned["decided_by"], "template");
    assert_eq!(planned["revision"], second.as_str());
    assert_eq!(planned["batches"], json!([addresses(&stack)]));
    assert!(steps(planned, "drain").is_empty() && steps(planned, "restore").is_empty(), "no step for the balancer");
    seen.load.assert_none_failed();
    seen.trace.assert_never_touched();
    assert_eq!(seen.trace.most_out(), 0, "no member ever failed its check");
    stack.assert_serves(&[&second, &second, &second]);
    stack.assert_no_lock();
    assert_finished(&stack, &events, "deployed", planned["release"].as_str());
    for (h, pid) in stack.servers.iter().zip(stack.masters(&format!("shared/tmp/pids/{pid_file}"))) {
        let where_to = h.sh(&format!("readlink /proc/{pid}/cwd"));
        assert!(where_to.contains(&stack.name), "{} runs its master in the stack: {where_to}", h.name);
        assert_eq!(stack.releases(h).len(), 2, "{} keeps both releases", h.name);
    }
    assert_barrier(&events, "switch", &["transfer", "link"]);
}

fn serial_passenger_by_default() {
    let _alone = apache_alone();
    let stack = passenger();
    let first = stack.commit(&[]);
    let apache = start_apache(&stack);
    stack.deploy_first();
    stack.assert_serves(&[&first, &first, &first]);

    let stack = stack.tables(&migrations());
    let second = stack.commit(&[]);
    let seen = under_load(&stack, &["--json", "deploy"]);
    assert_serial(&stack, &seen, "template", &second);
    drop(apache);
}

fn serial_unicorn_with_migrations() {
    let stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.assert_serves(&[&first, &first, &first]);

    let stack = stack.tables(&migrations());
    let second = stack.commit(&[]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial"]);
    assert_serial(&stack, &seen, "flag", &second);
}

/// Everything that a serial run with migrations promises.
#[track_caller]
fn assert_serial(stack: &Stack, seen: &Seen, decided_by: &str, revision: &str) {
    assert_eq!(seen.ran.code, Some(0), "exit code of pitcrew");
    let events = seen.ran.events();
    let planned = &events[0];
    assert_eq!(planned["strategy"], "serial");
    assert_eq!(planned["decided_by"], decided_by);
    let one_each: Vec<_> = addresses(stack).iter().map(|a| json!([a])).collect();
    assert_eq!(planned["batches"], json!(one_each));
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), names(stack, &[0, 1, 2]), "each was drained once, in order");
    assert_eq!(seen.trace.most_out(), 1, "never more than one member out");
    stack.assert_serves(&[revision; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
    assert_finished(stack, &events, "deployed", planned["release"].as_str());
    // Each is back, and proven, before the next is touched.
    let done = |step: &str, server: &str| position(&events, "step_finished", step, server);
    for pair in addresses(stack).windows(2) {
        assert!(done("check", &pair[0]) < done("restore", &pair[0]), "{} is proven before it is back", pair[0]);
        let next = position(&events, "step_started", "drain", &pair[1]);
        assert!(done("restore", &pair[0]) < next, "{} is back before {} is drained", pair[0], pair[1]);
    }
    // Migrations ran once, on the first server, before any other server switched.
    let logs: Vec<_> = stack.servers.iter().map(|h| migrations_on(stack, h)).collect();
    assert_eq!(logs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0], "migrations, server by server");
    for h in &stack.servers[1..] {
        let switched: f64 = h.sh(&format!("stat -c %.Z {}/current", stack.deploy_to)).trim().parse().unwrap();
        assert!(logs[0][0] < switched, "{} switched before the migrations had run", h.name);
    }
}

fn rolling_two_at_a_time() {
    let stack = Stack::new(App::Unicorn).balanced();
    stack.commit(&[]);
    stack.deploy_first();
    let second = stack.commit(&[]);
    let seen = under_load(&stack, &["--json", "deploy", "--rolling=2"]);
    let events = seen.ran.expect(0).events();
    let servers = addresses(&stack);
    assert_eq!(events[0]["strategy"], "rolling");
    assert_eq!(events[0]["batches"], json!([servers[..2], servers[2..]]));
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.most_out(), 2, "two at a time");
    stack.assert_serves(&[&second; 3]);
    stack.assert_all_in_balancer();
}

fn rollback(flags: &[&str], taken_out: &[&str]) {
    let stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    let good = stack.current(stack.servers[0]);
    let second = stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&second; 3]);
    stack.balancer().wait_until_all_up();

    let seen = under_load(&stack, &[&["--json", "rollback"], flags].concat());
    let events = seen.ran.expect(0).events();
    assert_eq!(events[0]["release"].as_str(), good.as_deref());
    assert_eq!(events[0]["strategy"], if flags.is_empty() { "parallel" } else { "serial" });
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), taken_out);
    stack.assert_serves(&[&first; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}

fn template_file_and_flag_decide() {
    let decided = |stack: &Stack, flags: &[&str]| {
        let events = stack.pitcrew(&[&["--json", "deploy", "--dry-run"], flags].concat()).run().expect(0).stdout;
        let planned: Value = serde_json::from_str(&events).expect("one event");
        (planned["strategy"].as_str().unwrap().to_owned(), planned["decided_by"].as_str().unwrap().to_owned())
    };
    let is = |strategy: &str, by: &str| (strategy.to_owned(), by.to_owned());
    let stack = Stack::new(App::Static);
    stack.commit(&[]);
    assert_eq!(decided(&stack, &[]), is("parallel", "template"));
    assert_eq!(decided(&stack, &["--serial"]), is("serial", "flag"));
    assert_eq!(decided(&stack, &["--rolling=50%"]), is("rolling", "flag"));
    let stack = stack.app("strategy = \"serial\"");
    assert_eq!(decided(&stack, &[]), is("serial", "file"));
    assert_eq!(decided(&stack, &["--parallel"]), is("parallel", "flag"));
}

/// A stack under Apache with Passenger.
pub fn passenger() -> Stack {
    Stack::new(App::Passenger).balanced()
}

/// Apaches that end with the case.
pub struct Apaches(Vec<&'static Host>);

/// Starts Apache as root on each of the stack's servers. One that crashes while it starts is none of a case's concern: it is
/// started again.
pub fn start_apache(stack: &Stack) -> Apaches {
    start_apache_at(stack, &stack.deploy_to)
}

/// The same, where Apache knows the stack's directory by this path.
pub fn start_apache_at(stack: &Stack, root: &str) -> Apaches {
    let second = std::time::Duration::from_secs(1);
    for h in &stack.servers {
        std::fs::write(h.seen("/run/apache-app.conf"), include_str!("../../fleet/app/apache.conf")).unwrap();
        let start = format!(
            "pgrep -x apache2 >/dev/null || APP_ROOT={root} APP_PORT={} apache2 -f /run/apache-app.conf -k start || :",
            stack.port
        );
        let listens = || std::net::TcpStream::connect((h.addr.as_str(), stack.port)).is_ok();
        fleet::wait_for("Apache to listen", second * 60, || {
            h.root_sh(&start);
            let up = listens();
            std::thread::sleep(second);
            up && listens()
        });
    }
    Apaches(stack.servers.clone())
}

impl Drop for Apaches {
    fn drop(&mut self) {
        for h in &self.0 {
            h.root_sh("kill $(cat /run/apache-app.pid)");
            fleet::wait_for("Passenger to end", std::time::Duration::from_secs(20), || !h.runs("PassengerAgent"));
        }
    }
}

/// Held by a case that uses Apache.
pub fn apache_alone() -> std::sync::MutexGuard<'static, ()> {
    APACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The servers as events name them.
pub fn addresses(stack: &Stack) -> Vec<String> {
    stack.servers.iter().map(|h| h.address()).collect()
}

/// `[migrate]` that leaves the time in the shared directory of the server it ran on.
fn migrations() -> String {
    "[migrate]\nrun = \"date +%s.%N >> \\\"$APP_ROOT/shared/migrations.log\\\"\"\n".into()
}

/// When migrations ran on a server.
fn migrations_on(stack: &Stack, host: &Host) -> Vec<f64> {
    let log = std::fs::read_to_string(stack.seen(host, "shared/migrations.log")).unwrap_or_default();
    log.lines().map(|line| line.parse().expect("a time")).collect()
}

/// Servers of the planned steps of that name.
fn steps(planned: &Value, step: &str) -> Vec<String> {
    let all = planned["steps"].as_array().expect("`steps` is a list");
    let of = |s: &&Value| s["step"] == step;
    all.iter().filter(of).map(|s| s["server"].as_str().expect("`server` is a name").to_owned()).collect()
}

/// Where in the stream a step's event is.
#[track_caller]
fn position(events: &[Value], event: &str, step: &str, server: &str) -> usize {
    let found = events.iter().position(|e| e["event"] == event && e["step"] == step && e["server"] == server);
    found.unwrap_or_else(|| panic!("no {event} of {step} on {server}"))
}

/// No server starts `step` before every server has finished those before it.
#[track_caller]
fn assert_barrier(events: &[Value], step: &str, before: &[&str]) {
    let first = events.iter().position(|e| e["event"] == "step_started" && e["step"] == step);
    let first = first.unwrap_or_else(|| panic!("no {step} was started"));
    let late = events[first..]
        .iter()
        .find(|e| e["event"] == "step_finished" && e["step"].as_str().is_some_and(|s| before.contains(&s)));
    assert!(late.is_none(), "a server began {step} before this: {late:?}");
}

/// The last event tells of each server what the server itself tells.
#[track_caller]
pub fn assert_finished(stack: &Stack, events: &[Value], outcome: &str, release: Option<&str>) {
    let finished = &events[events.len() - 1];
    assert_eq!(finished["outcome"], outcome);
    let servers = finished["servers"].as_array().expect("`servers` is a list");
    let mut said: Vec<_> = servers.iter().map(|s| (s["server"].as_str(), s["release"].as_str())).collect();
    said.sort();
    let addresses = addresses(stack);
    let mut expected: Vec<_> = addresses.iter().map(|a| (Some(a.as_str()), release)).collect();
    expected.sort();
    assert_eq!(said, expected, "servers in `finished`");
}
