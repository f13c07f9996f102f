//! Servers that fetch for themselves: with the operator's agent lent, onto full disks, and interrupted.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};

use super::disks::{FILL, FILL_INODES};
use super::{ROOT, Row};
use crate::fleet::{self, BALANCER, Host, fleet, host};
use crate::hosts::Web;
use crate::pitcrew::{Pitcrew, Ran};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("source::git_with_a_lent_agent", ROOT, git_with_a_lent_agent),
    ("source::an_agent_that_does_not_help_is_told", ROOT, an_agent_that_does_not_help_is_told),
    ("source::git_on_full_disks", ROOT, git_on_full_disks),
    ("source::archives_on_full_disks", ROOT, archives_on_full_disks),
    ("source::int_while_fetching", ROOT, || int_while(Way::Git)),
    ("source::int_while_downloading", ROOT, || int_while(Way::Archive)),
    ("source::connection_lost_while_fetching", ROOT, connection_lost_while_fetching),
];

/// An agent of the operator's; ends with the value.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// One that alone holds a new key; and the line of authorized_keys for it.
    fn start(stack: &Stack, name: &str) -> (Self, String) {
        let (key, socket) = (stack.dir().join(name), stack.dir().join(format!("{name}.agent")));
        fleet::output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&key));
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { child, socket };
        fleet::wait_for("the agent", Duration::from_secs(10), || agent.socket.exists());
        fleet::output(Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &agent.socket));
        // From now on the agent is the only one that has it.
        std::fs::remove_file(&key).unwrap();
        (agent, std::fs::read_to_string(key.with_extension("pub")).unwrap())
    }
}

/// A stack whose servers fetch over ssh from a git host that knows one key; and that host's line of known_hosts.
fn over_ssh(authorized: &str, stack: Stack) -> (Stack, &'static Host, String) {
    let git = host(BALANCER);
    let (port, keys) = (stack.port + 20_000, format!("/etc/git-{}", stack.port));
    std::fs::write(git.seen(&keys), authorized).unwrap();
    let door = git.own_sshd(port, "", &format!("AuthorizedKeysFile {keys}\nStrictModes no\nAllowUsers deploy"));
    let known = std::fs::read_to_string(fleet().dir.join("known_hosts")).unwrap();
    let key = known.lines().find_map(|l| l.strip_prefix(&format!("{} ", git.addr))).unwrap();
    let line = format!("{} {key}", door.known_as());
    std::fs::write(stack.dir().join("git_hosts"), format!("{line}\n")).unwrap();
    (stack, door, line)
}

/// `[source]` of such a stack.
fn source(stack: &Stack, git: &Host, line: &str, reference: &str) -> String {
    format!(
        "kind = \"git\"\nrepo = \"ssh://deploy@{}:{}/srv/git-{}.git\"\nref = \"{reference}\"\nhost_keys = [\"{line}\"]",
        git.addr, git.port, stack.port
    )
}

/// The operator's own ssh, which asks once what a ref means, knows the git host too.
fn operator(stack: &Stack, args: &[&str], agent: Option<&Agent>) -> Pitcrew {
    let known = stack.dir().join("git_hosts");
    let ssh = format!("ssh -F none -o UserKnownHostsFile={}", known.display());
    let run = stack.pitcrew(args).env("GIT_SSH_COMMAND", &ssh);
    match agent {
        Some(agent) => run.env("SSH_AUTH_SOCK", &agent.socket.display().to_string()),
        None => run,
    }
}

const LENT: &str = "identity_file = \"DIR/id_ed25519\"\nknown_hosts = \"DIR/known_hosts\"\n";

fn lending(stack: Stack, keys: &str) -> Stack {
    let dir = fleet().dir.display().to_string();
    stack.ssh(&format!("{}{keys}", LENT.replace("DIR", &dir)))
}

fn git_with_a_lent_agent() {
    let stack = lending(Stack::new(App::Static), "forward_agent = true");
    let (agent, public) = Agent::start(&stack, "lent");
    let (stack, git, line) = over_ssh(&public, stack);
    let sha = stack.commit(&[]);
    stack.publish_on(&[git], &format!("/srv/git-{}.git", stack.port));
    // A build sees whether an agent is lent to it: only the fetch needs one.
    let build = "[build]\nrun = [\"ssh-add -l >agent 2>&1 || :\"]";
    let source_of = source(&stack, git, &line, "main");
    let stack = stack.source(&source_of).tables(build);
    let ran = operator(&stack, &["deploy"], Some(&agent)).run().expect(0);
    assert_eq!(stack.revisions(), [&sha[..]; 3]);
    for server in &stack.servers {
        let seen = std::fs::read_to_string(stack.seen(server, "current/agent")).unwrap();
        assert!(!seen.contains("ED25519"), "{}: {seen}", server.name);
    }
    assert!(!ran.printed().contains("warning") && !ran.printed().contains("notice: the agent"), "{}", ran.printed());
    stack.assert_no_lock();
}

