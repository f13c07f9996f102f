//! Passenger that knows the application by another path than `current`: through a link above it, and through one that stays.

use super::strategies::{apache_alone, start_apache_at};
use super::{PASSENGER, Row, under_load};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("passenger::known_through_a_link_above", PASSENGER, known_through_a_link_above),
    ("passenger::pinned_to_one_release", PASSENGER, pinned_to_one_release),
];

fn stack() -> Stack {
    Stack::on(App::Passenger, &[1, 2]).balanced()
}

/// `PassengerAppRoot /var/apps/NAME/current`, where /var/apps is a link to /srv.
fn known_through_a_link_above() {
    let _alone = apache_alone();
    let stack = stack();
    for host in &stack.servers {
        host.root_sh("ln -sfn /srv /var/apps");
    }
    let first = stack.commit(&[]);
    let _apache = start_apache_at(&stack, &format!("/var/apps/{}", stack.name));
    stack.deploy_first();
    stack.assert_serves(&[&first; 2]);

    let second = stack.commit(&[]);
    let seen = under_load(&stack, &["deploy"]);
    seen.ran.expect(0);
    seen.load.assert_none_failed();
    stack.assert_serves(&[&second; 2]);
    stack.pitcrew(&["status"]).run().expect(0);
}

/// A link of the virtual host's own that nothing moves: the first release would serve for ever.
fn pinned_to_one_release() {
    let _alone = apache_alone();
    let stack = stack();
    let first = stack.commit(&[]);
    let pinned = format!("/srv/pinned/{}", stack.name);
    for host in &stack.servers {
        host.root_sh(&format!("mkdir -p {pinned} && ln -sfn {}/current {pinned}/current", stack.deploy_to));
    }
    let _apache = start_apache_at(&stack, &pinned);
    stack.deploy_first();
    stack.assert_serves(&[&first; 2]);
    for host in &stack.servers {
        host.root_sh(&format!("ln -sfn $(readlink -f {}/current) {pinned}/current", stack.deploy_to));
    }

    stack.commit(&[]);
    let seen = under_load(&stack, &["deploy"]);
    let said = seen.ran.expect(1).printed();
    assert!(said.contains("no process of the application is found"), "{said}");
    seen.load.assert_none_failed();
    stack.assert_serves(&[&first; 2]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}
