//! Units whose reload keeps their main process, where nothing shows what that has loaded; what counts on the way back.
//!
//! A file answers like systemd, and starts masters of the test's own making: they have two workers, and make new ones on HUP.

use std::fs;
use std::time::Duration;

use super::{A, App, B};
use crate::server::{self, Ran, id, owner, run};
use pitcrew::facts::WebFactKind::Interrupts;
use pitcrew::script::calls;

const SYSTEMCTL: &str = r#"#!/bin/sh
for unit; do true; done
main=$(cat "$HOME/main" 2>/dev/null)
case $1 in
show)
    printf 'ControlGroup=/no/such\nMainPID=%s\nActiveState=active\nCanReload=yes\n' "${main:-0}"
    echo 'ExecReload={ path=/bin/kill ; argv[]=/bin/kill -HUP $MAINPID ; ignore_errors=no }'
    ;;
reset-failed) ;;
*)
    echo "$1" >>"$HOME/asked"
    case $1-$main in
    reload*-[0-9]*) kill -HUP "$main" && sleep 1 && exit ;;
    *-[0-9]*)
        for pid in $(cat "$HOME/beside" 2>/dev/null); do kill -9 "$pid"; done
        python3 -c 'import os, sys; os.killpg(int(sys.argv[1]), 9)' "$main"
        rm -f "$HOME/main" "$HOME/beside"
        ;;
    esac
    [ "$1" != stop ] || exit 0
    . "$HOME/unit"
    cd "$place" && setsid "$master" >/dev/null 2>&1 </dev/null &
    echo $! >"$HOME/main"
    sleep 1
    ;;
esac
"#;

/// Makes new workers on HUP; with BESIDE starts itself beside the old one instead, from `current`, as Unicorn does on USR2.
const MASTER: &str = r#"#!/usr/bin/python3
import os, signal, sys, time
workers = []
def fork():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        while True:
            time.sleep(60)
    workers.append(pid)
def fill():
    for _ in range(int(os.environ.get("WORKERS", "2"))):
        fork()
def reload(*_):
    if "BESIDE" in os.environ:
        pid = os.fork()
        if pid == 0:
            os.chdir(os.environ["CURRENT"])
            os.execv(sys.argv[0], sys.argv)
        open(os.environ["HOME"] + "/beside", "a").write("%d\n" % pid)
        return
    old = workers[:]
    workers.clear()
    fill()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
signal.signal(signal.SIGHUP, reload)
fill()
while True:
    time.sleep(60)
"#;

/// A unit whose main process is called so, and works there.
struct Unit {
    app: App,
}

impl Unit {
    fn new(shell: &'static str, name: &str, place: &str) -> Option<Self> {
        server::require("python3")?;
        let app = App::new(shell, "systemd", &[("unit", "shop.service")], "unused")?;
        let home = app.server.home();
        app.server.tool("systemctl", SYSTEMCTL);
        app.server.tool(name, MASTER);
        let current = app.server.root().join("current");
        let place = place.replace("CURRENT", current.to_str().unwrap());
        let master = home.parent().unwrap().join("bin").join(name);
        let unit = format!("place={place:?}\nmaster={:?}\nexport CURRENT={current:?}\n", master.to_str().unwrap());
        fs::write(home.join("unit"), unit).unwrap();
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        for release in [A, B] {
            app.release(release, true);
        }
        Some(Self { app })
    }

    fn with(self, line: &str) -> Self {
        let path = self.app.server.home().join("unit");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{line}\n")).unwrap();
        self
    }

    fn started(self) -> Self {
        self.app.go(None, A).ok();
        // What comes is another run.
        fs::remove_file(self.app.server.root().join(".pitcrew/lock/before")).unwrap();
        self.asked();
        self
    }

    /// What systemd was asked to do since the last time.
    fn asked(&self) -> Vec<String> {
        let path = self.app.server.home().join("asked");
        let asked = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        asked.lines().map(str::to_owned).collect()
    }

    fn main(&self) -> String {
        fs::read_to_string(self.app.server.home().join("main")).unwrap().trim().to_owned()
    }

    fn to_b(&self, limit: u64, out: bool) -> Ran {
        let site = self.app.server.site();
        self.app.server.run(&calls::switch(&site, &run(), Some(&id(A)), Some(&id(B)))).ok();
        let call = calls::restart(&site, &run(), &id(B), Duration::from_secs(limit));
        self.app.server.run(&if out { call.out_of_traffic() } else { call })
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.app.server.run(&calls::stop(&self.app.server.site(), &run(), Duration::from_secs(10)));
    }
}

