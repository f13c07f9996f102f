//! Ways to log in: certificates, security keys, questions, the lent agent.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use pitcrew::ssh::{ConnectErrorKind, Ended, Exec};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, Response, Session};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ssh::daemon::Sshd;
use crate::ssh::real::{Agent, agent, keygen, keygen_with, sshd};
use crate::ssh::support::{Answers, Client, command, run};

/// An sshd that trusts an authority for its users.
fn certifying() -> Option<(Sshd, PathBuf)> {
    let dir = tempfile::tempdir().unwrap().keep();
    let ca = dir.join("ca");
    keygen(&ca, "ed25519", "");
    let sshd = sshd(&format!("TrustedUserCAKeys {}.pub", ca.display()))?;
    // Beside the server's files, so that it goes with them.
    let kept = sshd.dir.path().join("ca");
    std::fs::copy(&ca, &kept).unwrap();
    std::fs::set_permissions(&kept, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Some((sshd, dir))
}

/// Signs a key for the user who runs the tests; gives the certificate's file.
fn certify(sshd: &Sshd, key: &Path, validity: &str) -> PathBuf {
    let user = crate::ssh::support::me();
    let out = Command::new("ssh-keygen")
        .args(["-q", "-I", "the id", "-n", &user, "-V", validity, "-s"])
        .arg(sshd.dir.path().join("ca"))
        .arg(format!("{}.pub", key.display()))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    PathBuf::from(format!("{}-cert.pub", key.display()))
}

#[tokio::test]
async fn certificates_of_every_kind_log_in() {
    let Some((sshd, dir)) = certifying() else { return };
    for kind in ["ed25519", "ecdsa", "rsa"] {
        // Beside its key.
        let mut client = Client::new();
        let key = client.home.path().join("key");
        keygen(&key, kind, "");
        let certificate = certify(&sshd, &key, "+1h");
        client.ssh.identity_files = vec![key.clone()];
        client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{kind} beside its key: {e:?}"));

        // Elsewhere, named; the key is in a file.
        let elsewhere = client.home.path().join("elsewhere.pub");
        std::fs::rename(&certificate, &elsewhere).unwrap();
        let e = client.link(sshd.port).session().await.err().unwrap();
        assert_eq!(e.kind(), ConnectErrorKind::Auth, "{kind}: {e:?}");
        let text = format!(
            "Host *\n  IdentityFile {}\n  CertificateFile {}\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n",
            key.display(),
            elsewhere.display()
        );
        let mut named = Client::configured(&text);
        named.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{kind} named: {e:?}"));

        // The key is in the agent alone.
        let held = agent(client.home.path(), &[&key]);
        std::fs::remove_file(&key).unwrap();
        named.agent = Some(held.socket.clone());
        named.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{kind} signed by the agent: {e:?}"));
        drop(held);

        // Key and certificate are in the agent.
        let mut client = Client::new();
        let key = client.home.path().join("key");
        keygen(&key, kind, "");
        certify(&sshd, &key, "+1h");
        let held = agent(client.home.path(), &[&key]);
        client.agent = Some(held.socket.clone());
        client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{kind} in the agent: {e:?}"));

        // Encrypted: the passphrase is asked for when the server would take the certificate.
        let mut client = Client::new();
        let key = client.home.path().join("key");
        keygen(&key, kind, "secret");
        certify(&sshd, &key, "+1h");
        client.ssh.identity_files = vec![key.clone()];
        client.answers = Arc::new(Answers { passphrase: Some("secret".into()), ..Answers::default() });
        client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{kind} encrypted: {e:?}"));
        assert_eq!(*client.answers.asked.lock().unwrap(), [key], "{kind}");
    }
    assert_eq!(sshd.log().matches("ID the id").count() % 5, 0, "{}", sshd.log());
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_of_no_use_is_told() {
    let Some((sshd, dir)) = certifying() else { return };
    let mut client = Client::new();
    let (old, other) = (client.home.path().join("old"), client.home.path().join("other"));
    keygen(&old, "ed25519", "");
    keygen(&other, "ed25519", "");
    certify(&sshd, &old, "20200101:20200102");
    let lonely = certify(&sshd, &other, "+1h");
    std::fs::remove_file(&other).unwrap();
    std::fs::remove_file(client.home.path().join("other.pub")).unwrap();
    client.ssh.identity_files = vec![old.clone()];
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("old-cert.pub (it has expired"), "{e}");
    let client = Client::configured(&format!(
        "CertificateFile {}\nCertificateFile /nowhere/cert\nIdentityFile {}\nStrictHostKeyChecking no\n",
        lonely.display(),
        old.display()
    ));
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("neither a key file nor the agent holds its key"), "{e}");
    assert!(e.to_string().contains("/nowhere/cert (there is no such file)"), "{e}");
    std::fs::remove_dir_all(dir).unwrap();
}

