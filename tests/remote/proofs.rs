//! What proves a release: every trace that a process has of another one, what was never touched, and what cannot be seen.
//!
//! The web server is a process of the test's own making: a template of three lines starts it as the test says.

use std::collections::BTreeMap;

use super::{A, B, LIMIT};
use crate::server;
use pitcrew::script::calls;
use pitcrew::web::Template;
use server::{Ran, Server, id, owner, run};

/// Starts what `serve` in the release says, beside the old process, which then ends.
const TEMPLATE: &str = r#"
name = "mine"
about = "a process of a test"
strategy = "parallel"
[scripts]
processes = 'cat "$root/pid" 2>/dev/null'
start = '. ./serve'
restart = '''
[ ! -e deny ] || { echo "kill: (7) - Operation not permitted" >&2; exit 1; }
old=$(cat "$root/pid")
. ./serve
while [ -e await ] && [ ! -e ready ]; do sleep 0.1; done
[ ! -e stay ] || exit 1
kill "$old"
'''
stop = 'kill "$(cat "$root/pid")"'
log = 'true'
"#;

struct Site {
    server: Server,
}

impl Site {
    fn new(shell: &'static str) -> Option<Self> {
        let mut server = Server::new(shell)?;
        server.web = Template::parse("mine", TEMPLATE).unwrap().fill(&BTreeMap::new());
        server.run(&calls::lock(&server.site(), &owner())).ok();
        Some(Self { server })
    }

    /// Makes a release whose server is started by this command, in the background.
    fn release(&self, id: &str, serve: &str) {
        self.server.release(id, Some(id));
        let serve = format!("other=$root/releases/{A}\n{serve} >/dev/null 2>&1 &\necho $! >\"$root/pid\"\n");
        self.server.write(&format!("releases/{id}/serve"), &serve);
        self.server.write(&format!(".pitcrew/states/{id}"), "prepared\n");
    }

    fn go(&self, from: Option<&str>, to: &str) -> Ran {
        let (site, from) = (self.server.site(), from.map(id));
        self.server.run(&calls::switch(&site, &run(), from.as_ref(), Some(&id(to)))).ok();
        self.server.run(&calls::restart(&site, &run(), &id(to), LIMIT))
    }

