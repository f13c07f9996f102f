//! Deploys in a row, each with other libraries in the release, for every web server and way of restarting, under load.
//!
//! After three of them the first release is pruned, and the fourth has to do without it; `PITCREW_TEN=10` makes them ten.

use super::strategies::{apache_alone, start_apache};
use super::systemd::{Installed, Unit, hosts};
use super::{PASSENGER, PUMA, Row, SYSTEMD, UNICORN};
use crate::fleet::Need;
use crate::load::Load;
use crate::stack::{App, Stack};

/// Gunicorn in a virtualenv.
const GUNICORN: &[Need] = &[Need::Namespaces, Need::Tool("git"), Need::Tool("haproxy"), Need::Tool("gunicorn")];

/// Passenger without Apache.
const STANDALONE: &[Need] =
    &[Need::Root, Need::Tool("git"), Need::Tool("haproxy"), Need::Tool("passenger"), Need::Systemd];

pub const CASES: &[Row] = &[
    // The slowest first.
    ("tenfold::passenger_in_apache", PASSENGER, || row(&PASSENGER_APACHE)),
    ("tenfold::passenger_standalone", STANDALONE, || row(&PASSENGER_STANDALONE)),
    ("tenfold::systemd_puma_behind_a_socket", SYSTEMD, || row(&SYSTEMD_PUMA)),
    ("tenfold::systemd_gunicorn", SYSTEMD, || row(&SYSTEMD_GUNICORN)),
    ("tenfold::unicorn_under_bundler", UNICORN, || row(&UNICORN_USR2)),
    ("tenfold::unicorn_with_a_bundle_in_the_release", UNICORN, || row(&UNICORN_VENDOR)),
    ("tenfold::puma_single", PUMA, || row(&PUMA_SINGLE)),
    ("tenfold::puma_cluster", PUMA, || row(&PUMA_CLUSTER)),
    ("tenfold::puma_preload", PUMA, || row(&PUMA_PRELOAD)),
    ("tenfold::puma_phased", PUMA, || row(&PUMA_PHASED)),
    ("tenfold::gunicorn_upgrade", GUNICORN, || row(&GUNICORN_UPGRADE)),
    ("tenfold::gunicorn_reload", GUNICORN, || row(&GUNICORN_RELOAD)),
];

/// A web server and how it is restarted. In its texts `@` is the stack's name, `%` the port.
struct Kind {
    template: &'static str,
    /// Lines of `[web]`.
    web: &'static str,
    /// `[build] run`.
    build: &'static str,
    /// Gems beside the application's own.
    gems: &'static str,
    /// Its configuration.
    config: (&'static str, &'static str),
    /// Whether servers go one at a time, out of their balancer.
    serial: bool,
    /// What runs it, if not the login itself.
    by: By,
}

enum By {
    Itself,
    /// On servers where no other Passenger runs.
    ItselfApart,
    Apache,
    Systemd(Unit),
}

const UNICORN_RB: &str = "root = ENV.fetch('APP_ROOT')\nworking_directory \"#{root}/current\"\n\
    pid \"#{root}/shared/tmp/pids/unicorn.pid\"\nstderr_path \"#{root}/shared/log/unicorn.log\"\n\
    stdout_path \"#{root}/shared/log/unicorn.log\"\nlisten Integer(ENV.fetch('APP_PORT')), backlog: 256\n\
    worker_processes 2\npreload_app true\n";
macro_rules! puma {
    ($more:literal) => {
        (
            "config/puma.rb",
            concat!(
                "root = ENV.fetch('APP_ROOT')\ndirectory \"#{root}/current\"\n\
            pidfile \"#{root}/shared/tmp/pids/puma.pid\"\nbind \"tcp://0.0.0.0:#{ENV.fetch('APP_PORT')}\"\n\
            threads 1, 4\nqueue_requests false\n",
                $more
            ),
        )
    };
}
const GUNICORN_PY: &str = "import os\nroot = os.environ['APP_ROOT']\nbind = '0.0.0.0:' + os.environ['APP_PORT']\n\
    pidfile = root + '/shared/tmp/pids/gunicorn.pid'\nerrorlog = root + '/shared/log/gunicorn.log'\nworkers = 2\n";

