//! Servers that Capistrano deployed to, by Debian's own `cap`: taken over, pruned, rolled back, and given back.

use std::fmt::Write as _;
use std::process::Command;

use super::{CAPISTRANO, Row};
use crate::fleet::{self, fleet};
use crate::stack::{App, Stack};
use crate::transcript;

pub const CASES: &[Row] =
    &[("capistrano::deployed_pruned_and_rolled_back", CAPISTRANO, deployed_pruned_and_rolled_back)];

/// Capistrano beside the stack's own configuration.
struct Cap<'a>(&'a Stack);

impl<'a> Cap<'a> {
    fn new(stack: &'a Stack) -> Self {
        let dir = stack.dir().join("cap");
        std::fs::create_dir_all(dir.join("config/deploy")).unwrap();
        let capfile = "require 'capistrano/setup'\nrequire 'capistrano/deploy'\nrequire 'capistrano/scm/git'\n\
                       install_plugin Capistrano::SCM::Git\n";
        std::fs::write(dir.join("Capfile"), capfile).unwrap();
        let deploy = format!(
            "set :application, 'shop'\nset :repo_url, '{}'\nset :branch, 'main'\nset :deploy_to, '{}'\nset :format, :pretty\n\
             set :keep_releases, 5\nset :linked_dirs, ['log']\nset :linked_files, ['config.env']\nset :tmp_dir, '/tmp'\n",
            repository(stack),
            stack.deploy_to
        );
        std::fs::write(dir.join("config/deploy.rb"), deploy).unwrap();
        let mut stage = String::new();
        for host in &stack.servers {
            let _ = writeln!(
                stage,
                "server '{}', user: '{}', port: {}, roles: %w{{app}}",
                host.addr,
                fleet().user,
                host.port
            );
        }
        let _ = writeln!(
            stage,
            "set :ssh_options, keys: ['{0}/id_ed25519'], keys_only: true, config: false, auth_methods: %w(publickey),\n  \
             user_known_hosts_file: ['{0}/known_hosts'], verify_host_key: :always",
            fleet().dir.display()
        );
        std::fs::write(dir.join("config/deploy/production.rb"), stage).unwrap();
        Self(stack)
    }

    /// `cap production TASK`.
    fn run(&self, task: &str) {
        let dir = self.0.dir().join("cap");
        let mut cap = Command::new("cap");
        cap.args(["production", task])
            .current_dir(&dir)
            .env("HOME", self.0.dir().join("home"))
            .env("LC_ALL", "C.UTF-8");
        let said = fleet::output(&mut cap);
        transcript::note(format!("--- cap production {task}\n{said}"));
    }
}

/// Where every server finds the commits.
fn repository(stack: &Stack) -> String {
    format!("/srv/git-{}.git", stack.port)
}

/// Commits, and puts the repository on every server.
fn commit(stack: &Stack, version: &str) -> String {
    let sha = stack.commit(&[("VERSION", version)]);
    stack.publish(&repository(stack));
    sha
}

fn deployed_pruned_and_rolled_back() {
    let stack = Stack::on(App::Static, &fleet::APART).app("keep_releases = 3");
    let shared = "[shared]\ndirs = [\"log\"]\nfiles = [\"config.env\"]";
    let stack = stack.tables(shared);
    for host in &stack.servers {
        host.sh(&format!("mkdir -p {0}/shared && echo 1 >{0}/shared/config.env", stack.deploy_to));
    }
    let first = commit(&stack, "1");
    let cap = Cap::new(&stack);
    cap.run("deploy");
    let one = stack.releases(stack.servers[0]);
    let second = commit(&stack, "2");
    cap.run("deploy");
    assert_eq!(stack.revisions(), [&second[..]; 2]);
    let two: Vec<String> = stack.releases(stack.servers[0]).into_iter().filter(|r| !one.contains(r)).collect();
    let (one, two) = (&one[0], &two[0]);
    assert!(stack.servers.iter().all(|h| stack.releases(h) == [one.clone(), two.clone()]), "as Capistrano leaves it");

    // It is what it is: nothing is in the way, and the last revision is there already.
    stack.pitcrew(&["check"]).run().expect(0);
    let listed = stack.pitcrew(&["releases"]).run().expect(0);
    assert!(listed.stdout.contains(one) && listed.stdout.contains(two), "{}", listed.stdout);
    let before = stack.listing();
    stack.pitcrew(&["deploy", "--if-changed"]).run().expect(0);
    assert_eq!(stack.listing(), before, "nothing is deployed that is there");

    // Sent; then fetched into the very mirror that Capistrano made.
    let third = commit(&stack, "3");
    stack.pitcrew(&["deploy"]).run().expect(0);
    assert_eq!(stack.revisions(), [&third[..]; 2]);
    let fourth = commit(&stack, "4");
    let source = format!("kind = \"git\"\nrepo = \"{}\"\nref = \"{fourth}\"", repository(&stack));
    let git = |stack: Stack| stack.source(&source);
    let stack = git(stack);
    let ran = stack.pitcrew(&["deploy"]).run().expect(0);
    assert!(!ran.printed().contains("cloned anew"), "the mirror is good as it is");
    assert_eq!(stack.revisions(), [&fourth[..]; 2]);
    // Capistrano's oldest is pruned like any other: three good ones stay.
    for host in &stack.servers {
        let releases = stack.releases(host);
        assert_eq!(releases.len(), 3, "{releases:?}");
        assert!(!releases.contains(one) && releases.contains(two), "{releases:?}");
        assert!(host.sh(&format!("readlink {}/current/log", stack.deploy_to)).contains("shared/log"));
    }
    // Back to the release that Capistrano made, by name.
    stack.pitcrew(&["rollback", two]).run().expect(0);
    assert_eq!(stack.revisions(), [&second[..]; 2]);
    for host in &stack.servers {
        assert_eq!(stack.current(host).as_deref(), Some(&two[..]));
        assert_eq!(host.sh(&format!("cat {}/current/VERSION", stack.deploy_to)).trim(), "2");
    }
    stack.assert_no_lock();
    // And Capistrano takes over again, with its mirror, its log and its own rollback.
    let cap = Cap::new(&stack);
    let fifth = commit(&stack, "5");
    cap.run("deploy");
    assert_eq!(stack.revisions(), [&fifth[..]; 2]);
    cap.run("deploy:rollback");
    assert_eq!(stack.revisions(), [&fourth[..]; 2], "the newest before its own is pitcrew's");
    let log = stack.servers[0].sh(&format!("cat {}/revisions.log", stack.deploy_to));
    for word in ["Branch main", "deployed by tester", "rolled back to release"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    stack.pitcrew(&["check"]).run().expect(0);
    assert_ne!(first, second);
}
