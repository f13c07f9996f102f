//! Web servers as units of a real systemd: of every type, with and without a reload, of the login's own and of others.

use super::{Row, SYSTEMD, under_load};
use crate::fleet::{self, Host};
use crate::load::Load;
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("systemd::node_simple", SYSTEMD, || story(&NODE)),
    ("systemd::node_of_the_login_itself", SYSTEMD, || story(&NODE_OF_THE_LOGIN)),
    ("systemd::node_of_another_user", SYSTEMD, || story(&NODE_OF_ANOTHER)),
    ("systemd::node_outside_of_deploy_to", SYSTEMD, || story(&NODE_OUTSIDE)),
    ("systemd::node_behind_a_socket", SYSTEMD, || story(&NODE_BEHIND_A_SOCKET)),
    ("systemd::one_that_keeps_dying_before_it_answers", SYSTEMD, keeps_dying_later),
    ("systemd::puma_simple", SYSTEMD, || story(&PUMA)),
    ("systemd::puma_with_a_phased_reload", SYSTEMD, || story(&PUMA_PHASED)),
    ("systemd::unicorn_with_a_reload", SYSTEMD, || story(&UNICORN)),
    ("systemd::gunicorn_notify_with_a_reload", SYSTEMD, || story(&GUNICORN)),
    ("systemd::a_reload_that_stays_in_the_old_release", SYSTEMD, a_reload_that_stays),
    ("systemd::a_reload_of_another_users_gunicorn", SYSTEMD, a_hidden_reload),
    ("systemd::a_reload_of_a_master_that_loads_no_application", SYSTEMD, a_master_without_code),
    ("systemd::a_unicorn_whose_old_master_never_ends", SYSTEMD, a_master_beside),
    ("systemd::a_gunicorn_that_a_unit_runs_is_told", SYSTEMD, a_gunicorn_of_a_unit),
];

/// How one application runs. In its texts `@` is the stack's name, `%` the port.
pub struct Unit {
    /// Lines of `[web]` beside the unit's name.
    pub web: &'static str,
    /// Lines of `[Service]` beside those that all have.
    pub service: &'static str,
    /// Whether systemd holds its socket.
    pub socket: bool,
    /// Whether the login's own systemd runs it.
    pub own: bool,
    /// The promise: no request fails while a release that boots is deployed.
    pub lossless: bool,
}

pub const NODE: Unit = Unit {
    web: "sudo = true",
    service: "User=deploy\nExecStart=/usr/bin/node server.js",
    socket: false,
    own: false,
    lossless: false,
};
const NODE_OF_THE_LOGIN: Unit =
    Unit { web: "user = true", service: "ExecStart=/usr/bin/node server.js", own: true, ..NODE };
const NODE_OF_ANOTHER: Unit = Unit { service: "User=www-data\nExecStart=/usr/bin/node server.js", ..NODE };
/// Where it works tells nothing; that its process is new is the proof, and `status` finds nothing wrong with it.
const NODE_OUTSIDE: Unit =
    Unit { service: "User=deploy\nWorkingDirectory=/\nExecStart=/usr/bin/node /srv/@/current/server.js", ..NODE };
const NODE_BEHIND_A_SOCKET: Unit = Unit { socket: true, lossless: true, ..NODE };
const PUMA: Unit = Unit { service: "User=deploy\nExecStart=/usr/bin/puma -w 2 -b tcp://0.0.0.0:% config.ru", ..NODE };
const PUMA_PHASED: Unit = Unit {
    service: "User=deploy\nExecReload=/bin/kill -USR1 $MAINPID\n\
              ExecStart=/usr/bin/puma -e production -C /srv/@/current/puma.rb config.ru",
    lossless: true,
    ..NODE
};
const UNICORN: Unit = Unit {
    service: "User=deploy\nExecReload=/bin/kill -HUP $MAINPID\nExecStart=/usr/bin/unicorn -c config/unicorn.rb",
    lossless: true,
    ..NODE
};
pub const GUNICORN: Unit = Unit {
    service: "User=deploy\nType=notify\nExecReload=/bin/kill -s HUP $MAINPID\nKillMode=mixed\n\
              ExecStart=/usr/bin/gunicorn -b 0.0.0.0:% -w 2 --chdir /srv/@/current wsgi:app",
    lossless: true,
    ..NODE
};