const UNICORN_USR2: Kind = Kind {
    template: "unicorn",
    web: "start = \"bundle exec unicorn -E production -c config/unicorn.rb -D\"",
    build: "true",
    gems: "rack unicorn",
    config: ("config/unicorn.rb", UNICORN_RB),
    serial: false,
    by: By::Itself,
};
const UNICORN_VENDOR: Kind = Kind { build: "ruby bundle-here.rb rack unicorn", ..UNICORN_USR2 };
const PUMA_SINGLE: Kind = Kind {
    template: "puma",
    web: "",
    build: "ruby bundle-here.rb rack puma",
    gems: "rack puma",
    config: puma!("workers 0\n"),
    serial: false,
    by: By::Itself,
};
const PUMA_CLUSTER: Kind = Kind { config: puma!("workers 2\n"), ..PUMA_SINGLE };
const PUMA_PRELOAD: Kind = Kind { config: puma!("workers 2\npreload_app!\n"), web: "restart = \"hot\"", ..PUMA_SINGLE };
const PUMA_PHASED: Kind = Kind {
    // Debian's Puma has no puma-wild to prune Bundler with.
    config: puma!("workers 2\nprune_bundler false\n"),
    web: "start = \"exec puma -C config/puma.rb\"\nrestart = \"phased\"",
    build: "true",
    gems: "",
    ..PUMA_SINGLE
};
const GUNICORN_UPGRADE: Kind = Kind {
    template: "gunicorn",
    web: "start = \"venv/bin/gunicorn -c gunicorn.conf.py --daemon wsgi:app\"",
    build: "sh venv-here.sh",
    gems: "",
    config: ("gunicorn.conf.py", GUNICORN_PY),
    serial: false,
    by: By::Itself,
};
const GUNICORN_RELOAD: Kind = Kind {
    web: "start = \"venv/bin/gunicorn -c gunicorn.conf.py --daemon wsgi:app\"\nrestart = \"reload\"",
    ..GUNICORN_UPGRADE
};
const PASSENGER_APACHE: Kind = Kind {
    template: "passenger",
    web: "",
    build: "ruby bundle-here.rb rack",
    gems: "rack",
    config: ("public/.keep", ""),
    serial: true,
    by: By::Apache,
};
const PASSENGER_STANDALONE: Kind = Kind {
    web: "start = \"passenger start -d --engine builtin -a 0.0.0.0 -p % -e production --pid-file /srv/@/shared/tmp/pids/passenger.pid \
          --log-file /srv/@/shared/log/passenger.log\"",
    by: By::ItselfApart,
    ..PASSENGER_APACHE
};
const SYSTEMD_PUMA: Kind = Kind {
    template: "systemd",
    web: "unit = \"@\"\nsudo = true",
    by: By::Systemd(Unit {
        service: "User=deploy\nExecStart=/usr/bin/bundle exec puma -e production -C config/puma.rb",
        socket: true,
        ..super::systemd::NODE
    }),
    ..PUMA_CLUSTER
};
const SYSTEMD_GUNICORN: Kind = Kind {
    template: "systemd",
    web: "unit = \"@\"\nsudo = true\nrestart = \"restart\"",
    serial: true,
    by: By::Systemd(Unit {
        service: "User=deploy\nType=notify\nKillMode=mixed\nExecStart=/srv/@/current/venv/bin/gunicorn -c gunicorn.conf.py wsgi:app",
        ..super::systemd::NODE
    }),
    ..GUNICORN_UPGRADE
};