fn an_agent_that_does_not_help_is_told() {
    let stack = Stack::new(App::Static);
    let (agent, public) = Agent::start(&stack, "good");
    let (useless, _) = Agent::start(&stack, "useless");
    let (stack, git, line) = over_ssh(&public, stack);
    let first = stack.commit(&[]);
    stack.publish_on(&[git], &format!("/srv/git-{}.git", stack.port));
    let source_of = source(&stack, git, &line, &first);
    let stack = stack.source(&source_of).tables("[build]\nrun = [\"printf %s \\\"${SSH_AUTH_SOCK-none}\\\" >agent\"]");
    let refused = |stack: &Stack, agent: Option<&Agent>, says: &[&str]| {
        let ran = operator(stack, &["deploy"], agent).run().expect(1);
        for text in says.iter().chain(&["deploy_key", "forward_agent = true"]) {
            assert!(ran.printed().contains(text), "{text} is said");
        }
        stack.assert_no_lock();
        assert!(stack.servers.iter().all(|h| stack.current(h).is_none()), "nothing was switched");
    };
    // Not asked for: nothing is lent, although there is an agent that would do.
    let stack = lending(stack, "");
    refused(&stack, Some(&agent), &["no deploy_key is set and no agent is lent"]);
    let stack = lending(stack.ssh_anew(), "forward_agent = true");
    refused(&stack, Some(&useless), &["it accepts no key of the agent", "useless (ED25519)"]);
    refused(&stack, None, &["none runs here (SSH_AUTH_SOCK is not set)", "no agent was lent to the server"]);
    // A server that does not let itself be lent one.
    let stack = stack.ssh_anew().through_own_sshd(1, "", "AllowAgentForwarding no");
    let stack = stack.ssh("forward_agent = true");
    refused(&stack, Some(&agent), &["AllowAgentForwarding", &stack.servers[1].addr]);
    // A key on the servers does without, and nothing is lent when that is not asked for.
    let stack = lending(stack.ssh_anew(), "");
    for server in &stack.servers {
        let (name, key) = (format!("/home/deploy/key-{}", stack.port), fleet().dir.join("id_ed25519"));
        std::fs::copy(key, server.seen(&name)).unwrap();
        server.root_sh(&format!("chown 1500:1500 {name}; chmod 600 {name}"));
    }
    let fleets = std::fs::read_to_string(fleet().dir.join("id_ed25519.pub")).unwrap();
    std::fs::write(git.seen(&format!("/etc/git-{}", stack.port)), fleets).unwrap();
    let keyed = format!("{source_of}\ndeploy_key = \"~/key-{}\"", stack.port);
    let stack = stack.source(&keyed);
    operator(&stack, &["deploy"], Some(&agent)).run().expect(0);
    for server in &stack.servers {
        let seen = std::fs::read_to_string(stack.seen(server, "current/agent")).unwrap();
        assert_eq!(seen, "none", "{}", server.name);
    }
}

/// Bytes that do not compress, as text.
fn noise(kilobytes: usize, seed: &str) -> String {
    let mut block = Sha256::digest(seed);
    let mut text = String::new();
    while text.len() < kilobytes * 1024 {
        block = Sha256::digest(block);
        text.extend(block.iter().map(|b| char::from(b'0' + b % 64)));
    }
    text
}

#[track_caller]
fn assert_as_before(stack: &Stack, first: &str) {
    assert_eq!(stack.revisions(), [first; 3]);
    stack.assert_no_lock();
    for server in &stack.servers {
        let stray = server.sh(&format!(
            "cd {} && ls -d .pitcrew/incoming* .pitcrew/archive* .pitcrew/trash* repo/objects/pack/tmp_* 2>/dev/null || :",
            stack.deploy_to
        ));
        assert_eq!(stray, "", "{} keeps nothing half done", server.name);
    }
}

/// It names the server, the mount point and what there is.
#[track_caller]
fn assert_says(stack: &Stack, ran: &Ran, more: &[&str]) {
    let printed = ran.printed();
    for text in more.iter().chain(&["no room left", &stack.servers[1].address(), &stack.deploy_to]) {
        assert!(printed.contains(text), "{text} is said");
    }
}

