//! What a lent agent lets a server do: no more than `ssh -A` does.

use std::path::{Path, PathBuf};
use std::process::Command;

use pitcrew::ssh::{Ended, Exec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ssh::daemon::Sshd;
use crate::ssh::real::{agent, keygen, public, sshd};
use crate::ssh::support::{Client, command, me, run};

/// Runs a command on a server that the agent is lent to.
async fn lent(sshd: &Sshd, socket: PathBuf, text: &str) -> (Ended, String) {
    let mut client = sshd.client();
    client.agent = Some(socket);
    client.ssh.forward_agent = Some(true);
    let session = client.link(sshd.port).session().await.unwrap();
    let (ended, heard) = run(&session, Exec { lends: true, ..command(text) }).await;
    (ended, heard.out.concat())
}

/// A known_hosts for `ssh-add -H`, which calls the two `host1` and `host2`.
fn named(dir: &Path, servers: [&Sshd; 2]) -> PathBuf {
    let mut text = String::new();
    for (name, sshd) in ["host1", "host2"].into_iter().zip(servers) {
        for kind in ["ed25519", "ecdsa"] {
            text.push_str(&format!("{name} {}", public(&sshd.dir.path().join(format!("host_{kind}")))));
        }
    }
    let file = dir.join("destinations");
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn a_key_with_a_destination_goes_there_and_nowhere_else() {
    let Some(one) = sshd("AllowAgentForwarding yes") else { return };
    let Some(two) = sshd("") else { return };
    let user = me();
    let onward = format!(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentityFile=none \
         -p {} {user}@127.0.0.1 'echo got in' 2>&1 || exit 9",
        two.port
    );
    let to = |destination: &str| destination.replace("host2", &format!("{user}@host2"));
    for (destinations, gets_in) in [
        // For this machine alone: not by way of a server.
        (vec![to("host2")], false),
        (vec!["host1".to_owned(), to("host1>host2")], true),
        // Another way, and another user.
        (vec!["host2".to_owned(), "host2>host1".to_owned()], false),
        (vec!["host1".to_owned(), "host1>other@host2".to_owned()], false),
        (vec![], true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("constrained");
        keygen(&key, "ed25519", "");
        two.authorize(&key);
        let agent = agent(dir.path(), &[]);
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg("-H").arg(named(dir.path(), [&one, &two])).env("SSH_AUTH_SOCK", &agent.socket);
        for destination in &destinations {
            add.arg("-h").arg(destination);
        }
        let added = add.arg(&key).output().unwrap();
        assert!(added.status.success(), "{destinations:?}: {}", String::from_utf8_lossy(&added.stderr));
        let (ended, out) = lent(&one, agent.socket.clone(), &onward).await;
        assert_eq!(ended == Ended::Exit(0), gets_in, "{destinations:?}: {out}");
        assert_eq!(out.contains("got in"), gets_in, "{destinations:?}: {out}");
    }
}

/// An agent without keys that answers an extension with this; gives its socket, and what it was first asked.
fn odd(dir: &Path, answer: u8) -> (PathBuf, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (asked, first) = tokio::sync::mpsc::unbounded_channel();
    let socket = dir.join("odd");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut is_first = true;
                while let Ok(len) = stream.read_u32().await {
                    let mut request = vec![0; len as usize];
                    stream.read_exact(&mut request).await.unwrap();
                    let reply = match request[0] {
                        27 => vec![answer],
                        _ => vec![12, 0, 0, 0, 0],
                    };
                    if is_first {
                        asked.send(request).unwrap();
                    }
                    is_first = false;
                    stream.write_u32(u32::try_from(reply.len()).unwrap()).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            });
        }
    });
    (socket, first)
}

/// As with `ssh -A`, one that does not know the extension is lent; one that refuses the binding is not.
#[tokio::test]
async fn an_agent_is_bound_before_a_byte_reaches_it() {
    let Some(sshd) = sshd("AllowAgentForwarding yes") else { return };
    for (answer, is_lent) in [(6, true), (5, true), (28, false), (0, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (socket, mut first) = odd(dir.path(), answer);
        let (_, out) = lent(&sshd, socket, "ssh-add -l 2>&1").await;
        assert_eq!(out.contains("The agent has no identities"), is_lent, "{answer}: {out}");
        while let Ok(asked) = first.try_recv() {
            assert_eq!((asked[0], &asked[5..29]), (27, &b"session-bind@openssh.com"[..]), "{answer}");
        }
    }
}

/// A conversation ends with the command that it was for.
#[tokio::test]
async fn what_a_command_leaves_behind_loses_the_agent() {
    let Some(sshd) = sshd("AllowAgentForwarding yes") else { return };
    let mut client: Client = sshd.client();
    let key = client.home.path().join("lent");
    keygen(&key, "ed25519", "");
    let agent = agent(client.home.path(), &[&key]);
    client.agent = Some(agent.socket.clone());
    client.ssh.forward_agent = Some(true);
    let session = client.link(sshd.port).session().await.unwrap();
    let seen = client.home.path().join("seen");
    let text = format!(
        "ssh-add -l || exit 9; (sleep 2; ssh-add -l && echo lent >{0}.new || echo none >{0}.new; mv {0}.new {0}) >/dev/null 2>&1 </dev/null &",
        seen.display()
    );
    let (ended, _) = run(&session, Exec { lends: true, ..command(&text) }).await;
    assert_eq!(ended, Ended::Exit(0));
    while !seen.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "none\n");
}
