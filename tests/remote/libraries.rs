//! Web servers whose libraries lie in the release: gems of the repository under Bundler, a virtualenv under Gunicorn.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{A, App, B, Broken, C, LIMIT, gunicorn_in, puma_by, unicorn_by};
use crate::server;
use pitcrew::script::calls;
use server::{Ran, id, owner, run};

/// Answers what the repository's own gem says: the release that the gem was loaded from.
const RU: &str = "require 'hello'\nraise 'boom at boot' if File.exist?(File.join(__dir__, 'BROKEN'))\n\
                  run lambda { |env| [200, {'Content-Type' => 'text/plain'}, [HELLO]] }\n";

fn with_gems(mut app: App, server: &str) -> App {
    app.files.retain(|(name, _)| *name != "config.ru");
    app.file("config.ru", RU.to_owned());
    app.file("Gemfile", format!("gem 'rack'\ngem '{server}'\ngem 'hello', path: 'engines/hello'\n"));
    let spec =
        "Gem::Specification.new { |s| s.name = 'hello'; s.version = '1.0'; s.summary = 's'; s.authors = ['a'] }\n";
    app.file("engines/hello/hello.gemspec", spec.to_owned());
    let gem = "HELLO = File.read(File.expand_path('../../../REVISION', __dir__)).strip\n";
    app.file("engines/hello/lib/hello.rb", gem.to_owned());
    app
}

/// Restarts on another release while requests come one after the other: none may fail.
#[track_caller]
fn without_loss(app: &App, from: &str, to: &str) -> Ran {
    let stop = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut asked, mut lost) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                asked += 1;
                lost += u32::from(!app.answers().is_some_and(|a| a == from || a == to));
            }
            (asked, lost)
        });
        let ran = app.go(Some(from), to);
        stop.store(true, Ordering::Relaxed);
        let (asked, lost) = load.join().unwrap();
        assert!(asked > 5 && lost == 0, "{lost} of {asked} requests lost: {ran:#?}");
        ran
    });
    ran.ok()
}

/// Several releases, each with other libraries.
fn walk(app: &App) -> Ran {
    app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
    for release in [A, B, C] {
        app.release(release, true);
    }
    walk_on(app)
}

/// From the first release to the third; the first one is removed once it is old.
fn walk_on(app: &App) -> Ran {
    app.go(None, A).ok();
    assert_eq!(app.answers().as_deref(), Some(A));
    let first = without_loss(app, A, B);
    assert_eq!(app.answers().as_deref(), Some(B), "{first:#?}");
    app.prove(B).ok();
    std::fs::remove_dir_all(app.server.root().join("releases").join(A)).unwrap();
    without_loss(app, B, C);
    assert_eq!(app.answers().as_deref(), Some(C));
    app.prove(C).ok();
    assert!(app.server.probe(&[]).processes.iter().all(|p| p.release == Some(id(C))));
    app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
    first
}

#[test]
fn unicorn_under_bundler() {
    if server::require("bundle").is_none() {
        return;
    }
    let start = "bundle exec unicorn -c config/unicorn.rb -D config.ru";
    let Some(app) = unicorn_by("dash", start, "preload_app true") else { return };
    with_gems(app, "unicorn").story(Broken::OldGoesOn);
    for shell in server::SHELLS {
        let Some(app) = unicorn_by(shell, start, "preload_app true") else { continue };
        assert_eq!(walk(&with_gems(app, "unicorn")).value("notice"), None);
    }
}

/// As Capistrano starts it, and every one that an earlier version started.
#[test]
fn unicorn_that_hands_on_the_gems_of_its_first_release() {
    if server::require("bundle").is_none() {
        return;
    }
    let start = "BUNDLE_GEMFILE=\"$(pwd -P)/Gemfile\" bundle exec unicorn -c config/unicorn.rb -D config.ru";
    for shell in server::SHELLS {
        let Some(app) = unicorn_by(shell, start, "preload_app true") else { continue };
        let ran = walk(&with_gems(app, "unicorn"));
        assert!(ran.value("notice").is_some_and(|n| n.contains("BUNDLE_GEMFILE")), "{ran:#?}");
    }
    let Some(app) = unicorn_by("dash", start, "preload_app true") else { return };
    with_gems(app, "unicorn").story(Broken::OldGoesOn);
}