fn git_on_full_disks() {
    let stack = Stack::new(App::Static).on_disks("size=4m,nr_inodes=400");
    let repo = format!("/srv/git-{}.git", stack.port);
    let deploy =
        |stack: Stack, sha: &str| stack.source(&format!("kind = \"git\"\nrepo = \"file://{repo}\"\nref = \"{sha}\""));
    let first = stack.commit(&[("big", &noise(300, "first"))]);
    stack.publish(&repo);
    let stack = deploy(stack, &first);
    stack.pitcrew(&["deploy"]).run().expect(0);
    let second = stack.servers[1];
    let mirror = |stack: &Stack| {
        let told = stack.servers[1].sh(&format!(
            "git -C {}/repo fsck --connectivity-only 2>&1; git -C {0}/repo cat-file -t {first}",
            stack.deploy_to
        ));
        assert!(told.ends_with("commit\n"), "the mirror is whole: {told}");
    };

    // It comes into the mirror, and its files have no room beside it: known before one of them is written.
    let large = stack.commit(&[("big", &noise(1500, "second"))]);
    stack.publish(&repo);
    let stack = deploy(stack, &large);
    second.sh(&format!("cd {} && head -c 500000 /dev/zero >ballast", stack.deploy_to));
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&stack, &ran, &["twice the release", "KB are needed", "KB are free on"]);
    assert_as_before(&stack, &first);
    mirror(&stack);

    // The disk is full before it is even in the mirror; then there is no inode.
    let small = stack.commit(&[("small", &noise(600, "third")), ("big", "")]);
    stack.publish(&repo);
    let stack = deploy(stack, &small);
    // Enough is left for the lock and what it notes, and for nothing else.
    for fill in [format!("{FILL}; truncate -s -60K ballast"), format!("{FILL_INODES}; rm -f inode10*")] {
        second.sh(&format!("cd {} && rm -f ballast* inode*; {fill}", stack.deploy_to));
        let ran = stack.pitcrew(&["deploy"]).run().expect(1);
        assert_says(&stack, &ran, &[]);
        assert!(!ran.printed().contains("cloned anew"), "the mirror is not to blame");
        assert_as_before(&stack, &first);
        mirror(&stack);
    }
    second.sh(&format!("cd {} && rm -f ballast* inode*", stack.deploy_to));
    let ran = stack.pitcrew(&["deploy"]).run().expect(0);
    assert!(!ran.printed().contains("cloned anew"));
    assert_eq!(stack.revisions(), [&small[..]; 3]);
}

/// A web server that every server of the fleet reaches, what lies in it, and its address.
fn web(stack: &Stack) -> (Web, PathBuf, String) {
    let files = stack.dir().join("web");
    std::fs::create_dir_all(&files).unwrap();
    let web = Web::start_at("10.77.0.1", &files, None);
    let at = format!("http://10.77.0.1:{}", web.port);
    (web, files, at)
}

/// Packs these files, gzipped, and puts them there under their checksum.
fn pack(files: &std::path::Path, contents: &[(&str, &str)]) -> String {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text) in contents {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(files.join(format!("{sum}.tgz")), bytes).unwrap();
    sum
}

fn downloaded(stack: Stack, at: &str, sum: &str) -> Stack {
    stack.source(&format!("kind = \"archive\"\nurl = \"{at}/{{sha256}}.tgz\"\nsha256 = \"{sum}\"\nfetch = \"servers\""))
}

fn archives_on_full_disks() {
    let stack = Stack::new(App::Static).on_disks("size=2m,nr_inodes=150");
    let (web, files, at) = web(&stack);
    let sum = pack(&files, &[("VERSION", "1")]);
    let stack = downloaded(stack, &at, &sum);
    stack.pitcrew(&["deploy"]).run().expect(0);
    let first = sum[..40].to_owned();
    let second = stack.servers[1];

    // Longer than there is room for: not one byte of it is kept, and it is not even read to its end.
    let large = pack(&files, &[("big", &noise(1800, "large"))]);
    let stack = downloaded(stack, &at, &large);
    second.sh(&format!("cd {} && head -c 900000 /dev/zero >ballast", stack.deploy_to));
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&stack, &ran, &["the archive is larger than the", "KB that are free on"]);
    assert_as_before(&stack, &first);

    // The same from a server that does not say how long it is: the disk runs full, and is named.
    let unsaid =
        format!("kind = \"archive\"\nurl = \"{at}/{large}.tgz?unsaid\"\nsha256 = \"{large}\"\nfetch = \"servers\"");
    let stack = stack.source(&unsaid);
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&stack, &ran, &["No space left", ": 0 KB and"]);
    assert_as_before(&stack, &first);

    // It fits, and what comes out of it does not.
    second.sh(&format!("cd {} && rm ballast", stack.deploy_to));
    let wide = pack(&files, &[("zeros", &"0".repeat(1_500_000))]);
    let stack = downloaded(stack, &at, &wide);
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&stack, &ran, &["KB are needed (for what is in the archive, and for the build)"]);
    assert_as_before(&stack, &first);

    // Nobody knew: inodes run out while it is unpacked.
    let names: Vec<String> = (0..200).map(|n| format!("lib/{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "")).collect();
    let stack = downloaded(stack, &at, &pack(&files, &many));
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&stack, &ran, &["0 inodes"]);
    assert_as_before(&stack, &first);

    // What runs takes more than is free: said before anything is begun.
    let stack = downloaded(stack, &at, &pack(&files, &[("big", &noise(500, "fits"))]));
    stack.pitcrew(&["deploy"]).run().expect(0);
    let stack = downloaded(stack, &at, &pack(&files, &[("VERSION", "5")]));
    second.sh(&format!("cd {} && head -c 1200000 /dev/zero >ballast", stack.deploy_to));
    let ran = stack.pitcrew(&["deploy", "--dry-run"]).run().expect(0);
    assert!(ran.printed().contains("the next may not fit"), "the plan warns");
    stack.pitcrew(&["deploy"]).run().expect(0);
    assert!(!web.asked().is_empty());
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Git,
    Archive,
}

