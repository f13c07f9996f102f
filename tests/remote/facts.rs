//! What web servers tell a plan of their restart, asked of the real ones: whether it interrupts, whether it can work.

use std::fs;

use super::{A, App, B, gunicorn_in, puma, puma_by, run, thin};
use crate::server::{self, id, owner};
use pitcrew::facts::ServerFacts;
use pitcrew::facts::WebFactKind::{self, Interrupts, Lacks, Refuses, Warns};
use pitcrew::script::calls;

/// What the server tells now: its kind, and why.
fn told(app: &App) -> Vec<(WebFactKind, String)> {
    app.server.probe(&[]).web.into_iter().map(|fact| (fact.kind, fact.why)).collect()
}

/// The only fact that it tells is of this kind and says this.
#[track_caller]
fn tells(app: &App, kind: WebFactKind, what: &str) {
    let all = told(app);
    assert!(all.len() == 1 && all[0].0 == kind && all[0].1.contains(what), "{what}: {all:#?}");
}

/// Starts the application on its first release.
fn started(app: &App) {
    app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
    for release in [A, B] {
        app.release(release, true);
    }
    assert_eq!(told(app), [], "nothing runs yet");
    app.go(None, A).ok();
}

#[test]
fn a_puma_that_restarts_in_phases_interrupts_nothing() {
    for shell in ["dash", "busybox", "bash"] {
        let Some(app) = puma(shell, "workers 2", "auto") else { continue };
        started(&app);
        assert_eq!(told(&app), []);
    }
}

#[test]
fn a_puma_that_re_executes_itself_interrupts() {
    for (more, restart, why) in [
        ("workers 0", "auto", "has no workers"),
        ("workers 2", "hot", "restart = \"hot\""),
        ("workers 2\npreload_app!", "auto", "its log says that it preloads"),
    ] {
        let Some(app) = puma("dash", more, restart) else { return };
        started(&app);
        tells(&app, Interrupts, why);
    }
    let Some(app) = puma("dash", "workers 0", "phased") else { return };
    started(&app);
    assert_eq!(told(&app).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>(), [Refuses, Interrupts]);
}

/// Its log may have been rotated, or go elsewhere.
#[test]
fn a_puma_whose_log_is_gone_is_known_by_its_configuration_or_its_last_restart() {
    for shell in ["dash", "busybox"] {
        let Some(app) = puma(shell, "workers 2\npreload_app!", "auto") else { continue };
        started(&app);
        let log = app.server.root().join("shared/log/puma.log");
        fs::write(&log, "").unwrap();
        tells(&app, Interrupts, "config/puma.rb says preload_app!");

        // Rails' own puma.rb reads WEB_CONCURRENCY, and says nothing of preloading.
        let start = "WEB_CONCURRENCY=2 exec puma -C config/puma.rb config.ru";
        let Some(app) = puma_by(shell, start, "workers ENV['WEB_CONCURRENCY']", "auto") else { continue };
        started(&app);
        let log = app.server.root().join("shared/log/puma.log");
        tells(&app, Interrupts, "its log says that it preloads");
        fs::write(&log, "").unwrap();
        tells(&app, Interrupts, "WEB_CONCURRENCY=2");
        app.go(Some(A), B).ok();
        tells(&app, Interrupts, "the last phased restart (USR1) re-executed it");
    }
}

#[test]
fn a_thin_alone_interrupts_and_several_do_not() {
    let Some(app) = thin("address: 127.0.0.1\nport: PORT") else { return };
    started(&app);
    tells(&app, Interrupts, "one Thin (");
    let Some(app) = thin("servers: 2\nsocket: tmp/thin.sock") else { return };
    started(&app);
    assert_eq!(told(&app), []);
    app.server.run(&calls::stop(&app.server.site(), &run(), super::LIMIT)).ok();
}

#[test]
fn a_gunicorn_that_preloads_is_not_reloaded() {
    let start = "gunicorn -c gunicorn.conf.py --daemon wsgi:app";
    for (restart, more, expected) in [
        ("reload", "preload_app = True\n", Some("gunicorn.conf.py preloads: Gunicorn is upgraded")),
        ("reload", "", None),
        ("upgrade", "preload_app = True\n", None),
    ] {
        let Some(app) = gunicorn_in(start, restart, more) else { return };
        started(&app);
        match expected {
            Some(what) => tells(&app, Warns, what),
            None => assert_eq!(told(&app), [], "{restart} {more}"),
        }
    }
}

