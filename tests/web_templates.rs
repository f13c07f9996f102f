//! The web server templates against the real servers: start, restart, a release that does not boot, the way back, stop.
//!
//! Servers run as the current user on a loopback port, in a directory of their own; whatever is left of one is killed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "remote/environment.rs"]
mod environment;
#[path = "remote/facts.rs"]
mod facts;
#[path = "remote/libraries.rs"]
mod libraries;
#[path = "remote/proofs.rs"]
mod proofs;
#[path = "remote/reloads.rs"]
mod reloads;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::server::{self, Ran, Server, id, owner, require, run};
use pitcrew::name::ReleaseId;
use pitcrew::script::calls;
use pitcrew::web::{Template, builtin_names};

const A: &str = "20260101000000";
const B: &str = "20260102000000";
const C: &str = "20260103000000";
/// Far beyond what any of these servers needs: a failure must be found without waiting for it.
const LIMIT: Duration = Duration::from_secs(300);

/// A server with one application, served by a real web server.
struct App {
    server: Server,
    port: u16,
    pid_file: String,
    files: Vec<(&'static str, String)>,
}

/// What becomes of the old release when the new one does not boot.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    OldGoesOn,
    NothingRuns,
}

impl App {
    fn new(shell: &'static str, template: &str, parameters: &[(&str, &str)], pid_file: &str) -> Option<Self> {
        let mut server = Server::new(shell)?;
        let given: BTreeMap<String, String> =
            parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let template = Template::builtin(template).unwrap();
        assert_eq!(template.objections(&given), []);
        server.web = template.fill(&given);
        let port = crate::port::own();
        let ru = "release = File.read(File.join(__dir__, 'REVISION')).strip\n\
                  raise 'boom at boot' if File.exist?(File.join(__dir__, 'BROKEN'))\n\
                  run lambda { |env| [200, {'Content-Type' => 'text/plain'}, [release]] }\n";
        let py = "import os\nhere = os.path.dirname(os.path.realpath(__file__))\n\
                  release = open(os.path.join(here, 'REVISION')).read().strip()\n\
                  if os.path.exists(os.path.join(here, 'BROKEN')):\n    raise RuntimeError('boom at boot')\n\
                  def app(environ, start_response):\n\
                  \x20   start_response('200 OK', [('Content-Type', 'text/plain'), ('Connection', 'close')])\n\
                  \x20   return [release.encode()]\n";
        let files = vec![("config.ru", ru.to_owned()), ("wsgi.py", py.to_owned())];
        let app = Self { server, port, pid_file: pid_file.to_owned(), files };
        for dir in ["log", "tmp"] {
            fs::create_dir_all(app.server.root().join("shared").join(dir)).unwrap();
        }
        Some(app)
    }

    /// The path of something in `deploy_to`, as a literal that Ruby and Python read alike.
    fn path(&self, below: &str) -> String {
        format!("{:?}", self.server.root().join(below).to_str().unwrap())
    }

    fn file(&mut self, name: &'static str, text: String) {
        self.files.push((name, text));
    }

    fn release(&self, id: &str, boots: bool) {
        self.server.release(id, Some(id));
        let dir = format!("releases/{id}");
        for (name, text) in &self.files {
            self.server.write(&format!("{dir}/{name}"), text);
        }
        self.server.write(&format!("{dir}/tmp/.keep"), "");
        if !boots {
            self.server.write(&format!("{dir}/BROKEN"), "");
        }
        self.server.write(&format!(".pitcrew/states/{id}"), "prepared\n");
    }

    fn go(&self, from: Option<&str>, to: &str) -> Ran {
        let site = self.server.site();
        let from = from.map(id);
        self.server.run(&calls::switch(&site, &run(), from.as_ref(), Some(&id(to)))).ok();
        self.server.run(&calls::restart(&site, &run(), &id(to), LIMIT))
    }

    fn prove(&self, to: &str) -> Ran {
        self.server.run(&calls::prove(&self.server.site(), &run(), &id(to)))
    }