#[test]
fn unicorn_whose_application_sets_its_own_environment() {
    let start = "unicorn -c config/unicorn.rb -D config.ru";
    let Some(mut app) = unicorn_by("dash", start, "preload_app true") else { return };
    app.files.retain(|(name, _)| *name != "config.ru");
    let ru = "ENV['APP_DIR'] ||= File.realpath(__dir__)\n\
              release = File.read(File.join(ENV['APP_DIR'], 'REVISION')).strip\n\
              run lambda { |env| [200, {'Content-Type' => 'text/plain'}, [release]] }\n";
    app.file("config.ru", ru.to_owned());
    let ran = walk(&app);
    assert!(ran.value("notice").is_some_and(|n| n.contains("APP_DIR")), "{ran:#?}");
}

/// Else a Puma that makes way closes connections on which no request has arrived yet, without an answer.
const CLUSTER: &str = "workers 2\nqueue_requests false";

/// Ruby goes on looking for a gem where it found it first: new workers of an old master would load the old one.
#[test]
fn puma_in_phases_with_gems_in_the_release() {
    if server::require("bundle").is_none() {
        return;
    }
    let start = "exec bundle exec puma -C config/puma.rb config.ru";
    for shell in ["dash", "busybox"] {
        let Some(app) = puma_by(shell, start, CLUSTER, "auto") else { continue };
        let ran = walk(&with_gems(app, "puma"));
        assert!(ran.value("notice").is_some_and(|n| n.contains("restarted in place")), "{ran:#?}");
    }
}

#[test]
fn puma_in_phases_with_the_same_bundle() {
    if server::require("bundle").is_none() {
        return;
    }
    let start = "exec bundle exec puma -C config/puma.rb config.ru";
    let Some(mut app) = puma_by("dash", start, CLUSTER, "auto") else { return };
    app.file("Gemfile", "gem 'rack'\ngem 'puma'\n".to_owned());
    app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
    for release in [A, B, C] {
        app.release(release, true);
    }
    app.go(None, A).ok();
    // Bundler wrote it; people commit it.
    let locked = app.server.read(&format!("releases/{A}/Gemfile.lock"));
    let master = app.server.read("shared/tmp/pids/puma.pid");
    for (from, to) in [(A, B), (B, C)] {
        app.server.write(&format!("releases/{to}/Gemfile.lock"), &locked);
        let ran = without_loss(&app, from, to);
        assert_eq!(ran.value("notice"), None, "{ran:#?}");
        assert_eq!(app.answers().as_deref(), Some(to));
        app.prove(to).ok();
    }
    assert_eq!(app.server.read("shared/tmp/pids/puma.pid"), master);
    app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
}

/// An application below the release: its Gemfile lies where its master works.
#[test]
fn puma_in_phases_in_a_directory_of_the_release() {
    if server::require("bundle").is_none() {
        return;
    }
    let start = "cd backend && exec bundle exec puma -C config/puma.rb config.ru";
    for shell in ["dash", "busybox"] {
        let Some(mut app) = puma_by(shell, start, CLUSTER, "auto") else { continue };
        app.files.retain(|(name, _)| *name == "config/puma.rb");
        let mut configuration = app.files.remove(0).1;
        configuration = configuration.replace(&app.path("current"), &app.path("current/backend"));
        app.file("backend/config/puma.rb", configuration);
        app.file("backend/config.ru", RU.to_owned());
        app.file("backend/Gemfile", "gem 'rack'\ngem 'puma'\ngem 'hello', path: 'engines/hello'\n".to_owned());
        let spec =
            "Gem::Specification.new { |s| s.name = 'hello'; s.version = '1.0'; s.summary = 's'; s.authors = ['a'] }\n";
        app.file("backend/engines/hello/hello.gemspec", spec.to_owned());
        let gem = "HELLO = File.read(File.expand_path('../../../../REVISION', __dir__)).strip\n";
        app.file("backend/engines/hello/lib/hello.rb", gem.to_owned());
        let ran = walk(&app);
        assert!(ran.value("notice").is_some_and(|n| n.contains("restarted in place")), "{ran:#?}");
    }
}