/// Answers like a systemd that knows one unit, whose properties stand in a file.
const SYSTEMCTL: &str = "#!/bin/sh\n\
    case $* in *show*'shop web.service') cat \"$HOME/shown\" ;; *show*) echo LoadState=not-found ;; *) exit 1 ;; esac\n";

#[test]
fn systemd_is_asked_what_a_restart_would_do() {
    for shell in server::SHELLS {
        for (restart, shown, kind, what) in [
            (
                "reload-or-restart",
                "CanReload=no\nActiveState=active",
                Interrupts,
                "CanReload=no of the unit shop web.service",
            ),
            ("restart", "CanReload=yes\nActiveState=active", Interrupts, "restart = \"restart\""),
            ("reload", "CanReload=no\nActiveState=active", Refuses, "it has no ExecReload"),
            ("reload", "LoadState=masked\nActiveState=inactive", Refuses, "it is masked"),
            (
                "reload",
                "ActiveState=active\nCanReload=yes\nWorkingDirectory=ROOT/releases/20260101000000",
                Refuses,
                "by its own path",
            ),
            (
                "reload",
                "ActiveState=active\nCanReload=yes\nEnvironmentFiles=ROOT/releases/20260101000000/.env (ignore_errors=no)",
                Refuses,
                "by its own path",
            ),
            (
                "reload",
                "ActiveState=active\nCanReload=yes\nWorkingDirectory=OTHER/current",
                Refuses,
                "which is another stack's",
            ),
            ("reload", "LoadState=not-found\nActiveState=inactive", Lacks, "knows no unit shop web.service"),
        ] {
            let parameters = [("unit", "shop web.service"), ("restart", restart)];
            let Some(app) = App::new(shell, "systemd", &parameters, "unused") else { continue };
            app.server.tool("systemctl", SYSTEMCTL);
            app.release(A, true);
            let other = app.server.home().join("other");
            fs::create_dir_all(other.join(".pitcrew")).unwrap();
            let shown = shown.replace("ROOT", app.server.root().to_str().unwrap());
            let shown = shown.replace("OTHER", other.to_str().unwrap());
            fs::write(app.server.home().join("shown"), format!("LoadState=loaded\n{shown}\n")).unwrap();
            tells(&app, kind, what);
            // What runs not, or can be reloaded, interrupts nothing.
            for good in ["CanReload=no\nActiveState=inactive", "CanReload=yes\nActiveState=active"] {
                fs::write(app.server.home().join("shown"), format!("LoadState=loaded\n{good}\n")).unwrap();
                let all = told(&app);
                assert!(all.is_empty() || restart == "restart", "{all:#?}");
            }
        }
    }
}

/// People expect of [env] that the unit gets it.
#[test]
fn a_unit_with_other_values_than_env_is_told() {
    for shell in server::SHELLS {
        let Some(mut app) = App::new(shell, "systemd", &[("unit", "shop web.service")], "unused") else { continue };
        app.server.tool("systemctl", SYSTEMCTL);
        app.release(A, true);
        let mut unit = std::process::Command::new("sleep");
        let mut unit = unit.arg("600").env("RAILS_ENV", "production").spawn().unwrap();
        let shown = format!("LoadState=loaded\nCanReload=yes\nActiveState=active\nMainPID={}\n", unit.id());
        fs::write(app.server.home().join("shown"), shown).unwrap();
        app.server.env = vec![("RAILS_ENV".to_owned(), "production".to_owned())];
        let alike = told(&app);
        app.server.env.push(("TOKEN".to_owned(), "hunter2".to_owned()));
        let other = told(&app);
        unit.kill().unwrap();
        unit.wait().unwrap();
        assert_eq!(alike, [], "{shell}");
        let warned =
            matches!(other.as_slice(), [(Warns, why)] if why.contains("say: TOKEN.") && !why.contains("hunter2"));
        assert!(warned, "{shell}: {other:#?}");
    }
}

#[test]
fn the_edition_of_passenger_is_asked() {
    for shell in server::SHELLS {
        let Some(app) = App::new(shell, "passenger-enterprise", &[], "unused") else { continue };
        for (said, open) in [
            ("Phusion Passenger(R) 6.0.17", true),
            ("Phusion Passenger 5.0.30", true),
            ("Phusion Passenger(R) Enterprise 6.0.17", false),
            ("Phusion Passenger Enterprise 5.0.30", false),
            ("something else", false),
        ] {
            app.server.tool("passenger-config", &format!("#!/bin/sh\necho '{said}'\n"));
            match open {
                true => tells(&app, Refuses, "set web_server = \"passenger\""),
                false => assert_eq!(told(&app), [], "{said}"),
            }
        }
    }
}