    /// The release that answers a request.
    fn answers(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.rsplit("\r\n").next()?.to_owned())
    }

    /// The releases that its processes run in, each once.
    fn running(&self) -> Vec<Option<ReleaseId>> {
        let mut releases: Vec<_> = self.server.probe(&[]).processes.into_iter().map(|p| p.release).collect();
        releases.sort();
        releases.dedup();
        releases
    }

    /// The whole story.
    fn story(&self, broken: Broken) {
        let site = self.server.site();
        self.server.run(&calls::lock(&site, &owner())).ok();
        for (release, boots) in [(A, true), (B, true), (C, false)] {
            self.release(release, boots);
        }
        // A pid file that outlived its process, and names somebody else's now.
        self.server.write(&self.pid_file, "1\n");
        assert_eq!(self.running(), []);

        let ran = self.go(None, A).ok();
        assert_eq!(ran.value("action"), Some("start"));
        assert_eq!(self.answers().as_deref(), Some(A));
        self.prove(A).ok();
        assert_eq!(self.running(), [Some(id(A))]);

        let ran = self.go(Some(A), B).ok();
        assert_eq!(ran.value("action"), Some("restart"));
        assert_eq!(self.answers().as_deref(), Some(B));
        self.prove(B).ok();
        self.prove(A).refused("current_changed");
        assert_eq!(self.running(), [Some(id(B))]);

        let ran = self.go(Some(B), C).refused("not_restarted");
        assert!(ran.value("fail").is_some_and(|why| why.len() > 40), "{ran:#?}");
        self.prove(C).refused("not_proven");
        assert_eq!(self.answers().as_deref(), (broken == Broken::OldGoesOn).then_some(B));

        // Back to where it was: the same release, and yet the restart must be proven.
        self.go(Some(C), B).ok();
        assert_eq!(self.answers().as_deref(), Some(B));
        self.prove(B).ok();
        let ran = self.server.run(&calls::restart(&site, &run(), &id(B), LIMIT)).ok();
        assert_eq!(ran.value("action"), Some("restart"));
        assert_eq!(self.answers().as_deref(), Some(B));

        self.server.run(&calls::log(&site)).ok();
        self.server.run(&calls::stop(&site, &run(), LIMIT)).ok();
        assert_eq!(self.running(), []);
        assert_eq!(self.answers(), None);
        self.prove(B).refused("not_proven");
        self.server.run(&calls::stop(&site, &run(), LIMIT)).ok();
    }
}

impl Drop for App {
    /// Ends what a failed test has left: everything that works in this test's own directory.
    fn drop(&mut self) {
        end_all_below(self.server.root());
    }
}

/// Ends every process that works below a directory.
fn end_all_below(root: &Path) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let works_here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
        if works_here {
            let _ = Command::new("kill").arg("-KILL").arg(entry.file_name()).status();
        }
    }
}

fn unicorn(shell: &'static str, more: &str) -> Option<App> {
    unicorn_by(shell, "unicorn -c config/unicorn.rb -D config.ru", more)
}

fn unicorn_by(shell: &'static str, start: &str, more: &str) -> Option<App> {
    require("unicorn")?;
    let parameters = [("start", start)];
    let mut app = App::new(shell, "unicorn", &parameters, "shared/tmp/pids/unicorn.pid")?;
    let text = format!(
        "pid {}\nlog = {}\nstderr_path log\nstdout_path log\nlisten '127.0.0.1:{}'\nworker_processes 2\n{more}\n",
        app.path("shared/tmp/pids/unicorn.pid"),
        app.path("shared/log/unicorn.log"),
        app.port,
    );
    app.file("config/unicorn.rb", text);
    Some(app)
}

#[test]
fn unicorn_preloaded_without_hooks() {
    for shell in server::SHELLS {
        let Some(app) = unicorn(shell, "preload_app true") else { continue };
        app.story(Broken::OldGoesOn);
    }
}

#[test]
fn unicorn_that_ends_its_old_master_itself() {
    let more = "preload_app true\nbefore_fork do |server, worker|\n\
                old = \"#{server.config[:pid]}.oldbin\"\n\
                if server.pid != old && File.exist?(old)\n\
                begin\nProcess.kill(worker.nr + 1 >= server.worker_processes ? :QUIT : :TTOU, File.read(old).to_i)\n\
                rescue Errno::ENOENT, Errno::ESRCH\nend\nend\nend";
    let Some(app) = unicorn("dash", more) else { return };
    app.story(Broken::OldGoesOn);
}

#[test]
fn unicorn_whose_workers_load_the_application() {
    let Some(app) = unicorn("dash", "preload_app false") else { return };
    app.story(Broken::OldGoesOn);
}

fn puma(shell: &'static str, more: &str, restart: &str) -> Option<App> {
    puma_by(shell, "exec puma -C config/puma.rb config.ru", more, restart)
}