/// The application of the how manieth deploy: its answer is a text in its library.
fn files(kind: &Kind, nth: usize) -> Vec<(&'static str, String)> {
    let gems: String = kind.gems.split_whitespace().map(|gem| format!("gem '{gem}'\n")).collect();
    let hello =
        if kind.build.contains("bundle-here") { "gem 'hello'\n" } else { "gem 'hello', path: 'engines/hello'\n" };
    let answer = "require 'hello'\nrequire 'socket'\nsleep 0.3\nrun lambda { |env|\n\
        body = %({\"release\":\"#{HELLO}\",\"host\":\"#{Socket.gethostname}\"})\n\
        [200, { 'Content-Type' => 'application/json', 'Content-Length' => body.bytesize.to_s }, [body]] }\n";
    let wsgi = "import json, hello, socket, time\ntime.sleep(0.3)\ndef app(environ, start_response):\n\
        \x20   body = json.dumps({'release': hello.release, 'host': socket.gethostname()}).encode()\n\
        \x20   start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(body)))])\n\
        \x20   return [body]\n";
    let mut files = vec![
        (kind.config.0, kind.config.1.to_owned()),
        ("bundle-here.rb", include_str!("../../fleet/app/bundle-here.rb").to_owned()),
        ("venv-here.sh", include_str!("../../fleet/app/venv-here.sh").to_owned()),
        ("wsgi.py", wsgi.to_owned()),
        ("hello.py", format!("release = '{}'\n", said(nth))),
    ];
    files.push(("engines/hello/lib/hello.rb", format!("HELLO = '{}'\n", said(nth))));
    if gems.is_empty() {
        files.push((
            "config.ru",
            format!("$LOAD_PATH.unshift File.join(File.realpath(__dir__), 'engines/hello/lib')\n{answer}"),
        ));
    } else {
        let spec = format!(
            "Gem::Specification.new {{ |s| s.name = 'hello'; s.version = '1.0.{nth}'; s.summary = 's'; s.authors = ['a'] }}\n"
        );
        files.push(("config.ru", answer.to_owned()));
        files.push(("Gemfile", format!("{gems}{hello}")));
        files.push(("engines/hello/hello.gemspec", spec));
    }
    files
}

/// What the library of the how manieth deploy says.
fn said(nth: usize) -> String {
    format!("library {nth}")
}

fn row(kind: &Kind) {
    let deploys = std::env::var("PITCREW_TEN").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let _alone = matches!(kind.by, By::Apache).then(apache_alone);
    let servers = match kind.by {
        By::Itself => crate::fleet::APART.map(crate::fleet::host).into(),
        By::Apache => vec![crate::fleet::host(1), crate::fleet::host(2)],
        By::Systemd(_) | By::ItselfApart => hosts(),
    };
    let stack = Stack::among(App::Served, servers);
    let web = kind.web.replace('@', &stack.name).replace('%', &stack.port.to_string());
    let stack = stack.web(kind.template, &web).app("keep_releases = 2");
    let stack = stack.tables(&format!("[build]\nrun = [\"{}\"]", kind.build));
    let stack = if kind.serial { stack.balanced().app("strategy = \"serial\"") } else { stack };
    let apache = matches!(kind.by, By::Apache).then(|| start_apache(&stack));
    let installed: Vec<Installed> = match &kind.by {
        By::Systemd(unit) => stack.servers.iter().map(|h| Installed::new(&stack, h, unit)).collect(),
        _ => Vec::new(),
    };
    let (mut load, mut printed) = (None, String::new());
    for nth in 1..=deploys {
        let files = files(kind, nth);
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let revision = stack.commit(&files);
        let args: &[&str] = if nth == 1 { &["deploy", "--parallel"] } else { &["deploy"] };
        printed = stack.pitcrew(args).run().expect(0).printed();
        assert_eq!(stack.answers(), vec![Ok(said(nth)); stack.servers.len()], "answers after deploy {nth}");
        assert_eq!(stack.revisions(), vec![revision; stack.servers.len()]);
        if nth == 1 {
            stack.balancers().into_iter().for_each(crate::balancer::Balancer::wait_until_all_up);
            let direct = format!("{}:{}", stack.servers[0].addr, stack.port);
            load = Some(Load::start(&stack.balancer.as_ref().map_or(direct, crate::balancer::Balancer::authority)));
        }
    }
    load.expect("there was a first deploy").stop().assert_none_failed();
    stack.assert_no_lock();
    for host in &stack.servers {
        // Where cases beside this one run processes of other users, a release that one may come from stays, and that is said.
        let may_stay = !matches!(kind.by, By::Itself);
        let said = |id: &String| may_stay && printed.contains(&format!("old release {id} stays: process "));
        let all = stack.releases(host);
        assert!(all.iter().filter(|id| !said(id)).count() <= 3, "{} is pruned: {all:?}", host.name);
    }
    stack.pitcrew(&["status"]).run().expect(0);
    drop((installed, apache));
    end(&stack);
}

/// Ends what no supervisor ends.
fn end(stack: &Stack) {
    for host in &stack.servers {
        host.sh(&format!("cat /srv/{}/shared/tmp/pids/*.pid 2>/dev/null | xargs -r kill 2>/dev/null; :", stack.name));
    }
}