fn keys(client: &Client, count: usize) -> (Vec<PathBuf>, Agent) {
    let keys: Vec<PathBuf> = (0..count).map(|i| client.home.path().join(format!("k{i}"))).collect();
    keys.iter().for_each(|k| keygen(k, "ed25519", ""));
    let agent = agent(client.home.path(), &keys.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    (keys, agent)
}

#[tokio::test]
async fn the_named_key_of_a_full_agent_comes_first() {
    let Some(sshd) = sshd("MaxAuthTries 2") else { return };
    let mut client = Client::configured("");
    let (keys, agent) = keys(&client, 8);
    sshd.authorize(&keys[6]);
    client.agent = Some(agent.socket.clone());
    let usual = "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n";
    // Its public half is enough, as for keys that never leave the agent.
    std::fs::remove_file(&keys[6]).unwrap();
    for line in [format!("IdentityFile {}", keys[6].display()), format!("IdentityFile {}.pub", keys[6].display())] {
        client.configure(&format!("{line}\n{usual}"));
        client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{line}: {e:?}"));
    }
    assert!(!sshd.log().contains("Failed publickey"), "{}", sshd.log());
    // Nothing else of the agent is offered.
    client.configure(&format!("IdentitiesOnly yes\nIdentityFile {}\n{usual}", keys[1].display()));
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("7 of the agent's (IdentitiesOnly)"), "{e}");
    assert_eq!(sshd.log().matches("Failed publickey").count(), 1);
    // Another agent, and none.
    client.agent = Some("/nowhere/agent".into());
    let key = format!("IdentityFile {}\nIdentitiesOnly yes\n{usual}", keys[6].display());
    client.configure(&format!("IdentityAgent {}\n{key}", agent.socket.display()));
    client.link(sshd.port).session().await.unwrap();
    client.agent = Some(agent.socket.clone());
    client.configure(&format!("IdentityAgent none\n{key}"));
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("only its public half is there"), "{e}");
}

#[tokio::test]
async fn the_agent_is_lent_only_when_asked_for() {
    let Some(sshd) = sshd("AllowAgentForwarding yes") else { return };
    let mut client = sshd.client();
    let key = client.home.path().join("lent");
    keygen(&key, "ed25519", "");
    let agent = agent(client.home.path(), &[&key]);
    client.agent = Some(agent.socket.clone());
    let lists = async |client: &Client| {
        let session = client.link(sshd.port).session().await.unwrap();
        let lent = |text: &str| Exec { lends: true, ..command(text) };
        let first = run(&session, lent("ssh-add -l 2>&1 || exit 9")).await;
        assert_eq!(
            run(&session, lent("ssh-add -l >/dev/null 2>&1")).await.0 == Ended::Exit(0),
            first.0 == Ended::Exit(0)
        );
        // To a command that has no need of it nothing is lent, also where sshd still names it the socket of another.
        let none = run(&session, command("ssh-add -l >/dev/null 2>&1")).await;
        assert_ne!(none.0, Ended::Exit(0));
        (first.0, first.1.out.concat())
    };
    let (ended, out) = lists(&client).await;
    assert_eq!(ended, Ended::Exit(9), "{out}");
    client.ssh.forward_agent = Some(true);
    let (ended, out) = lists(&client).await;
    let print = Command::new("ssh-keygen").arg("-lf").arg(&key).output().unwrap();
    let print = String::from_utf8(print.stdout).unwrap();
    assert_eq!(ended, Ended::Exit(0), "{out}");
    assert!(out.contains(print.split(' ').nth(1).unwrap()), "{out}");
    // An agent that is gone costs the command its agent, and nothing else.
    drop(agent);
    let (ended, _) = lists(&client).await;
    assert_eq!(ended, Ended::Exit(9));
}

