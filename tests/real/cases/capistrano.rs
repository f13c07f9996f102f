//! Servers that Capistrano deployed to, by Debian's own `cap`: taken over, pruned, rolled back, and given back.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{CAPISTRANO, Row};
use crate::fleet::{self, Host, fleet};
use crate::stack::{App, Stack};
use crate::transcript;

pub const CASES: &[Row] = &[
    ("capistrano::deployed_pruned_and_rolled_back", CAPISTRANO, deployed_pruned_and_rolled_back),
    ("capistrano::killed_half_way_there_and_back", CAPISTRANO, killed_half_way_there_and_back),
];

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
             set :keep_releases, 5\nset :linked_dirs, ['log']\nset :linked_files, ['config.env']\nset :tmp_dir, '/tmp'\n\
             task(:stall) {{ on(roles(:all)) {{ execute 'exec sleep 600' }} }}\n\
             after 'git:create_release', :stall if ENV['STALLS']\n",
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

    fn command(&self, task: &str) -> Command {
        let mut cap = Command::new("cap");
        cap.args(["production", task])
            .current_dir(self.0.dir().join("cap"))
            .env("HOME", self.0.dir().join("home"))
            .env("LC_ALL", "C.UTF-8");
        cap
    }

    /// `cap production TASK`.
    fn run(&self, task: &str) {
        let said = fleet::output(&mut self.command(task));
        transcript::note(format!("--- cap production {task}\n{said}"));
    }

    /// `cap production deploy`, killed when the release is there and not linked yet.
    ///
    /// Returns the release.
    fn killed(&self) -> String {
        let stack = self.0;
        let before = stack.releases(stack.servers[0]);
        let mut cap = self.command("deploy").env("STALLS", "yes").stdout(Stdio::null()).spawn().expect("cap starts");
        let new = |host: &Host| stack.releases(host).into_iter().find(|r| !before.contains(r));
        let unpacked = |host: &Host| {
            new(host).is_some_and(|r| stack.seen(host, &format!("releases/{r}/VERSION")).exists())
                && host.runs("sleep 600")
        };
        fleet::wait_for("the release on every server", Duration::from_secs(60), || {
            stack.servers.iter().all(|h| unpacked(h))
        });
        cap.kill().and_then(|()| cap.wait()).expect("cap dies");
        for host in &stack.servers {
            host.root_sh("pkill -f 'sleep [6]00' || :");
        }
        new(stack.servers[0]).expect("a release")
    }
}

/// What users of the stack see: `VERSION` and what they keep, by server.
fn served(stack: &Stack) -> Vec<String> {
    let read = |host: &&'static Host| {
        let shell = format!("cd {}/current && echo $(cat VERSION) $(cat config.env) $(ls log)", stack.deploy_to);
        host.sh(&shell).trim().to_owned()
    };
    stack.servers.iter().map(read).collect()
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

/// A release that Capistrano left unfinished is never served, neither by pitcrew nor after it.
fn killed_half_way_there_and_back() {
    let stack = Stack::on(App::Static, &fleet::APART).app("keep_releases = 4");
    let stack = stack.tables("[shared]\ndirs = [\"log\"]\nfiles = [\"config.env\"]");
    for host in &stack.servers {
        host.sh(&format!(
            "mkdir -p {0}/shared/log && cd {0}/shared && echo kept >config.env && : >log/old",
            stack.deploy_to
        ));
    }
    let serves = |version: &str| assert_eq!(served(&stack), vec![format!("{version} kept old"); 2]);
    let cap = Cap::new(&stack);
    for version in ["1", "2"] {
        commit(&stack, version);
        cap.run("deploy");
    }
    for round in 1..=2 {
        let number = |n: usize| format!("{}", round * 10 + n);
        let before = stack.current(stack.servers[0]).expect("Capistrano deployed");
        let stood = served(&stack)[0].clone();
        commit(&stack, &number(1));
        let unfinished = cap.killed();
        // It says what it found, and goes neither there nor over it.
        stack.pitcrew(&["check"]).run().expect(0);
        commit(&stack, &number(2));
        stack.pitcrew(&["deploy"]).run().expect(0);
        serves(&number(2));
        stack.pitcrew(&["rollback"]).run().expect(0);
        assert_eq!(served(&stack)[0], stood, "the newest finished one is returned to");
        assert!(stack.servers.iter().all(|h| stack.current(h).as_deref() == Some(&before[..])));
        let ran = stack.pitcrew(&["rollback", &unfinished]).run().expect(1);
        assert!(ran.printed().contains(&unfinished), "{}", ran.printed());
        assert_eq!(served(&stack)[0], stood);
        // Back to Capistrano, which finishes what it does.
        commit(&stack, &number(3));
        cap.run("deploy");
        serves(&number(3));
        for version in [number(4), number(5)] {
            commit(&stack, &version);
            stack.pitcrew(&["deploy"]).run().expect(0);
            serves(&version);
        }
        stack.assert_no_lock();
    }
    stack.pitcrew(&["rollback"]).run().expect(0);
    serves("24");
}