/// Its master computes them once, and its workers have them for ever.
#[test]
fn puma_whose_configuration_computes_paths_restarts_in_place() {
    let start = "exec puma -C config/puma.rb";
    for more in
        ["rackup File.join(File.expand_path('..', __dir__), 'config.ru')", "rackup File.expand_path('config.ru')"]
    {
        let Some(app) = puma_by("dash", start, &format!("{CLUSTER}\n{more}"), "auto") else { return };
        let ran = walk(&app);
        assert!(ran.value("notice").is_some_and(|n| n.contains("computes when it is read")), "{ran:#?}");
    }
}

#[test]
fn gunicorn_whose_configuration_computes_paths_is_upgraded() {
    let more = "import os\npythonpath = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'lib')\n";
    let Some(mut app) = gunicorn_in("gunicorn -c gunicorn.conf.py --daemon served:app", "reload", more) else { return };
    app.files.retain(|(name, _)| *name != "wsgi.py");
    let served = "import os\nhere = os.path.dirname(os.path.realpath(__file__))\n\
                  release = open(os.path.join(here, '..', 'REVISION')).read().strip()\n\
                  def app(environ, start_response):\n\
                  \x20   start_response('200 OK', [('Content-Type', 'text/plain'), ('Connection', 'close')])\n\
                  \x20   return [release.encode()]\n";
    app.file("lib/served.py", served.to_owned());
    let ran = walk(&app);
    assert!(ran.value("notice").is_some_and(|n| n.contains("computes from its own place")), "{ran:#?}");
}

/// A reload would keep the application: the configuration lies in another place, or the environment says so.
#[test]
fn gunicorn_is_told_elsewhere_to_preload() {
    let by_file = ("gunicorn --config=deploy/web.py --daemon wsgi:app", "preload_app = True\n");
    let by_environment = (". ./deploy/options; gunicorn --daemon wsgi:app", "");
    for (start, more) in [by_file, by_environment] {
        let Some(mut app) = gunicorn_in(start, "reload", more) else { return };
        for (name, _) in app.files.iter_mut().filter(|(name, _)| *name == "gunicorn.conf.py") {
            *name = "deploy/web.py";
        }
        app.file("deploy/options", "export GUNICORN_CMD_ARGS='--preload -c deploy/web.py'\n".to_owned());
        app.story(Broken::OldGoesOn);
    }
}

/// It is told soon: nothing leads its processes out of there any more.
#[test]
fn unicorn_whose_working_directory_is_its_own_release_is_told() {
    for shell in server::SHELLS {
        let start = "unicorn -c config/unicorn.rb -D config.ru";
        let Some(app) = unicorn_by(shell, start, "working_directory File.expand_path('..', __dir__)") else { continue };
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        for release in [A, B] {
            app.release(release, true);
        }
        app.go(None, A).ok();
        let ran = app.go(Some(A), B).refused("not_proven");
        let why = ran.value("fail").unwrap();
        let current = app.server.root().join("current");
        assert!(
            why.contains("run in another release") && why.contains(&format!("write {}", current.display())),
            "{why}"
        );
        app.go(Some(B), A).ok();
        app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
    }
}

#[test]
fn puma_restarts_in_place_where_its_bundle_has_changed() {
    if server::require("bundle").is_none() {
        return;
    }
    let start = "exec bundle exec puma -C config/puma.rb config.ru";
    for restart in ["auto", "phased"] {
        let Some(app) = puma_by("dash", start, "workers 2", restart) else { return };
        let app = with_gems(app, "puma");
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        app.release(A, true);
        app.release(B, true);
        app.server
            .write(&format!("releases/{B}/Gemfile"), "gem 'rack'\ngem 'puma'\ngem 'hello', path: 'other/hello'\n");
        for file in ["hello.gemspec", "lib/hello.rb"] {
            let text = app.server.read(&format!("releases/{B}/engines/hello/{file}"));
            app.server.write(&format!("releases/{B}/other/hello/{file}"), &text);
        }
        std::fs::remove_dir_all(app.server.root().join(format!("releases/{B}/engines"))).unwrap();
        app.go(None, A).ok();
        let ran = app.go(Some(A), B).ok();
        assert!(ran.value("notice").is_some_and(|n| n.contains("restarted in place")), "{ran:#?}");
        assert_eq!(app.answers().as_deref(), Some(B));
        app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
    }
}