/// An agent that holds one security key, which is touched by nobody or by `touched`.
async fn security_key(dir: &Path, touched: bool) -> (PathBuf, String) {
    let pair = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let raw = pair.public_key().key_data().ed25519().unwrap().0;
    let mut blob = Vec::new();
    for part in [&b"sk-ssh-ed25519@openssh.com"[..], &raw, b"ssh:"] {
        string(&mut blob, part);
    }
    use base64::Engine as _;
    let line = format!("sk-ssh-ed25519@openssh.com {}\n", base64::engine::general_purpose::STANDARD.encode(&blob));
    let socket = dir.join("sk-agent");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (pair, blob) = (pair.clone(), blob.clone());
            tokio::spawn(async move {
                while let Ok(len) = stream.read_u32().await {
                    let mut request = vec![0; len as usize];
                    stream.read_exact(&mut request).await.unwrap();
                    let mut answer = Vec::new();
                    match request[0] {
                        11 => {
                            answer.extend([12, 0, 0, 0, 1]);
                            string(&mut answer, &blob);
                            string(&mut answer, b"the key");
                        }
                        13 if !touched => std::future::pending().await,
                        13 => {
                            let at = 1 + 4 + blob.len();
                            let len = u32::from_be_bytes(request[at..at + 4].try_into().unwrap()) as usize;
                            let data = &request[at + 4..at + 4 + len];
                            // What the device signs: the application, the flags, a counter, the message.
                            let mut signed = sha2::Sha256::digest(b"ssh:").to_vec();
                            signed.extend([1, 0, 0, 0, 7]);
                            signed.extend(sha2::Sha256::digest(data));
                            use russh::keys::signature::Signer as _;
                            let signature = pair.key_data().try_sign(&signed).unwrap();
                            let mut inner = Vec::new();
                            string(&mut inner, b"sk-ssh-ed25519@openssh.com");
                            string(&mut inner, signature.as_bytes());
                            inner.extend([1, 0, 0, 0, 7]);
                            answer.push(14);
                            string(&mut answer, &inner);
                        }
                        _ => answer.push(5),
                    }
                    stream.write_u32(answer.len() as u32).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    (socket, line)
}

fn string(out: &mut Vec<u8>, part: &[u8]) {
    out.extend((part.len() as u32).to_be_bytes());
    out.extend(part);
}

#[tokio::test]
async fn a_security_key_is_touched() {
    let Some(sshd) = sshd("") else { return };
    let mut client = Client::new();
    let (socket, line) = security_key(client.home.path(), true).await;
    std::fs::write(sshd.dir.path().join("authorized_keys"), line).unwrap();
    client.agent = Some(socket);
    client.link(sshd.port).session().await.unwrap();
    assert_eq!(*client.answers.asked.lock().unwrap(), [PathBuf::from("touch the key from the agent")]);
}

#[tokio::test]
async fn a_security_key_that_nobody_touches_is_passed_over() {
    let Some(sshd) = sshd("") else { return };
    let mut client = Client::new();
    let (socket, line) = security_key(client.home.path(), false).await;
    std::fs::write(sshd.dir.path().join("authorized_keys"), line).unwrap();
    let next = client.home.path().join(".ssh/id_ed25519");
    std::fs::create_dir_all(next.parent().unwrap()).unwrap();
    keygen(&next, "ed25519", "");
    sshd.authorize(&next);
    client.agent = Some(socket);
    client.ssh.auth_timeout = Some(Duration::from_secs(2));
    let link = client.link(sshd.port);
    let connecting = tokio::spawn(async move { link.session().await.map(drop) });
    // Until it waits for the touch; then the minute passes at once.
    while client.answers.asked.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    connecting.await.unwrap().unwrap();
    assert!(sshd.log().contains("Accepted publickey for"), "{}", sshd.log());
}

/// A server that takes passwords and answers; the right one is `open`.
#[derive(Clone, Default)]
struct Asking {
    methods: &'static [russh::MethodKind],
    tries: Arc<AtomicUsize>,
}

impl Asking {
    /// As sshd does, the method stays open.
    fn refusal(&self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.methods.into()), partial_success: false }
    }
}

impl russh::server::Handler for Asking {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, russh::Error> {
        self.tries.fetch_add(1, SeqCst);
        Ok(if password == "open" { Auth::Accept } else { self.refusal() })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "Who \x1b[2Jgoes there?".into(),
                prompts: vec![("Code: ".into(), false)].into(),
            });
        };
        self.tries.fetch_add(1, SeqCst);
        let good = response.map(|r| r.to_vec()).collect::<Vec<_>>() == [b"open".to_vec()];
        Ok(if good { Auth::Accept } else { self.refusal() })
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), russh::Error> {
        Ok(())
    }
}