/// Hosts that systemd runs.
pub fn hosts() -> Vec<&'static Host> {
    fleet::booted().as_ref().expect("a case without Need::Systemd asked for it").clone()
}

/// The stack's unit on a host, which ends with the case.
pub struct Installed<'a> {
    stack: &'a Stack,
    host: &'static Host,
    unit: &'a Unit,
}

impl<'a> Installed<'a> {
    pub fn new(stack: &'a Stack, host: &'static Host, unit: &'a Unit) -> Self {
        let fill = |text: &str| text.replace('@', &stack.name).replace('%', &stack.port.to_string());
        let service = format!(
            "[Unit]\nDescription=@\n[Service]\nWorkingDirectory=/srv/@/current\nEnvironment=APP_ROOT=/srv/@ APP_PORT=%\n\
             Restart=always\nTimeoutStopSec=10\n{}\n",
            unit.service
        );
        let dir = if unit.own { "/home/deploy/.config/systemd/user" } else { "/etc/systemd/system" };
        let this = Self { stack, host, unit };
        this.asked(&format!("mkdir -p {dir}"));
        let write = |kind: &str, text: &str| {
            std::fs::write(host.seen(&format!("{dir}/{}.{kind}", stack.name)), fill(text))
                .expect("a unit can be written");
        };
        write("service", &service);
        if unit.socket {
            write("socket", "[Socket]\nListenStream=0.0.0.0:%\nBacklog=512\n");
        }
        this.systemctl("daemon-reload");
        if unit.socket {
            this.systemctl(&format!("start {}.socket", stack.name));
        }
        this
    }

    fn asked(&self, command: &str) -> String {
        if self.unit.own {
            self.host.sh(&format!("XDG_RUNTIME_DIR=/run/user/1500 {command}"))
        } else {
            self.host.root_sh(command)
        }
    }

    pub fn systemctl(&self, words: &str) -> String {
        self.asked(&format!("systemctl {}{words}", if self.unit.own { "--user " } else { "" }))
    }

    pub fn show(&self, property: &str) -> String {
        self.systemctl(&format!("show --value -p {property} {}", self.stack.name)).trim().to_owned()
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        self.systemctl(&format!(
            "stop {0}.service $(systemctl list-units --plain --no-legend {0}.socket | cut -d' ' -f1)",
            self.stack.name
        ));
    }
}

/// The application in all languages, and these files.
pub fn files(flag: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let unicorn =
        "working_directory \"#{ENV['APP_ROOT']}/current\"\nlisten Integer(ENV['APP_PORT'])\nworker_processes 2\n";
    let app = [
        ("BOOT_SLEEP", "0.2"),
        ("server.js", include_str!("../../fleet/app/server.js")),
        ("wsgi.py", include_str!("../../fleet/app/wsgi.py")),
        ("config/unicorn.rb", unicorn),
    ];
    app.iter().chain(flag).copied().collect()
}

/// A first deploy, another with other code, one that dies while it boots, and the way back to the first.
fn story(unit: &Unit) {
    let stack = Stack::among(App::Served, hosts()[..1].to_vec());
    let web = format!("unit = \"{}\"\n{}", stack.name, unit.web);
    let stack = stack.web("systemd", &web);
    let installed = Installed::new(&stack, stack.servers[0], unit);
    let first = stack.commit(&files(&[]));
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&first]);
    let good = stack.current(stack.servers[0]).unwrap();

    let authority = format!("{}:{}", stack.servers[0].addr, stack.port);
    let load = unit.lossless.then(|| Load::start(&authority));
    let second = stack.commit(&files(&[]));
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&second]);
    if let Some(load) = load {
        load.stop().assert_none_failed();
    }

    // It is taken back whatever systemd counts against the unit.
    for _ in 0..2 {
        stack.commit(&files(&[("BROKEN", "")]));
        let ran = stack.pitcrew(&["deploy"]).run().expect(1);
        let said = ran.printed();
        assert!(said.contains("back on its old release"), "{said}");
        stack.assert_serves(&[&second]);
        stack.assert_no_lock();
        assert_eq!(installed.show("ActiveState"), "active");
    }

    let ran = stack.pitcrew(&["rollback"]).run().expect(0);
    stack.assert_serves(&[&first]);
    assert_eq!(stack.current(stack.servers[0]).unwrap(), good, "{}", ran.printed());
    stack.pitcrew(&["status"]).run().expect(0);
}

