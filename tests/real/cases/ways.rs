//! Ways to HAProxy other than its socket through a channel: with sudo where the socket is root's, as Debian leaves it, and
//! through a Data Plane API.

use super::{Row, UNICORN, names, under_load};
use crate::dataplane::{Api, PASSWORD, Release, USER};
use crate::fleet::{self, Need};
use crate::stack::{App, Stack};

const SUDO: &[Need] = &[
    Need::Root,
    Need::Tool("git"),
    Need::Tool("haproxy"),
    Need::Tool("unicorn"),
    Need::Tool("sudo"),
    Need::Tool("socat"),
];

pub const CASES: &[Row] = &[
    ("balancer::a_socket_of_roots_is_opened_with_sudo", SUDO, roots_socket),
    ("balancer::serial_through_a_data_plane_api", UNICORN, through_an_api),
];

fn roots_socket() {
    let stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.assert_serves(&[&first; 3]);
    let host = fleet::host(fleet::BALANCER);
    let socket = format!("/run/{}.sock", stack.name);
    host.root_sh(&format!("chown root:root {socket} && chmod 660 {socket}"));
    // As any server's file has it; without it sudo looks for the name on a network that is not there.
    host.root_sh("grep -q host4 /etc/hosts || echo 127.0.1.1 host4 >>/etc/hosts");
    host.root_sh("chown root:root /etc/sudoers && mkdir -p /etc/sudoers.d");

    // Without being asked for it, nothing is done as somebody else.
    let refused = stack.pitcrew(&["check"]).run();
    let printed = refused.printed();
    assert!(matches!(refused.code, Some(1..=5)), "{:?}", refused.code);
    assert!(printed.contains("it may not write to it (srw-rw---- root root)"), "what is wrong is told: {printed}");
    assert!(printed.contains("via = \"sudo\""), "and what to do");

    // Asked for, and not allowed: nothing is waited for, and the line that would allow it is there to be copied.
    let stack = stack.balancer_keys("via = \"sudo\"");
    let refused = stack.pitcrew(&["deploy", "--serial"]).run();
    let printed = refused.printed();
    assert_eq!(refused.code, Some(5), "the balancer could not be reached, and nothing was changed");
    assert!(printed.contains("sudo on "), "who refused is told: {printed}");
    let rule = printed.split('`').find(|text| text.contains("NOPASSWD")).expect("the line of sudoers is told");
    stack.assert_serves(&[&first; 3]);

    // Just that line, and no more.
    let file = format!("/etc/sudoers.d/{}", stack.name);
    std::fs::write(host.seen(&file), format!("{rule}\n")).expect("the server's sudoers can be written");
    host.root_sh(&format!("chmod 440 {file} && visudo -c -q -f {file}"));
    host.sh("! sudo -n id");
    let second = stack.commit(&[]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial"]);
    seen.ran.expect(0).events();
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), names(&stack, &[0, 1, 2]), "each was drained once, in order");
    stack.assert_serves(&[&second; 3]);
    stack.assert_all_in_balancer();
}

/// Deploys, fails and rolls back with nothing but the API between pitcrew and HAProxy.
fn through_an_api() {
    let mut stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    let socket = fleet::host(fleet::BALANCER).seen(&format!("/run/{}.sock", stack.name));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let api = runtime.block_on(Api::start(socket, Release::V3_4, None));
    std::fs::write(stack.dir().join("password"), PASSWORD).expect("a file of the case's own");
    let balancer = stack.balancer.as_mut().expect("a balanced stack");
    balancer.at = format!("http://127.0.0.1:{}", api.port);
    let stack = stack
        .balancer_keys(&format!("user = \"{USER}\"\npassword = \"LB_PASSWORD\""))
        .tables("[secrets]\nLB_PASSWORD = { file = \"password\" }");
    stack.pitcrew(&["check"]).run().expect(0);

    let second = stack.commit(&[]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial"]);
    let ran = seen.ran.expect(0);
    assert!(!ran.printed().contains(PASSWORD), "the password is shown nowhere");
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), names(&stack, &[0, 1, 2]), "each was drained once, in order");
    assert_eq!(seen.trace.most_out(), 1, "never more than one member out");
    stack.assert_serves(&[&second; 3]);
    stack.assert_all_in_balancer();

    // What never answers its health check goes back to where it was, and into the balancer, by way of the API too.
    stack.commit(&[("config.ru", "run ->(_) { [500, {}, []] }\n")]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial"]);
    seen.ran.expect(1);
    seen.load.assert_none_failed();
    stack.assert_serves(&[&second; 3]);
    stack.assert_all_in_balancer();
    stack.pitcrew(&["rollback", "--serial"]).run().expect(0);
    stack.assert_serves(&[&first; 3]);
    stack.assert_all_in_balancer();
    drop(api);
}
