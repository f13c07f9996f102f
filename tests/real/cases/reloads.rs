//! Reloads of real units that keep what the next release has otherwise, and units that ran before there was a release.

use super::systemd::{GUNICORN, Installed, NODE, Unit, files, hosts, refused_then_restarted};
use super::{Row, SYSTEMD, under_load};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("reloads::an_application_that_its_master_preloads", SYSTEMD, preloaded),
    ("reloads::an_environment_file_that_has_changed", SYSTEMD, environment_file),
    ("reloads::a_unit_that_ran_before_the_first_deploy", SYSTEMD, ran_before),
];

/// Its reload enters the new release, and goes on with the application of the old one.
fn preloaded() {
    let stack = Stack::among(App::Served, hosts()).balanced();
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web);
    let service = "User=deploy\nType=notify\nExecReload=/bin/kill -s HUP $MAINPID\nKillMode=mixed\n\
                   ExecStart=/usr/bin/gunicorn -b 0.0.0.0:% -w 2 --preload --chdir /srv/@/current wsgi:app";
    let unit = Unit { service, ..GUNICORN };
    let _installed: Vec<_> = stack.servers.iter().map(|h| Installed::new(&stack, h, &unit)).collect();
    let told = "keeps the application, which it preloads";
    refused_then_restarted(&stack, (&["deploy", "--parallel"], &[told]), (&["deploy", "--serial"], &[]));
}

/// systemd reads it when it starts the unit, and a reload keeps what it had then.
fn environment_file() {
    let stack = Stack::among(App::Served, hosts()).balanced();
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web);
    let service = "User=deploy\nType=notify\nEnvironmentFile=/srv/@/shared/env\nExecReload=/bin/kill -s HUP $MAINPID\n\
                   KillMode=mixed\nExecStart=/usr/bin/gunicorn -b 0.0.0.0:% -w 2 --chdir /srv/@/current wsgi:app";
    let unit = Unit { service, ..GUNICORN };
    let _installed: Vec<_> = stack.servers.iter().map(|h| Installed::new(&stack, h, &unit)).collect();
    let write = |text: &str| {
        for host in &stack.servers {
            host.root_sh(&format!(
                "install -d -o deploy /srv/{0} /srv/{0}/shared && echo MODE={text} >/srv/{0}/shared/env && chmod 644 /srv/{0}/shared/env",
                stack.name
            ));
        }
    };
    write("one");
    stack.commit(&files(&[]));
    stack.deploy_first();
    // As it was, it is reloaded, and no request fails.
    let second = stack.commit(&files(&[]));
    let seen = under_load(&stack, &["deploy"]);
    let said = seen.ran.expect(0).printed();
    assert!(!said.contains("restarted instead"), "{said}");
    seen.load.assert_none_failed();
    stack.assert_serves(&[&second; 2]);
    write("two");
    let third = stack.commit(&files(&[]));
    let said = stack.pitcrew(&["deploy", "--parallel"]).run().expect(1).printed();
    assert!(said.contains("shared/env said when it was started"), "{said}");
    let said = stack.pitcrew(&["deploy", "--serial"]).run().expect(0).printed();
    assert!(said.contains("it was restarted instead"), "{said}");
    stack.assert_serves(&[&third; 2]);
}

/// A web server of the machine serves others as well.
fn ran_before() {
    const ALWAYS_500: &str = "import http.server,os,signal\n\
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n\
        class H(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n        self.send_response(500)\n        self.end_headers()\n\
        http.server.HTTPServer((\"0.0.0.0\", int(os.environ[\"APP_PORT\"])), H).serve_forever()\n";
    let stack = Stack::among(App::Served, hosts()[..1].to_vec());
    let web = format!("unit = \"{}\"\nsudo = true", stack.name);
    let stack = stack.web("systemd", &web).tables("[timeouts]\nrestart = \"30s\"");
    let host = stack.servers[0];
    let service = format!(
        "WorkingDirectory=/\nExecReload=/bin/kill -USR2 $MAINPID\nExecStart=/usr/bin/python3 /opt/{}.py",
        stack.name
    );
    std::fs::write(host.seen(&format!("/opt/{}.py", stack.name)), ALWAYS_500).expect("a file can be written");
    let unit = Unit { service: Box::leak(service.into_boxed_str()), ..NODE };
    let installed = Installed::new(&stack, host, &unit);
    installed.systemctl(&format!("start {}", stack.name));
    let main = installed.show("MainPID");
    stack.commit(&files(&[]));
    let said = stack.pitcrew(&["deploy"]).run().expect(1).printed();
    assert!(said.contains("it is left running"), "{said}");
    assert_eq!((installed.show("ActiveState"), installed.show("MainPID")), ("active".to_owned(), main), "{said}");
    stack.assert_no_lock();
}