#[track_caller]
fn says(ran: &Ran, what: &str) {
    let said = [ran.values("notice"), ran.values("fail")].concat().join("\n");
    assert!(said.contains(what), "{what}: {ran:#?}");
}

#[test]
fn a_main_process_that_works_outside_is_not_reloaded() {
    for shell in server::SHELLS {
        let Some(unit) = Unit::new(shell, "gunicorn", "/").map(Unit::started) else { continue };
        let facts = unit.app.server.probe(&[]);
        assert!(facts.processes.iter().all(|p| p.outside && p.release.is_none()), "{:?}", facts.processes);
        assert!(
            matches!(facts.web.as_slice(), [f] if f.kind == Interrupts && f.why.contains("works outside")),
            "{facts:?}"
        );
        let main = unit.main();

        let ran = unit.to_b(60, false).refused("not_restarted");
        says(&ran, "set restart = \"restart\" in [web]");
        says(&ran, "nothing was touched");
        assert_eq!(unit.app.go(Some(B), A).ok().value("action"), Some("none"));
        assert_eq!((unit.asked(), unit.main()), (vec![], main.clone()));

        fs::remove_file(unit.app.server.root().join(".pitcrew/lock/before")).unwrap();
        let ran = unit.to_b(60, true).ok();
        says(&ran, "it was restarted instead");
        unit.app.prove(B).ok();
        assert_eq!(unit.asked(), ["restart"]);
        assert_ne!(unit.main(), main);
    }
}

#[test]
fn a_master_that_loads_no_application_is_reloaded_wherever_it_works() {
    for shell in server::SHELLS {
        for workers in ["2", "0"] {
            let Some(unit) = Unit::new(shell, "php-fpm8.2", "/") else { continue };
            let unit = unit.with(&format!("export WORKERS={workers}")).started();
            assert_eq!(unit.app.server.probe(&[]).web, []);
            let main = unit.main();
            let ran = unit.to_b(60, false).ok();
            unit.app.prove(B).ok();
            assert_eq!((unit.asked(), unit.main()), (vec!["reload-or-restart".to_owned()], main), "{ran:#?}");
        }
    }
}

#[test]
fn an_answer_that_names_its_release_proves_what_a_reload_keeps() {
    let Some(mut unit) = Unit::new("dash", "gunicorn", "/").map(Unit::started) else { return };
    unit.app.server.web.answer_named = true;
    assert_eq!(unit.app.server.probe(&[]).web, []);
    let main = unit.main();
    let ran = unit.to_b(60, false).ok();
    says(&ran, &format!("process {main} has stayed over the reload"));
    unit.app.prove(B).ok();
    assert_eq!((unit.asked(), unit.main()), (vec!["reload-or-restart".to_owned()], main));
}

/// Of a kind that is not known it shows only then.
#[test]
fn a_main_process_outside_that_a_reload_has_kept_is_told_soon_and_taken_back_by_a_restart() {
    for (shell, workers) in [("dash", "2"), ("busybox", "2"), ("bash", "0")] {
        let Some(unit) = Unit::new(shell, "server", "/") else { continue };
        let unit = unit.with(&format!("export WORKERS={workers}")).started();
        let main = unit.main();
        let ran = unit.to_b(60, false).refused("not_restarted");
        says(&ran, "as far as can be seen");
        let ran = unit.app.go(Some(B), A).ok();
        assert_eq!(unit.asked(), ["reload-or-restart", "restart"], "{ran:#?}");
        assert_ne!(unit.main(), main);
        unit.app.prove(A).ok();
    }
}

/// As Unicorn without a `before_fork` that ends the old one: both serve, and the next reload would be refused.
#[test]
fn a_new_main_process_beside_the_old_one_is_taken_back_by_a_restart() {
    for shell in ["dash", "busybox"] {
        let Some(unit) = Unit::new(shell, "server", "CURRENT") else { continue };
        let unit = unit.with("export BESIDE=yes").started();
        let ran = unit.to_b(6, false).refused("not_proven");
        says(&ran, "old processes are still there");
        let ran = unit.app.go(Some(B), A).ok();
        assert_eq!(unit.asked(), ["reload-or-restart", "restart"], "{ran:#?}");
        unit.app.prove(A).ok();
    }
}

/// Workers that a reload has forked are no ground for more than a reload.
#[test]
fn new_workers_of_the_old_main_process_are_taken_back_by_a_reload() {
    let Some(unit) = Unit::new("dash", "server", "CURRENT").map(Unit::started) else { return };
    unit.to_b(60, false).refused("not_restarted");
    let main = unit.main();
    unit.app.go(Some(B), A).ok();
    assert_eq!((unit.asked(), unit.main()), (vec!["reload-or-restart".to_owned(); 2], main));
}