/// Gunicorn's documented unit: a reload leaves its master, and all new workers, in the release that it was started in.
fn a_reload_that_stays() {
    let stack = Stack::among(App::Served, hosts()).balanced();
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web);
    let service = "User=deploy\nType=notify\nExecReload=/bin/kill -s HUP $MAINPID\nKillMode=mixed\n\
                   ExecStart=/usr/bin/gunicorn -b 0.0.0.0:% -w 2 wsgi:app";
    let unit = Unit { service, ..GUNICORN };
    let _installed: Vec<_> = stack.servers.iter().map(|h| Installed::new(&stack, h, &unit)).collect();
    refused_then_restarted(&stack, (&["deploy"], &[]), (&["deploy", "--serial"], &[]));
}

/// What to run, and what it is to say.
pub type Told<'a> = (&'a [&'a str], &'a [&'a str]);

/// With the servers in traffic it is refused, and nothing is lost; out of their balancer they are restarted instead.
pub fn refused_then_restarted(stack: &Stack, refused: Told<'_>, restarted: Told<'_>) {
    let run = |(line, words): Told<'_>, exit: i32, more: &str, serves: &str| {
        let seen = under_load(stack, line);
        let said = seen.ran.expect(exit).printed();
        assert!(words.iter().chain([&more]).all(|word| said.contains(word)), "{words:?}, {more}: {said}");
        seen.load.assert_none_failed();
        stack.assert_serves(&[serves; 2]);
    };
    let first = stack.commit(&files(&[]));
    stack.deploy_first();
    let second = stack.commit(&files(&[]));
    run(refused, 1, "set restart = \"restart\" in [web]", &first);
    stack.assert_no_lock();
    run(restarted, 0, "it was restarted instead", &second);
    stack.assert_all_in_balancer();
}

/// The login may not see what its master has loaded, which a reload keeps.
fn a_hidden_reload() {
    let stack = Stack::among(App::Served, hosts()).balanced();
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web);
    let service = "User=www-data\nType=notify\nExecReload=/bin/kill -s HUP $MAINPID\nKillMode=mixed\n\
                   ExecStart=/usr/bin/gunicorn -b 0.0.0.0:% -w 2 --preload wsgi:app";
    let unit = Unit { service, ..GUNICORN };
    let _installed: Vec<_> = stack.servers.iter().map(|h| Installed::new(&stack, h, &unit)).collect();
    let told = "serial is the default here";
    refused_then_restarted(&stack, (&["deploy", "--parallel"], &["nothing was touched"]), (&["deploy"], &[told]));
    stack.pitcrew(&["status"]).run().expect(0);
}

/// As PHP-FPM's: a root's master outside `deploy_to`, and workers of another user that read the code.
const FPM: &str = r#"
import os, signal, socket, sys
open("/proc/self/comm", "w").write("php-fpm8.2")
listener = socket.create_server(("0.0.0.0", int(os.environ["APP_PORT"])), backlog=512)
workers = []
def fill():
    for _ in range(2):
        pid = os.fork()
        if pid:
            workers.append(pid)
            continue
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        os.setgid(33)
        os.setuid(33)
        body = b'{"release": "%s"}' % open(os.environ["APP_ROOT"] + "/current/REVISION", "rb").read().strip()
        while True:
            client, _ = listener.accept()
            client.recv(65536)
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            client.close()
def reload(*_):
    old = workers[:]
    workers.clear()
    fill()
    for pid in old:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
signal.signal(signal.SIGUSR2, reload)
fill()
while True:
    signal.pause()
"#;