fn puma_by(shell: &'static str, start: &str, more: &str, restart: &str) -> Option<App> {
    require("puma")?;
    let parameters = [("start", start), ("restart", restart)];
    let mut app = App::new(shell, "puma", &parameters, "shared/tmp/pids/puma.pid")?;
    let text = format!(
        "directory {}\npidfile {}\nbind 'tcp://127.0.0.1:{}'\nthreads 1, 2\n{more}\n",
        app.path("current"),
        app.path("shared/tmp/pids/puma.pid"),
        app.port,
    );
    app.file("config/puma.rb", text);
    Some(app)
}

#[test]
fn puma_cluster_restarts_in_phases() {
    for shell in ["dash", "busybox"] {
        let Some(app) = puma(shell, "workers 2\nprune_bundler false", "auto") else { continue };
        app.story(Broken::OldGoesOn);
    }
}

#[test]
fn puma_single_restarts_in_place() {
    for shell in ["dash", "busybox"] {
        let Some(app) = puma(shell, "workers 0", "auto") else { continue };
        app.story(Broken::NothingRuns);
    }
}

#[test]
fn puma_cluster_restarts_in_place_when_preloaded() {
    let Some(app) = puma("dash", "workers 2\npreload_app!", "hot") else { return };
    app.story(Broken::NothingRuns);
}

fn gunicorn(restart: &str) -> Option<App> {
    gunicorn_in("gunicorn -c gunicorn.conf.py --daemon wsgi:app", restart, "")
}

fn gunicorn_in(start: &str, restart: &str, more: &str) -> Option<App> {
    require("gunicorn")?;
    let parameters = [("start", start), ("restart", restart)];
    let mut app = App::new("dash", "gunicorn", &parameters, "shared/tmp/pids/gunicorn.pid")?;
    let text = format!(
        "pidfile = {}\nerrorlog = {}\nbind = '127.0.0.1:{}'\nworkers = 2\n{more}",
        app.path("shared/tmp/pids/gunicorn.pid"),
        app.path("shared/log/gunicorn.log"),
        app.port,
    );
    app.file("gunicorn.conf.py", text);
    Some(app)
}

#[test]
fn gunicorn_upgrades_its_master() {
    let Some(app) = gunicorn("upgrade") else { return };
    app.story(Broken::OldGoesOn);
}

fn thin(more: &str) -> Option<App> {
    require("thin")?;
    let parameters = [("start", "thin -C config/thin.yml start"), ("pid_files", "shared/tmp/pids/thin*.pid")];
    let mut app = App::new("dash", "thin", &parameters, "shared/tmp/pids/thin.pid")?;
    let text = format!(
        "chdir: {}\nrackup: config.ru\npid: {}\nlog: {}\ndaemonize: true\n{more}\n",
        app.path("current"),
        app.path("shared/tmp/pids/thin.pid"),
        app.path("shared/log/thin.log"),
    );
    let text = text.replace("PORT", &app.port.to_string());
    app.file("config/thin.yml", text);
    Some(app)
}

#[test]
fn thin_alone() {
    let Some(app) = thin("address: 127.0.0.1\nport: PORT") else { return };
    app.story(Broken::NothingRuns);
}

#[test]
fn several_thins_restart_one_after_the_other() {
    let Some(app) = thin("servers: 2\nsocket: tmp/thin.sock") else { return };
    app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
    for (from, to) in [(None, A), (Some(A), B)] {
        app.release(to, true);
        app.go(from, to).ok();
        app.prove(to).ok();
        let running: Vec<_> = app.server.probe(&[]).processes.into_iter().map(|p| p.release).collect();
        assert_eq!(running, [Some(id(to)), Some(id(to))]);
    }
    app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
}

/// No systemd runs where tests run: this answers like one whose unit is a `sleep` in `current`, logging what it is asked.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>"$HOME/asked"
while true; do case $1 in --user) shift ;; *) break ;; esac; done
verb=$1
for unit; do true; done
[ "$unit" = "shop web.service" ] || exit 5
main=$(cat "$HOME/main" 2>/dev/null)
case $verb in
show)
    printf 'ControlGroup=/no/such\nMainPID=%s\n' "${main:-0}"
    cat "$HOME/fixed" 2>/dev/null
    [ ! -e "$HOME/loop" ] || { echo x >>"$HOME/loop" && printf 'ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=%s\n' "$(wc -l <"$HOME/loop")"; }
    ;;
reset-failed) ;;
start | reload-or-restart | stop)
    [ -z "$main" ] || kill "$main"
    rm -f "$HOME/main"
    [ "$verb" = stop ] && exit 0
    [ ! -e BROKEN ] || exit 1
    setsid sleep 600 >/dev/null 2>&1 &
    echo $! >"$HOME/main"
    ;;