/// Starts it; gives its port.
async fn asking(server: Asking) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(russh::server::Config {
        methods: russh::MethodSet::from(server.methods),
        auth_rejection_time: Duration::ZERO,
        keys: vec![PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()],
        ..russh::server::Config::default()
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (config, server) = (config.clone(), server.clone());
            tokio::spawn(async move {
                if let Ok(running) = russh::server::run_stream(config, stream, server).await {
                    let _ = running.await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_person_is_asked_and_only_where_there_is_one() {
    for (method, name) in
        [(russh::MethodKind::Password, "Password:"), (russh::MethodKind::KeyboardInteractive, "goes there? Code:")]
    {
        let methods: &'static [russh::MethodKind] = Vec::leak(vec![method]);
        let server = Asking { methods, ..Asking::default() };
        let port = asking(server.clone()).await;
        let mut client = Client::new();
        let e = client.link(port).session().await.err().unwrap();
        assert_eq!(e.kind(), ConnectErrorKind::Auth);
        assert!(e.to_string().contains("there is no terminal to ask at"), "{name}: {e}");
        assert_eq!(server.tries.load(SeqCst), 0);

        client.answers = Arc::new(Answers { password: Some("open".into()), ..Answers::default() });
        let link = client.link(port);
        link.session().await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let asked = client.answers.asked.lock().unwrap().clone();
        let question = asked[0].to_str().unwrap();
        assert!(question.contains(&format!("@127.0.0.1:{port}) ")) && question.contains(name), "{question:?}");
        assert!(!question.contains('\x1b'), "{question:?}");
        // Made again without asking.
        link.close().await;
        link.session().await.unwrap();
        assert_eq!((client.answers.asked.lock().unwrap().len(), server.tries.load(SeqCst)), (1, 2), "{name}");

        // Wrong ones are not typed for ever, and are never shown.
        client.answers = Arc::new(Answers { password: Some("Sesame".into()), ..Answers::default() });
        let e = client.link(port).session().await.err().unwrap();
        assert_eq!(server.tries.load(SeqCst), 5, "{name}");
        assert!(!e.to_string().contains("Sesame") && e.kind() == ConnectErrorKind::Auth, "{name}: {e:?}");
        // BatchMode asks nobody.
        let mut batch = Client::configured("BatchMode yes\nStrictHostKeyChecking no\n");
        batch.answers = client.answers.clone();
        let before = server.tries.load(SeqCst);
        assert_eq!(batch.link(port).session().await.err().unwrap().kind(), ConnectErrorKind::Auth);
        assert_eq!(server.tries.load(SeqCst), before);
    }
}

#[tokio::test]
async fn two_parts_can_be_demanded() {
    let Some(sshd) = sshd("AuthenticationMethods publickey,publickey") else { return };
    let mut client = Client::new();
    let files = ["one", "two", "three"].map(|n| client.home.path().join(n));
    keygen_with(&files[0], &["-t", "ed25519", "-N", ""]);
    keygen_with(&files[1], &["-t", "ecdsa", "-N", ""]);
    keygen_with(&files[2], &["-t", "ed25519", "-N", ""]);
    sshd.authorize(&files[0]);
    sshd.authorize(&files[2]);
    client.ssh.identity_files = files.to_vec();
    client.link(sshd.port).session().await.unwrap();
    client.ssh.identity_files.pop();
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("a part was accepted, but more is demanded"), "{e}");
}
