//! How servers are reached, seen from outside: the configuration of ssh, and as many connections as it takes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use pitcrew::demo::WebKind;

use crate::deploy::sources::{archive, configure};
use crate::deploy::stack::{PITCREW, Ran, Stack};

/// Runs a program in the place of pitcrew's, with this before all else on the PATH.
async fn run(stack: &Stack, bin: &Path, program: &str, args: &[&str]) -> Ran {
    let mut command = tokio::process::Command::new(program);
    command.args(args).env_clear().current_dir(stack.fleet.path()).stdin(std::process::Stdio::null());
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command.env("HOME", stack.home()).env("XDG_STATE_HOME", stack.home().join("state"));
    Ran::from(tokio::time::timeout(Duration::from_secs(100), command.output()).await.unwrap().unwrap())
}

/// Writes a program that notes down its arguments before it becomes the real one.
fn noting(bin: &Path, name: &str) {
    std::fs::create_dir_all(bin).unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >>\"${{0%/*}}/{name}.log\"\nPATH=${{PATH#*:}}\nexec {name} \"$@\"\n");
    std::fs::write(bin.join(name), script).unwrap();
    std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_is_asked_once_a_host_and_only_where_match_is_used() {
    let stack = Stack::empty(4, WebKind::Reload, "").await;
    let bin = stack.home().join("bin");
    noting(&bin, "ssh");
    let key = stack.fleet.key_file().display().to_string();
    let mut config = stack.fleet.config();
    let ssh = config["ssh"].as_table_mut().unwrap();
    // What the file says of it goes before what ssh's configuration says.
    ssh.insert("config_file".into(), "config".into());
    ssh.remove("identity_file");
    std::fs::write(stack.fleet.path().join("pitcrew.toml"), config.to_string()).unwrap();
    let write = |more: &str| {
        let text = format!("{more}\nHost *\n  User nobody\n  IdentityFile {key}\n  IdentitiesOnly yes\n");
        std::fs::write(stack.fleet.path().join("config"), text).unwrap();
    };
    write("Host 127.*\n  ServerAliveInterval 7");
    let plain = run(&stack, &bin, PITCREW, &["check", "-v"]).await.expect(0);
    assert!(!bin.join("ssh.log").exists(), "nobody asks ssh what can be read");
    for said in ["IdentityFile", "config:5", "ServerAliveInterval 7  (", "config:2", "[ssh] user"] {
        assert!(plain.stdout.contains(said), "{said}: {plain}");
    }
    write("Match exec true\n  ServerAliveInterval 7");
    run(&stack, &bin, PITCREW, &["deploy"]).await.expect(0);
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(bin.join("ssh.log")).unwrap().lines() {
        assert!(line.starts_with("-G "), "{line}");
        *asked.entry(line.rsplit(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    let mut expected: BTreeMap<String, usize> = stack.fleet.servers().iter().map(|s| (s.ip().to_string(), 1)).collect();
    expected.extend(stack.fleet.balancer_hosts().iter().map(|s| (s.ip().to_string(), 1)));
    expected.insert("default".into(), 1);
    assert_eq!(asked, expected);
}

/// A laptop's limit is no limit for many servers; one that cannot be raised is told as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_open_files_is_raised() {
    let stack = Stack::empty(16, WebKind::Reload, "").await;
    let limited = async |limit: &str| {
        let script = format!("ulimit {limit} 24 && exec \"$0\" check");
        run(&stack, Path::new("/nowhere"), "/bin/sh", &["-c", &script, PITCREW]).await
    };
    limited("-S -n").await.expect(0);
    let refused = limited("-n").await.expect(5);
    assert!(refused.stdout.contains("Too many open files"), "{refused}");
}

/// A web server with a certificate of an authority of its own.
struct Secure(std::process::Child, u16);

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SERVER: &str = "import http.server, ssl, sys\n\
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n\
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
    c.load_cert_chain('cert.pem', 'key.pem')\n\
    s.socket = c.wrap_socket(s.socket, server_side=True)\n\
    open('port', 'w').write('%d\\n' % s.server_address[1])\n\
    s.serve_forever()\n";

impl Secure {
    async fn start(dir: &Path) -> Option<Self> {
        let run = |program: &str, args: &[&str]| {
            std::process::Command::new(program).args(args).current_dir(dir).output().ok().filter(|o| o.status.success())
        };
        let made = run(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
                "-days",
                "30",
                "-subj",
                "/CN=pitcrew test",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ],
        );
        if made.is_none() || run("python3", &["-c", "import ssl"]).is_none() {
            assert!(std::env::var_os("PITCREW_REQUIRE_REAL").is_none(), "openssl or python3 is not installed");
            return None;
        }
        let mut python = std::process::Command::new("python3");
        python
            .args(["-c", SERVER])
            .current_dir(dir)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        // Ended with the value, whatever happens.
        let mut web = Self(python.spawn().unwrap(), 0);
        for _ in 0..1500 {
            if let Ok(port) = std::fs::read_to_string(dir.join("port")).unwrap_or_default().trim().parse() {
                web.1 = port;
                return Some(web);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the web server does not start");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_comes_over_https_from_those_who_are_trusted_alone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(web) = Secure::start(dir.path()).await else { return };
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    let (bytes, sum) = archive("1", 1000);
    std::fs::write(dir.path().join("shop.tgz"), bytes).unwrap();
    let trusted = dir.path().join("cert.pem");
    let nowhere = Path::new("/nowhere");
    for fetch in ["here", "servers"] {
        let source = format!(
            "kind = 'archive'\nurl = 'https://127.0.0.1:{}/shop.tgz'\nsha256 = '{sum}'\nfetch = '{fetch}'",
            web.1
        );
        configure(&stack, &source, "");
        let refused = run(&stack, nowhere, PITCREW, &["deploy"]).await;
        assert_eq!(refused.code, if fetch == "here" { 5 } else { 1 }, "{refused}");
        assert!(refused.stderr.to_lowercase().contains("certificate"), "{refused}");
        // On this machine by its own settings, on the servers by [env], as proxies are.
        configure(&stack, &source, &format!("env.CURL_CA_BUNDLE = '{}'", trusted.display()));
        let mut command = stack.command(&["deploy"]);
        command.env("SSL_CERT_FILE", &trusted);
        let ran = tokio::time::timeout(Duration::from_secs(100), command.output()).await.unwrap().unwrap();
        Ran::from(ran).expect(0);
        assert_eq!(stack.versions(), ["1", "1"]);
    }
}