/// A master of another user: to see it is one thing, to restart it another.
#[test]
fn a_process_that_takes_no_signal_of_the_login_is_told() {
    let Some(setpriv) = server::require("setpriv") else { return };
    if !nix::unistd::getuid().is_root() {
        return;
    }
    for shell in server::SHELLS {
        let Some(mut app) = super::unicorn(shell, "") else { continue };
        started(&app);
        let all = std::path::Path::new("/tmp");
        for dir in app.server.root().ancestors().take_while(|dir| *dir != all) {
            fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let own = app.server.root().join(".pitcrew");
        let alone = own.metadata().unwrap().permissions();
        let setpriv = setpriv.display();
        let login = format!("#!/bin/sh\nexec {setpriv} --reuid=65534 --regid=65534 --clear-groups sh \"$@\"\n");
        app.server.tool("login", &login);
        app.server.login = Some(app.server.home().parent().unwrap().join("bin/login"));
        // Of what is another login's alone nothing is taken for seen.
        let ran = app.server.run(&calls::probe(&app.server.site(), &[])).refused("not_writable");
        assert!(ran.value("fail").is_some_and(|why| why.contains("which is for root alone")), "{ran:#?}");
        fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        tells(&app, Refuses, "belongs to root");
        let processes = app.server.probe(&[]).processes;
        assert!(processes.iter().all(|p| p.hidden.as_deref() == Some("root") && p.release.is_none()), "{processes:?}");
        app.server.login = None;
        fs::set_permissions(&own, alone).unwrap();
        assert_eq!(app.server.probe(&[]).processes[0].release, Some(id(A)));
    }
}

/// The pid file lies elsewhere, as Capistrano 2 had it: nothing runs where [web] looks, and something holds the port.
#[test]
fn who_listens_on_the_port_is_told_where_nothing_runs() {
    for shell in server::SHELLS {
        let Some(mut app) = super::unicorn(shell, "") else { continue };
        started(&app);
        let probe = |app: &App| {
            let call = calls::probe(&app.server.site(), &[]).listening(app.port);
            ServerFacts::read(&app.server.run(&call).ok().answers).unwrap()
        };
        assert_eq!(probe(&app).listener, None, "its processes are found");
        let pid_file = app.server.root().join("shared/tmp/pids/unicorn.pid");
        let master: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        app.server.web.parameters.insert("pid_file".into(), "shared/pids/unicorn.pid".into());
        let facts = probe(&app);
        let listener = facts.listener.unwrap();
        assert_eq!((listener.port, listener.release, listener.removed), (app.port, Some(id(A)), false));
        assert!(listener.pid.is_some_and(|pid| pid >= master) && !listener.name.is_empty(), "{:?}", listener.pid);
        assert_eq!(facts.processes, []);

        fs::remove_dir_all(app.server.root().join("releases").join(A)).unwrap();
        assert!(probe(&app).listener.is_some_and(|listener| listener.removed && listener.release.is_none()));
        app.server.web.parameters.insert("pid_file".into(), "shared/tmp/pids/unicorn.pid".into());
        app.server.run(&calls::stop(&app.server.site(), &run(), super::LIMIT)).ok();
        assert_eq!(probe(&app).listener, None, "nothing listens");

        let _other = std::net::TcpListener::bind(("127.0.0.1", app.port)).unwrap();
        let listener = probe(&app).listener.unwrap();
        assert_eq!((listener.pid, listener.release, listener.removed), (Some(std::process::id()), None, false));
    }
}

/// What a prune could not remove, and what one will not be able to.
#[test]
fn what_cannot_be_removed_is_told() {
    let Some(setpriv) = server::require("setpriv") else { return };
    if !nix::unistd::getuid().is_root() {
        return;
    }
    for shell in server::SHELLS {
        let Some(mut server) = server::Server::new(shell) else { continue };
        server.release(A, Some("a"));
        server.write(".pitcrew/trash.20251201000000/log", "");
        assert_eq!(server.probe(&[]).left, [".pitcrew/trash.20251201000000"]);
        for dir in server.root().ancestors().take_while(|dir| *dir != std::path::Path::new("/tmp")) {
            fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let setpriv = setpriv.display();
        let login = format!("#!/bin/sh\nexec {setpriv} --reuid=65534 --regid=65534 --clear-groups sh \"$@\"\n");
        server.tool("login", &login);
        server.login = Some(server.home().parent().unwrap().join("bin/login"));
        assert_eq!(server.probe(&[]).left, [format!("releases/{A}"), ".pitcrew/trash.20251201000000".into()]);
    }
}