    fn prove(&self, to: &str) -> Ran {
        self.server.run(&calls::prove(&self.server.site(), &run(), &id(to)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        super::end_all_below(self.server.root());
    }
}

const IDLE: &str = "setsid sleep 600";

#[test]
fn every_trace_of_another_release_is_found() {
    server::require("python3");
    let library =
        "for lib in /lib/*/libz.so.1 /usr/lib/*/libz.so.1; do cp \"$lib\" \"$other/lib.so\"; done 2>/dev/null; >await";
    let python =
        format!("import ctypes, time; ctypes.CDLL(\"../{A}/lib.so\"); open(\"ready\", \"w\"); time.sleep(600)");
    let cases = [
        ("BUNDLE_GEMFILE", "BUNDLE_GEMFILE=\"$other/Gemfile\" setsid sleep 600".to_owned()),
        ("VIRTUAL_ENV", "VIRTUAL_ENV=\"$other/venv\" setsid sleep 600".to_owned()),
        ("PATH", "PATH=\"$PATH:$other/node_modules/.bin:/x\" setsid sleep 600".to_owned()),
        ("RUBYLIB", "RUBYLIB=\"/x:$release_dir/lib:$other/lib\" setsid sleep 600".to_owned()),
        ("APP_DIR", "APP_DIR=\"$other\" setsid sleep 600".to_owned()),
        ("its command line", "setsid sh -c 'sleep 600; true' \"$other/venv/bin/python\"".to_owned()),
        ("its executable", "cp /bin/sleep \"$other/server\"; setsid \"$other/server\" 600".to_owned()),
        ("an open file", "setsid sleep 600 <\"$other/REVISION\"".to_owned()),
        ("a mapped file", format!("{library}; setsid /usr/bin/python3 -c '{python}'")),
    ];
    std::thread::scope(|scope| {
        for shell in server::SHELLS {
            for (what, serve) in &cases {
                scope.spawn(move || is_found(shell, what, serve));
            }
        }
    });
}

fn is_found(shell: &'static str, what: &str, serve: &str) {
    let Some(site) = Site::new(shell) else { return };
    site.release(A, IDLE);
    site.release(B, serve);
    site.go(None, A).ok();
    let ran = site.go(Some(A), B).refused("not_proven");
    let why = ran.value("fail").unwrap();
    assert!(why.contains("come from another release") && why.contains(&format!("({what} in {A})")), "{why}");
    // `status` reads the same.
    let releases: Vec<_> = site.server.probe(&[]).processes.into_iter().map(|p| p.release).collect();
    assert!(releases.contains(&Some(id(A))), "{what}: {releases:?}");
}

#[test]
fn what_only_remembers_a_place_is_no_trace() {
    for serve in [
        "OLDPWD=\"$other\" INIT_CWD=\"$other\" npm_config_prefix=\"$other\" RBENV_DIR=\"$other\" setsid sleep 600",
        "BUNDLER_ORIG_BUNDLE_GEMFILE=\"$other/Gemfile\" _=\"$other/x\" env setsid sleep 600",
        "setsid sleep 600 3>>\"$other/production.log\"",
        "BUNDLE_GEMFILE=\"$root/current/Gemfile\" APP=\"$release_dir\" setsid sleep 600",
    ] {
        for shell in server::SHELLS {
            let Some(site) = Site::new(shell) else { continue };
            site.release(A, IDLE);
            site.release(B, serve);
            site.go(None, A).ok();
            site.go(Some(A), B).ok();
            site.prove(B).ok();
            assert!(site.server.probe(&[]).processes.iter().all(|p| p.release == Some(id(B))));
        }
    }
}

#[test]
fn an_undo_restarts_nothing_that_was_not_touched() {
    for shell in server::SHELLS {
        let Some(site) = Site::new(shell) else { continue };
        for release in [A, B] {
            site.release(release, IDLE);
        }
        site.server.write(&format!("releases/{B}/deny"), "");
        site.go(None, A).ok();
        let pid = site.server.read("pid");
        let ran = site.go(Some(A), B).refused("not_restarted");
        assert!(ran.value("fail").unwrap().contains("not permitted"), "{ran:?}");
        let ran = site.go(Some(B), A).ok();
        assert_eq!(ran.value("action"), Some("none"));
        assert_eq!(ran.values("process"), [format!("{} {A}", pid.trim())]);
        site.prove(A).ok();
        assert_eq!(site.server.read("pid"), pid, "the old process was left alone");
        // A restart on the same release is one.
        let again = site.server.run(&calls::restart(&site.server.site(), &run(), &id(A), LIMIT)).ok();
        assert_eq!(again.value("action"), Some("restart"));
    }
}

#[test]
fn an_undo_restarts_where_something_new_runs_beside_the_old() {
    for shell in server::SHELLS {
        let Some(site) = Site::new(shell) else { continue };
        for release in [A, B] {
            site.release(release, IDLE);
        }
        site.server.write(&format!("releases/{B}/stay"), "");
        // Both are named from here on.
        site.server
            .write(&format!("releases/{A}/serve"), "setsid sleep 600 >/dev/null 2>&1 &\necho $! >>\"$root/pid\"\n");
        site.server
            .write(&format!("releases/{B}/serve"), "setsid sleep 600 >/dev/null 2>&1 &\necho $! >>\"$root/pid\"\n");
        site.go(None, A).ok();
        site.go(Some(A), B).refused("not_restarted");
        let ran = site.go(Some(B), A);
        assert_eq!(ran.value("action"), Some("restart"), "{ran:?}");
    }
}

#[test]
fn a_request_that_was_answered_demands_a_process() {
    for shell in server::SHELLS {
        let Some(mut site) = Site::new(shell) else { continue };
        site.server.web.proof.lazy = true;
        site.server.web.scripts.start = "true".to_owned();
        site.release(A, IDLE);
        site.go(None, A).ok();
        site.prove(A).ok();
        let answered = calls::prove(&site.server.site(), &run(), &id(A)).after_answer();
        let ran = site.server.run(&answered).refused("not_proven");
        assert!(ran.value("fail").unwrap().contains("a request was answered"), "{ran:?}");
    }
}

/// What is seen while nothing answers yet proves nothing to the one who recovers the run.
#[test]
fn a_glance_is_written_down_nowhere() {
    for shell in server::SHELLS {
        let Some(site) = Site::new(shell) else { continue };
        site.release(A, IDLE);
        site.go(None, A).ok();
        let journal = || site.server.read(".pitcrew/lock/journal");
        site.server.run(&calls::glance(&site.server.site(), &run(), &id(A))).ok();
        assert!(!journal().contains("proven"), "{}", journal());
        site.prove(A).ok();
        assert!(journal().contains("proven"), "{}", journal());
    }
}

/// What answers must be what was proven: an old process may listen beside it, or in its place.
#[test]
fn who_listens_where_the_health_check_asks_is_looked_at() {
    use std::process::{Command, Stdio};
    let Some(app) = super::unicorn("dash", "preload_app true") else { return };
    app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
    for release in [A, B] {
        app.release(release, true);
    }
    app.go(None, A).ok();
    app.go(Some(A), B).ok();
    let prove = |port| {
        let call = calls::prove(&app.server.site(), &run(), &id(B)).after_answer();
        app.server.run(&call.answered_on(port))
    };
    assert_eq!(prove(app.port).ok().value("notice"), None);
    let serve = |directory: std::path::PathBuf| {
        let port = crate::port::own();
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(directory);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        (child, port)
    };
    let (mut old, port) = serve(app.server.root().join("releases").join(A));
    let ran = prove(port).refused("not_proven");
    assert!(ran.value("fail").is_some_and(|why| why.contains(&format!("works in release {A}"))), "{ran:#?}");
    let (mut other, port) = serve(app.server.home());
    let ran = prove(port).ok();
    assert!(ran.value("notice").is_some_and(|told| told.contains("is none of the web server's")), "{ran:#?}");
    for child in [&mut old, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    app.server.run(&calls::stop(&app.server.site(), &run(), super::LIMIT)).ok();
}
