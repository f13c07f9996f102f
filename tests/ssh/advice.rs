//! What sshd refuses, with the line to write; and settings of ssh_config about the host's own key.

use pitcrew::config::ConfigFile;

use crate::ssh::real::sshd;
use crate::ssh::support::Client;

#[tokio::test]
async fn without_a_common_algorithm_the_line_to_write_is_told() {
    for (line, said, hinted) in [
        ("Ciphers aes256-cbc", "no common cipher algorithm; the server offers aes256-cbc", "`Ciphers +aes256-cbc`"),
        (
            "KexAlgorithms diffie-hellman-group14-sha1",
            "offers diffie-hellman-group14-sha1",
            "`KexAlgorithms +curve25519-sha256@",
        ),
        ("MACs umac-64@openssh.com\nCiphers aes256-ctr", "no common mac algorithm; the server offers umac", "`MACs +"),
    ] {
        let Some(sshd) = sshd(line) else { return };
        let e = sshd.client().link(sshd.port).session().await.err().unwrap();
        assert!(e.to_string().contains(said), "{line}: {e}");
        let hint = e.hint();
        assert!(hint.contains(hinted) && hint.contains("the server's sshd_config"), "{line}: {hint}");
    }
    // ssh_config leaves out what both speak.
    let Some(sshd) = sshd("Ciphers aes256-ctr") else { return };
    let client = with_config(sshd.client(), "StrictHostKeyChecking accept-new\nCiphers aes128-ctr\n");
    let hint = client.link(sshd.port).session().await.err().unwrap().hint();
    assert!(hint.starts_with("Ciphers in ssh_config leaves out aes256-ctr"), "{hint}");
}

#[tokio::test]
async fn a_second_factor_is_told_apart_from_a_refused_key() {
    let Some(sshd) = sshd("AuthenticationMethods publickey,publickey") else { return };
    let e = sshd.client().link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("a part was accepted"), "{e}");
    assert!(e.hint().contains("one more key") && e.hint().contains("AuthenticationMethods publickey"), "{}", e.hint());
}

#[tokio::test]
async fn keys_of_localhost_are_passed_over_where_ssh_config_says_so() {
    let Some(sshd) = sshd("") else { return };
    let strict = with_config(sshd.client(), "");
    assert!(strict.link(sshd.port).session().await.is_err());
    let trusting = with_config(sshd.client(), "NoHostAuthenticationForLocalhost yes\n");
    trusting.link(sshd.port).session().await.unwrap();
    assert!(!trusting.known_hosts().exists());
}

#[tokio::test]
async fn new_keys_are_recorded_under_hashed_names_where_ssh_config_says_so() {
    let Some(sshd) = sshd("") else { return };
    let client = with_config(sshd.client(), "HashKnownHosts yes\nStrictHostKeyChecking accept-new\n");
    client.link(sshd.port).session().await.unwrap();
    let text = std::fs::read_to_string(client.known_hosts()).unwrap();
    assert!(text.starts_with("|1|") && !text.contains("127.0.0.1"), "{text}");
    let strict = with_config(sshd.client(), "StrictHostKeyChecking yes\n");
    strict.know(&text);
    strict.link(sshd.port).session().await.unwrap();
    let mut search = std::process::Command::new("ssh-keygen");
    let found = search.arg("-F").arg(sshd.name()).arg("-f").arg(client.known_hosts()).output().unwrap();
    assert!(found.status.success(), "ssh finds it, too");
}

/// The client, told by an ssh_config what pitcrew.toml does not say.
fn with_config(mut client: Client, text: &str) -> Client {
    client.configure(text);
    client.ssh.config_file = ConfigFile::Path("~/config".into());
    (client.ssh.known_hosts, client.ssh.host_key_checking) = (Vec::new(), None);
    client
}
