//! Web servers whose `[env]` changes from one release to the next.

use super::{A, B, C, LIMIT, gunicorn_in, puma_by, unicorn_by};
use crate::server::{id, owner, run};
use pitcrew::script::calls;

/// A master that re-executes itself, or stays, hands its own environment on.
#[test]
fn what_env_says_now_is_what_serves() {
    let ru =
        "run lambda { |env| [200, {'Content-Type' => 'text/plain'}, [ENV['MODE'].to_s + '/' + ENV['KEPT'].to_s]] }\n";
    let py = "import os\ndef app(environ, start_response):\n\
              \x20   start_response('200 OK', [('Content-Type', 'text/plain'), ('Connection', 'close')])\n\
              \x20   return [(os.environ.get('MODE', '') + '/' + os.environ.get('KEPT', '')).encode()]\n";
    let unicorn = "KEPT=own exec unicorn -c config/unicorn.rb -D config.ru";
    let gunicorn = "KEPT=own gunicorn -c gunicorn.conf.py --daemon wsgi:app";
    let puma = "KEPT=own exec puma -C config/puma.rb config.ru";
    for (made, is_puma) in [
        (unicorn_by("busybox", unicorn, "preload_app true"), false),
        (gunicorn_in(gunicorn, "reload", ""), false),
        (puma_by("dash", puma, "workers 2", "auto"), true),
    ] {
        let Some(mut app) = made else { return };
        app.files.retain(|(name, _)| !["config.ru", "wsgi.py"].contains(name));
        app.file("config.ru", ru.to_owned());
        app.file("wsgi.py", py.to_owned());
        app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
        for release in [A, B, C] {
            app.release(release, true);
        }
        let with = |mode: &str| vec![("MODE".to_owned(), mode.to_owned()), ("KEPT".to_owned(), "file".to_owned())];
        // What some shells' echo would take for something else is in both.
        let (one, two) = (r"\c\n one 'x'", "\\c\\n two 'lines'\nof \"it\"");
        app.server.env = with(one);
        app.go(None, A).ok();
        assert_eq!(app.answers(), Some(format!("{one}/own")));
        // Of what the start command sets itself nothing is said.
        let ran = app.go(Some(A), B).ok();
        assert_eq!((app.answers(), ran.value("notice")), (Some(format!("{one}/own")), None), "{ran:#?}");
        app.server.env = with(two);
        let site = app.server.site();
        app.server.run(&calls::switch(&site, &run(), Some(&id(B)), Some(&id(C)))).ok();
        let call = calls::restart(&site, &run(), &id(C), LIMIT);
        let ran = app.server.run(&if is_puma { call.out_of_traffic() } else { call }).ok();
        assert_eq!(app.answers(), Some(format!("{two}/own")), "{ran:#?}");
        let told =
            if is_puma { "[env] and [secrets] have by now" } else { "[env], [secrets] and .env have by now: MODE" };
        assert!(ran.value("notice").is_some_and(|n| n.contains(told)), "{ran:#?}");
        app.prove(C).ok();
        if !is_puma {
            // On the way back the old release has what it had.
            app.go(Some(C), B).ok();
            assert_eq!(app.answers(), Some(format!("{one}/own")));
            // A shell above the master, which waits for it in the release before, may hold its sockets.
            app.server.env = with(one);
            app.go(Some(B), C).ok();
            let prove = calls::prove(&app.server.site(), &run(), &id(C)).after_answer();
            assert_eq!(app.server.run(&prove.answered_on(app.port)).ok().value("notice"), None);
        }
        app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
    }
}

/// Rails' own puma.rb names no place below `shared`.
#[test]
fn a_puma_that_asks_for_its_pid_file_is_told() {
    let rails = "pidfile ENV.fetch('PIDFILE') { 'tmp/pids/server.pid' }";
    let Some(app) = puma_by("dash", "exec puma -C config/puma.rb config.ru", rails, "auto") else { return };
    app.story(super::Broken::NothingRuns);
}

/// What an application has read from a `.env` it hands on with the rest of its environment.
#[test]
fn what_a_dotenv_says_now_is_what_serves() {
    let load = "File.readlines(File.join(__dir__, '.env')).each { |l| k, v = l.strip.split('=', 2); ENV[k] ||= v }\n\
                run lambda { |env| [200, {'Content-Type' => 'text/plain'}, [ENV['DOT'].to_s]] }\n";
    let Some(mut app) = unicorn_by("dash", "unicorn -c config/unicorn.rb -D config.ru", "preload_app true") else {
        return;
    };
    app.files.retain(|(name, _)| *name != "config.ru");
    app.file("config.ru", load.to_owned());
    app.server.run(&calls::lock(&app.server.site(), &owner())).ok();
    for (release, value) in [(A, "a"), (B, "a"), (C, "'b'")] {
        app.release(release, true);
        app.server.write(&format!("releases/{release}/.env"), &format!("# DOT=x\nexport OTHER=1\nDOT={value}\n"));
    }
    app.go(None, A).ok();
    let ran = app.go(Some(A), B).ok();
    assert_eq!((app.answers().as_deref(), ran.value("notice")), (Some("a"), None), "{ran:#?}");
    let ran = app.go(Some(B), C).ok();
    assert_eq!(app.answers().as_deref(), Some("'b'"), "{ran:#?}");
    assert!(ran.value("notice").is_some_and(|n| n.contains(".env have by now: DOT")), "{ran:#?}");
    app.prove(C).ok();
    app.server.run(&calls::stop(&app.server.site(), &run(), LIMIT)).ok();
}