*) exit 1 ;;
esac
"#;

#[test]
fn systemd_is_asked_in_its_own_words() {
    let parameters = [("unit", "shop web.service"), ("user", "true")];
    let Some(app) = App::new("dash", "systemd", &parameters, "unused") else { return };
    app.server.tool("systemctl", SYSTEMCTL);
    let site = app.server.site();
    app.server.run(&calls::lock(&site, &owner())).ok();
    for (release, boots) in [(A, true), (B, true), (C, false)] {
        app.release(release, boots);
    }
    assert_eq!(app.go(None, A).ok().value("action"), Some("start"));
    assert_eq!(app.running(), [Some(id(A))]);
    assert_eq!(app.go(Some(A), B).ok().value("action"), Some("restart"));
    app.prove(B).ok();
    assert_eq!(app.running(), [Some(id(B))]);
    // Another run: within one, a restart on another release is the way back.
    fs::remove_file(app.server.root().join(".pitcrew/lock/before")).unwrap();
    app.go(Some(B), C).refused("not_restarted");
    app.prove(C).refused("not_proven");
    assert_eq!(app.go(Some(C), B).ok().value("action"), Some("start"));
    app.server.run(&calls::stop(&site, &run(), LIMIT)).ok();
    let asked = fs::read_to_string(app.server.home().join("asked")).unwrap();
    let verbs: Vec<_> = asked.lines().filter(|l| !l.contains(" show ")).collect();
    let said = |verb: &str| format!("--user {verb} shop web.service");
    let (reset, again) = (said("reset-failed"), said("reload-or-restart"));
    // The one word that a login may have the right to starts a unit, too.
    let expected = [&reset, &again, &reset, &again, &reset, &again, &reset, &again, &said("stop")].map(String::clone);
    assert_eq!(verbs, expected);
}

#[test]
fn a_unit_that_keeps_dying_or_names_a_release_is_told_at_once() {
    for shell in server::SHELLS {
        let Some(app) = App::new(shell, "systemd", &[("unit", "shop web.service")], "unused") else { continue };
        app.server.tool("systemctl", SYSTEMCTL);
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        for release in [A, B, C] {
            app.release(release, true);
        }
        app.go(None, A).ok();
        let fixed = format!("WorkingDirectory={}/releases/{A}\n", app.server.root().display());
        fs::write(app.server.home().join("fixed"), fixed).unwrap();
        let ran = app.go(Some(A), B).refused("not_restarted");
        assert!(ran.value("fail").unwrap().contains("names a release by its own path"), "{ran:?}");
        assert_eq!(app.go(Some(B), A).ok().value("action"), Some("none"));
        fs::remove_file(app.server.home().join("fixed")).unwrap();
        fs::write(app.server.home().join("loop"), "").unwrap();
        let ran = app.go(Some(A), C).refused("not_restarted");
        assert!(ran.value("fail").unwrap().contains("keeps dying"), "{ran:?}");
    }
}

/// Like Passenger where one instance is another user's, one has ended, one ends, and two may know the application.
const PASSENGER_CONFIG: &str = r#"#!/bin/sh
echo "$*" >>"$HOME/asked"
case $* in
list-instances*)
    echo '[{"name": "hers"}, {"instance_dir": {"path": "/tmp/p"}, "name": "gone", "core_pid": 7}, {"name": "ends"}, {"name": "one"}, {"name": "two"}]'
    exit
    ;;
*"--instance hers "*) echo "'initialize': Permission denied - connect(2) for /tmp/p/agents.s/core_api (Errno::EACCES)" ;;
*"--instance gone "*) echo "'initialize': Connection refused - connect(2) for /tmp/p/agents.s/core_api (Errno::ECONNREFUSED)" ;;
*"--instance ends "*) echo "'read_nonblock': Connection reset by peer (Errno::ECONNRESET)" ;;
*"--instance "*)
    if [ ! -e "$HOME/loaded" ]; then
        echo "There are no Phusion Passenger(R)-served applications running whose paths begin with 'x'."
    else
        case $* in *"--instance one "*) rm "$HOME/busy" 2>/dev/null || exit 0 ;; *) exit 0 ;; esac
        echo "*** An error occured while communicating with the Phusion Passenger(R) server:"
    fi
    ;;
*) echo "It appears that multiple Phusion Passenger(R) instances are running. Please select" ;;
esac
exit 1
"#;