/// A virtualenv in the release, whose scripts name its interpreter as pip has them do it.
fn with_venv(mut app: App) -> App {
    app.files.retain(|(name, _)| *name != "wsgi.py");
    let wsgi = "import os, hello\nif os.path.exists(os.path.join(os.path.dirname(os.path.realpath(__file__)), 'BROKEN')):\n\
                \x20   raise RuntimeError('boom at boot')\n\
                def app(environ, start_response):\n\
                \x20   start_response('200 OK', [('Content-Type', 'text/plain'), ('Connection', 'close')])\n\
                \x20   return [hello.release.encode()]\n";
    app.file("wsgi.py", wsgi.to_owned());
    app
}

fn build_venv(app: &App, release: &str) {
    let dir = app.server.root().join("releases").join(release);
    let made = std::process::Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--system-site-packages", "--without-pip"])
        .arg(dir.join("venv"))
        .status()
        .unwrap();
    assert!(made.success());
    let script = format!(
        "#!/bin/sh\n'''exec' \"{}/venv/bin/python\" \"$0\" \"$@\"\n' '''\n\
         import sys\nfrom gunicorn.app.wsgiapp import run\nsys.exit(run())\n",
        dir.display()
    );
    app.server.write(&format!("releases/{release}/venv/bin/gunicorn"), &script);
    let script = dir.join("venv/bin/gunicorn");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let lib = std::fs::read_dir(dir.join("venv/lib")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(lib.join("site-packages/hello.py"), format!("release = '{release}'\n")).unwrap();
}

#[test]
fn gunicorn_in_a_virtualenv_of_the_release() {
    let plain = "venv/bin/gunicorn -c gunicorn.conf.py --daemon wsgi:app";
    for (start, restart, more, notice) in [
        (plain, "upgrade", "", None),
        (plain, "reload", "", None),
        (plain, "reload", "preload_app = True\n", Some("preloads")),
        // What the template cannot read is found at the restart.
        ("true && venv/bin/gunicorn -c gunicorn.conf.py --daemon wsgi:app", "upgrade", "", Some("its command line")),
        ("exec venv/bin/gunicorn -c gunicorn.conf.py --daemon wsgi:app", "reload", "", Some("its command line")),
    ] {
        let Some(app) = gunicorn_in(start, restart, more) else { return };
        let app = with_venv(app);
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        for release in [A, B, C] {
            app.release(release, true);
            build_venv(&app, release);
        }
        let ran = walk_on(&app);
        let told = ran.values("notice").join("; ");
        assert!(notice.map_or(told.is_empty(), |n| told.contains(n)), "{start} {restart} {more}: {ran:#?}");
    }
}

/// A Gunicorn that ends removes its unix socket, also where the next one listens on it.
#[test]
fn gunicorn_on_a_unix_socket_keeps_it() {
    for start in [
        "venv/bin/gunicorn -c gunicorn.conf.py --daemon wsgi:app",
        "true && venv/bin/gunicorn -c gunicorn.conf.py --daemon wsgi:app",
    ] {
        let Some(mut app) = gunicorn_in(start, "upgrade", "") else { return };
        let socket = app.server.root().join("shared/tmp/web.sock");
        let own = format!("bind = ['127.0.0.1:{}', 'unix:' + {}]\n", app.port, app.path("shared/tmp/web.sock"));
        app.files.iter_mut().filter(|(name, _)| *name == "gunicorn.conf.py").for_each(|(_, text)| text.push_str(&own));
        let app = with_venv(app);
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        for (from, to) in [(None, A), (Some(A), B), (Some(B), C)] {
            app.release(to, true);
            build_venv(&app, to);
            app.go(from, to).ok();
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with(to), "{start}: {answer}");
        }
        app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
    }
}
