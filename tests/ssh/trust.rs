//! Which host keys are trusted, against OpenSSH: what a `KnownHostsCommand` prints.

use std::os::unix::fs::PermissionsExt as _;

use pitcrew::ssh::ConnectErrorKind;

use crate::ssh::real::{keygen, sshd};
use crate::ssh::support::{Client, ask};

#[tokio::test]
async fn what_a_command_prints_of_a_host_is_known_of_it() {
    let (Some(web), Some(other)) = (sshd(""), sshd("")) else { return };
    let client = Client::configured("");
    let home = client.home.path();
    let key = home.join("key");
    keygen(&key, "ed25519", "");
    web.authorize(&key);
    client.know("");
    let (script, asked) = (home.join("the keys"), home.join("asked"));
    let write = |text: &str| {
        std::fs::write(&script, format!("#!/bin/sh\necho \"$*\" >>'{}'\n{text}\n", asked.display())).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let configure = |command: &str| {
        client.configure(&format!(
            "Host web\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n\
             \x20 UserKnownHostsFile {}\n  {command}\n",
            web.port,
            key.display(),
            client.known_hosts().display()
        ));
    };
    let login = async || client.network().link("web", &ask("web")).unwrap().session().await.map(drop);
    configure(&format!("KnownHostsCommand \"{}\" %I %H %t %f 100%%", script.display()));
    write(&format!("echo '{} {}'", web.name(), web.host_key("ed25519")));
    login().await.unwrap();
    let asked = std::fs::read_to_string(&asked).unwrap();
    let lines: Vec<&str> = asked.lines().collect();
    assert_eq!(lines[0], format!("ORDER {} NONE NONE 100%", web.name()));
    assert!(lines[1].starts_with(&format!("HOSTNAME {} ssh-ed25519 SHA256:", web.name())), "{lines:?}");

    write(&format!("echo '{} {}'", web.name(), other.host_key("ed25519")));
    let error = login().await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::HostKey, "{error:?}");
    assert!(error.to_string().contains("the keys:1 holds another key"), "{error}");

    write("echo it is closed >&2; exit 3");
    let error = login().await.unwrap_err();
    assert!(error.to_string().contains("cannot ask KnownHostsCommand") && error.to_string().contains("it is closed"));
    configure("KnownHostsCommand none");
    let error = login().await.unwrap_err();
    assert!(error.to_string().contains("its key is not known"), "{error}");
    configure("KnownHostsCommand keys %H");
    let error = client.network().link("web", &ask("web")).err().unwrap();
    assert!(error.to_string().contains("KnownHostsCommand must be the absolute path"), "{error}");
}