/// With nothing running yet Passenger may just be loading the release before, so a start tells it too.
#[test]
fn every_instance_of_passenger_is_told_once() {
    for (template, rolling) in [("passenger", ""), ("passenger-enterprise", "--rolling-restart ")] {
        let Some(app) = App::new("dash", template, &[], "unused") else { return };
        app.server.tool("passenger-config", PASSENGER_CONFIG);
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        app.release(A, true);
        app.release(B, true);
        let home = app.server.home().to_owned();
        let asked = || {
            let asked = fs::read_to_string(home.join("asked")).unwrap();
            fs::remove_file(home.join("asked")).unwrap();
            let current = app.server.root().join("current").display().to_string();
            let restarts = asked.lines().filter(|l| !l.starts_with("list")).map(|l| l.replace(&current, "APP"));
            restarts.collect::<Vec<_>>()
        };
        let told = |names: &[&str]| -> Vec<String> {
            names.iter().map(|n| format!("restart-app {rolling}--instance {n} APP")).collect()
        };
        assert_eq!(app.go(None, A).ok().value("action"), Some("start"));
        assert_eq!(
            asked(),
            told(&["hers", "gone", "ends", "one", "two"].repeat(3)),
            "none knows it yet, which is as good"
        );
        for file in ["loaded", "busy"] {
            fs::write(home.join(file), "").unwrap();
        }
        assert_eq!(app.go(Some(A), B).ok().value("action"), Some("start"));
        assert_eq!(
            asked(),
            told(&["hers", "gone", "ends", "one", "two", "hers", "gone", "ends", "one", "hers", "gone", "ends"])
        );
    }
}

/// An application that Passenger knows by another path of the same directory is found, and restarted by that path.
#[test]
fn passenger_is_asked_by_the_path_that_it_knows() {
    use std::os::unix::process::CommandExt as _;
    for shell in server::SHELLS {
        let Some(app) = App::new(shell, "passenger", &[], "unused") else { continue };
        app.server.tool("passenger-config", PASSENGER_CONFIG);
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        app.release(A, true);
        app.release(B, true);
        app.go(None, A).ok();
        fs::write(app.server.home().join("loaded"), "").unwrap();
        fs::remove_file(app.server.home().join("asked")).unwrap();
        let alias = app.server.home().join("alias");
        std::os::unix::fs::symlink(app.server.root(), &alias).unwrap();
        let title = format!("Passenger RubyApp: {}/current (production)", alias.display());
        let mut old = Command::new("sleep")
            .arg0(title)
            .arg("600")
            .current_dir(app.server.root().join("current"))
            .spawn()
            .unwrap();
        let restarted = app.server.run(&calls::switch(&app.server.site(), &run(), Some(&id(A)), Some(&id(B))));
        restarted.ok();
        // The process of this test does not restart, so it must be told as one of the old release.
        let ran = app.server.run(&calls::restart(&app.server.site(), &run(), &id(B), Duration::from_secs(8)));
        old.kill().unwrap();
        old.wait().unwrap();
        let ran = ran.refused("not_proven");
        assert!(ran.value("fail").unwrap().contains(&old.id().to_string()), "{ran:?}");
        let asked = fs::read_to_string(app.server.home().join("asked")).unwrap();
        assert!(asked.contains(&format!("--instance one {}/current", alias.display())), "{asked}");
    }
}

#[test]
fn every_template_is_good_shell() {
    let Some(shellcheck) = require("shellcheck") else { return };
    let lib = ["lib", "procs", "web"].map(|part| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("templates/remote/{part}.sh"));
        fs::read_to_string(path).unwrap()
    });
    for name in builtin_names() {
        let template = Template::builtin(name).unwrap();
        let web = template.fill(&BTreeMap::new());
        let mut text = String::from("#!/bin/sh\np_root=/x s_processes='' s_restart=''\n");
        for parameter in web.parameters.keys() {
            text.push_str(&format!("w_{parameter}=x\n"));
        }
        text.push_str(&lib.concat());
        let scripts = [&web.scripts.processes, &web.scripts.start, &web.scripts.restart, &web.scripts.stop];
        for (n, script) in scripts.into_iter().chain([&web.scripts.log, &web.scripts.facts]).enumerate() {
            if !script.is_empty() {
                text.push_str(&format!("snippet{n}() {{\n{script}\n}}\n"));
            }
        }
        server::shellcheck(&shellcheck, name, &text);
    }
}
