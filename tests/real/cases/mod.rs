//! The cases, by what they are about.

mod by_hand;
mod capistrano;
mod disks;
mod failures;
mod faults;
mod hangs;
mod interrupts;
mod killed;
mod meddling;
mod oracles;
mod output;
mod passenger;
mod pushing;
mod reloads;
mod shells;
mod sources;
mod sticky;
mod strategies;
mod systemd;
mod tenfold;
mod ways;

use std::time::Duration;

use crate::balancer::Trace;
use crate::fleet::Need;
use crate::load::{Load, Tally};
use crate::pitcrew::Ran;
use crate::stack::Stack;

/// One test.
pub struct Case {
    /// Its name, for filters.
    pub name: &'static str,
    /// What it needs of the machine.
    pub needs: &'static [Need],
    /// It panics when it fails.
    pub run: fn(),
}

/// Files and sshd are enough.
const FILES: &[Need] = &[Need::Fleet, Need::Tool("git")];
/// Servers that are really separate, too.
const SEPARATE: &[Need] = &[Need::Fleet, Need::Tool("git"), Need::Namespaces];
/// Servers whose files and daemons a case may change as root.
const ROOT: &[Need] = &[Need::Root, Need::Tool("git")];
/// Separate servers that Capistrano deploys to.
const CAPISTRANO: &[Need] = &[Need::Root, Need::Tool("git"), Need::Tool("cap")];
/// The same, with Unicorn behind HAProxy.
const ROOT_UNICORN: &[Need] = &[Need::Root, Need::Tool("git"), Need::Tool("haproxy"), Need::Tool("unicorn")];
/// Unicorn behind HAProxy.
const UNICORN: &[Need] = &[Need::Namespaces, Need::Tool("git"), Need::Tool("haproxy"), Need::Tool("unicorn")];
/// Puma behind HAProxy.
const PUMA: &[Need] = &[Need::Namespaces, Need::Tool("git"), Need::Tool("haproxy"), Need::Tool("puma")];
/// Passenger in Apache behind HAProxy; Apache wants root.
const PASSENGER: &[Need] =
    &[Need::Root, Need::Tool("git"), Need::Tool("haproxy"), Need::Tool("apache2"), Need::Tool("passenger-config")];

/// Servers that systemd runs, and what it runs there.
const SYSTEMD: &[Need] = &[
    Need::Root,
    Need::Tool("git"),
    Need::Tool("node"),
    Need::Tool("puma"),
    Need::Tool("unicorn"),
    Need::Tool("gunicorn"),
    Need::Systemd,
];

/// All of them.
pub fn all() -> Vec<Case> {
    [
        // Those that wait the longest begin first.
        hangs::CASES,
        sticky::CASES,
        by_hand::CASES,
        oracles::CASES,
        systemd::CASES,
        reloads::CASES,
        passenger::CASES,
        tenfold::CASES,
        strategies::CASES,
        failures::CASES,
        killed::CASES,
        interrupts::CASES,
        faults::CASES,
        sources::CASES,
        capistrano::CASES,
        disks::CASES,
        pushing::CASES,
        meddling::CASES,
        shells::CASES,
        ways::CASES,
        output::CASES,
    ]
    .into_iter()
    .flatten()
    .map(|(name, needs, run)| Case { name, needs, run: *run })
    .collect()
}

/// A row of a list of cases.
type Row = (&'static str, &'static [Need], fn());

/// What was seen of a run under load.
struct Seen {
    ran: Ran,
    load: Tally,
    trace: Trace,
}

/// Runs pitcrew on a stack that is up, under steady load and before the balancer's witness.
fn under_load(stack: &Stack, args: &[&str]) -> Seen {
    let (load, watch) = (Load::start(&stack.balancer().authority()), stack.balancer().watch());
    std::thread::sleep(Duration::from_millis(500));
    let ran = stack.pitcrew(args).run();
    std::thread::sleep(Duration::from_millis(500));
    Seen { ran, load: load.stop(), trace: watch.stop() }
}

/// Names in the balancer of these servers of the stack, counted from 0.
fn names<'a>(stack: &'a Stack, servers: &[usize]) -> Vec<&'a str> {
    servers.iter().map(|i| stack.servers[*i].name.as_str()).collect()
}