fn a_master_without_code() {
    let stack = Stack::among(App::Served, hosts()[..1].to_vec());
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web);
    let service =
        "WorkingDirectory=/\nExecReload=/bin/kill -USR2 $MAINPID\nExecStart=/usr/bin/python3 /srv/@/current/fpm.py";
    let unit = Unit { service, ..NODE };
    let installed = Installed::new(&stack, stack.servers[0], &unit);
    stack.commit(&files(&[("fpm.py", FPM)]));
    stack.pitcrew(&["deploy"]).run().expect(0);
    let master = installed.show("MainPID");
    let second = stack.commit(&files(&[("fpm.py", FPM)]));
    let said = stack.pitcrew(&["deploy"]).run().expect(0).printed();
    stack.assert_serves(&[&second]);
    assert_eq!(installed.show("MainPID"), master);
    assert!(
        said.contains(&format!("process {master} (php-fpm8.2), which loads no application itself, has stayed")),
        "{said}"
    );
    let proven = said.split("only that they are new is proven:").nth(1).unwrap_or_default();
    assert!(!proven.split(';').next().is_some_and(|new| new.split(' ').any(|pid| pid == master)), "{said}");
    stack.pitcrew(&["status"]).run().expect(0);
}

/// USR2 without a `before_fork` that ends the old master leaves both, and refuses the next USR2.
fn a_master_beside() {
    let stack = Stack::among(App::Served, hosts()[..1].to_vec());
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web).tables("[timeouts]\nrestart = \"15s\"");
    let service = "User=deploy\nType=forking\nPIDFile=/srv/@/shared/tmp/pids/unicorn.pid\n\
                   ExecReload=/bin/kill -USR2 $MAINPID\nExecStart=/usr/bin/unicorn -D -c config/unicorn.rb";
    let unit = Unit { service, ..NODE };
    let installed = Installed::new(&stack, stack.servers[0], &unit);
    let configuration = "working_directory \"#{ENV['APP_ROOT']}/current\"\nlisten Integer(ENV['APP_PORT'])\n\
                         pid \"#{ENV['APP_ROOT']}/shared/tmp/pids/unicorn.pid\"\nworker_processes 2\npreload_app true\n";
    let all = files(&[("config/unicorn.rb", configuration)]);
    let first = stack.commit(&all);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.commit(&all);
    let said = stack.pitcrew(&["deploy"]).run().expect(1).printed();
    assert!(said.contains("old processes are still there"), "{said}");
    for _ in 0..20 {
        stack.assert_serves(&[&first]);
    }
    stack.assert_no_lock();
    assert_eq!(installed.show("ActiveState"), "active");
}

/// A unit would start another one as soon as the old master ends.
fn a_gunicorn_of_a_unit() {
    let stack = Stack::among(App::Served, hosts()[..1].to_vec());
    let web = format!("start = \"sudo -n systemctl start {}\"", stack.name);
    let stack = stack.web("gunicorn", &web);
    let service =
        "User=deploy\nExecStart=/usr/bin/gunicorn -b 0.0.0.0:% -w 2 -p /srv/@/shared/tmp/pids/gunicorn.pid wsgi:app";
    let unit = Unit { service, ..NODE };
    let _installed = Installed::new(&stack, stack.servers[0], &unit);
    let first = stack.commit(&files(&[]));
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&first]);
    let said = stack.pitcrew(&["check"]).run().printed();
    let unit = &stack.name;
    assert!(said.contains(&format!("is run by {unit}.service")) && said.contains("web_server = \"systemd\""), "{said}");
}

/// It outlives the restart each time, and would be asked for its health for a minute.
fn keeps_dying_later() {
    let stack = Stack::among(App::Served, hosts()[..1].to_vec());
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web).tables("[profiles.slow]\nhealth.within = \"60s\"");
    let _installed = Installed::new(&stack, stack.servers[0], &NODE);
    let first = stack.commit(&files(&[]));
    stack.pitcrew(&["deploy"]).run().expect(0);

    stack.commit(&files(&[("DYING", "3.5")]));
    let said = stack.pitcrew(&["-p", "slow", "deploy"]).run().expect(1).printed();
    assert!(said.contains("the restart is not proven") && !said.contains("not healthy"), "{said}");
    stack.assert_serves(&[&first]);
    stack.assert_no_lock();
}