/// A stack whose servers are in the middle of fetching a second release from a host that says no more.
fn in_the_middle(way: Way, stack: Stack) -> (Stack, Web, String, crate::pitcrew::Running) {
    let (web, files, at) = web(&stack);
    let stack = match way {
        Way::Git => {
            let publish = |stack: Stack| {
                let sha = stack.commit(&[("big", &noise(200, &stack.port.to_string()))]);
                stack.bare(&files.join("shop.git"));
                (stack.source(&format!("kind = \"git\"\nrepo = \"{at}/shop.git\"\nref = \"{sha}\"")), sha)
            };
            let (stack, _) = publish(stack);
            stack.pitcrew(&["deploy"]).run().expect(0);
            publish(stack).0
        }
        Way::Archive => {
            let stack = downloaded(stack, &at, &pack(&files, &[("VERSION", "1")]));
            stack.pitcrew(&["deploy"]).run().expect(0);
            downloaded(stack, &at, &pack(&files, &[("big", &noise(400, "2"))]))
        }
    };
    let first = stack.revisions()[0].clone();
    // What this machine asks is answered before: the gate stands between that and the servers' turn.
    let stack = stack.gate("before prepare");
    stack.close_gate(stack.servers[0]);
    let running = stack.pitcrew(&["--json", "deploy"]).start();
    stack.wait_at_gate(stack.servers[0]);
    web.slow.set(true);
    stack.open_gate(stack.servers[0]);
    fleet::wait_for("the servers to be in the middle", Duration::from_secs(60), || web.slow.held() == 3);
    (stack, web, first, running)
}

/// Servers where git is at work in this stack's mirror: other cases fetch on them at the same time.
fn fetching(stack: &Stack) -> Vec<&str> {
    let at_work = |h: &&&'static Host| h.runs(&format!("git-dir={}/repo", stack.deploy_to));
    stack.servers.iter().filter(at_work).map(|h| h.name.as_str()).collect()
}

/// Process groups are ended, nothing half done stays, and the next run goes on with what is there.
fn int_while(way: Way) {
    let (stack, web, first, running) = in_the_middle(way, Stack::new(App::Static));
    running.signal(Signal::SIGINT);
    let ran = running.wait().expect(130);
    assert_eq!(ran.outcome(), "interrupted");
    fleet::wait_for("nobody to wait for an answer", Duration::from_secs(10), || web.slow.held() == 0);
    assert_as_before(&stack, &first);
    for server in &stack.servers {
        assert_eq!(stack.releases(server).len(), 1, "{}", server.name);
    }
    web.slow.set(false);
    let ran = stack.pitcrew(&["deploy"]).run().expect(0);
    assert!(!ran.printed().contains("cloned anew"));
    assert!(stack.revisions().iter().all(|r| *r != first));
}

/// The sshd of one server dies with its sessions in the middle; the step goes on there, and its end is what counts.
fn connection_lost_while_fetching() {
    let stack = Stack::new(App::Static).through_own_sshd(1, "", "");
    let (stack, web, first, running) = in_the_middle(Way::Git, stack);
    let second = stack.servers[1];
    assert_eq!(fetching(&stack).len(), 3, "git is found where it is at work");
    second.kill_own_sshd();
    second.start_own_sshd();
    web.slow.set(false);
    let ran = running.wait().expect(0);
    assert_eq!(ran.outcome(), "deployed");
    assert!(ran.stdout.contains("\"warning\":\"lost\""), "the connection was lost");
    assert!(stack.revisions().iter().all(|r| *r != first));
    stack.assert_no_lock();
    assert!(fetching(&stack).is_empty());
}
