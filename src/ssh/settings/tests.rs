//! Which value wins, and where it comes from.

use std::sync::Arc;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reading::seconds;
use super::transport::{CONNECT_TIMEOUT, KEEPALIVE, MOST_KEEPALIVES};
use super::*;
use crate::ssh::config::SshConfig;
use crate::ssh::config::{ConfigError, Local, Question, SettingOrigin};
use crate::ssh::hop;
use crate::ssh::options::ConfigFile;
use crate::ssh::options::{HostKeyChecking, Ssh};

fn local() -> Local {
    let env = |name: &str| match name {
        "SSH_AUTH_SOCK" => Some("/run/agent".to_owned()),
        "OTHER" => Some("/run/other".to_owned()),
        _ => None,
    };
    Local { home: "/home/ann".into(), user: "ann".into(), uid: 1000, host: "desk".into(), env: Arc::new(env) }
}

fn toml() -> Ssh {
    Ssh {
        user: None,
        port: None,
        identity_files: Vec::new(),
        known_hosts: Vec::new(),
        host_key_checking: None,
        config_file: ConfigFile::Usual,
        connect_timeout: None,
        auth_timeout: None,
        jump: None,
        forward_agent: None,
    }
}

fn of(host: &str) -> Question {
    Question { host: host.into(), ..Question::default() }
}

fn decide_as(part: Part, toml: &Ssh, config: &str, asked: &Question) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    std::fs::write(&file, config).unwrap();
    let config = SshConfig::load(Some(&file), Path::new("/home/ann")).unwrap();
    let says = config.says(&question(toml, part, asked)).unwrap();
    Settings::decide(&Sources { toml, says: &says, local: &local(), part, asked })
}

fn decide(toml: &Ssh, config: &str, host: &str) -> Settings {
    decide_as(Part::Server, toml, config, &of(host)).unwrap()
}

fn from(settings: &Settings, name: &str) -> Vec<SettingOrigin> {
    settings.explained.iter().filter(|e| e.name == name).map(|e| e.from.clone()).collect()
}

#[test]
fn without_any_configuration_everything_is_usual() {
    let s = decide(&toml(), "", "Web1");
    assert_eq!((s.host.as_str(), s.port, s.user.as_str(), &s.route), ("web1", 22, "ann", &Approach::Direct));
    assert_eq!(s.identities[0], Identity { path: "/home/ann/.ssh/id_ed25519".into(), configured: false, must: false });
    assert_eq!(s.agent.as_deref(), Some(Path::new("/run/agent")));
    assert_eq!((s.forward, s.checking), (None, HostKeyChecking::Strict));
    assert_eq!(s.known_hosts.len(), 4);
    assert_eq!(s.methods, [Method::PublicKey, Method::Interactive, Method::Password]);
    assert_eq!(s.connect_timeout, CONNECT_TIMEOUT);
}

#[test]
fn pitcrew_toml_wins_over_ssh_config_and_the_address_over_both() {
    let config = "Host *\nUser bob\nPort 2022\nIdentityFile ~/config\nUserKnownHostsFile ~/kh\n\
                  StrictHostKeyChecking no\nConnectTimeout 3\nProxyJump other\nForwardAgent yes\n";
    let written = Ssh {
        user: Some("deploy".into()),
        port: Some(2200),
        identity_files: vec!["~/toml".into()],
        known_hosts: vec!["/kh".into()],
        host_key_checking: Some(HostKeyChecking::Strict),
        connect_timeout: Some(Duration::from_secs(7)),
        auth_timeout: Some(Duration::from_secs(8)),
        jump: Some("bastion".into()),
        forward_agent: Some(false),
        ..toml()
    };
    let s = decide(&written, config, "web1");
    assert_eq!((s.user.as_str(), s.port), ("deploy", 2200));
    assert_eq!(s.identities, [Identity { path: "/home/ann/toml".into(), configured: true, must: true }]);
    assert_eq!((s.known_hosts, s.own_known_hosts), (vec![PathBuf::from("/kh")], 1));
    assert_eq!((s.checking, s.connect_timeout, s.forward), (HostKeyChecking::Strict, Duration::from_secs(7), None));
    assert_eq!(s.auth_timeout, Duration::from_secs(8));
    assert_eq!(s.route, Approach::Jump(hop::parse("bastion").unwrap()));
    let all = s.explained.iter().filter(|e| e.name != "HostName" && e.name != "IdentityAgent");
    assert!(all.clone().all(|e| matches!(e.from, SettingOrigin::Toml(_))), "{:?}", all.collect::<Vec<_>>());

    let address = Question { host: "web1".into(), user: Some("root".into()), port: Some(1) };
    let s = decide_as(Part::Server, &written, config, &address).unwrap();
    assert_eq!((s.user.as_str(), s.port), ("root", 1));

    let s = decide(&toml(), config, "web1");
    assert_eq!((s.user.as_str(), s.port), ("bob", 2022));
    assert_eq!((s.checking, s.connect_timeout), (HostKeyChecking::AcceptNew, Duration::from_secs(3)));
    assert_eq!(s.forward.as_deref(), Some(Path::new("/run/agent")));
    assert_eq!(s.identities, [Identity { path: "/home/ann/config".into(), configured: true, must: false }]);
    assert!(matches!(&from(&s, "Port")[..], [SettingOrigin::File(_, 3)]));
}

#[test]
fn a_hop_has_its_own_user_port_and_key() {
    let written = Ssh {
        user: Some("deploy".into()),
        port: Some(2200),
        identity_files: vec!["~/toml".into()],
        jump: Some("bastion".into()),
        forward_agent: Some(true),
        ..toml()
    };
    let hop = |config: &str| decide_as(Part::Hop, &written, config, &of("bastion")).unwrap();
    let s = hop("");
    assert_eq!((s.user.as_str(), s.port, &s.route, s.forward), ("deploy", 22, &Approach::Direct, None));
    let s = hop("Host bastion\nUser jump\nPort 2022\nIdentityFile ~/jump\nForwardAgent yes\n");
    assert_eq!((s.user.as_str(), s.port, s.forward), ("jump", 2022, None));
    let files: Vec<_> = s.identities.iter().map(|i| i.path.display().to_string()).collect();
    assert_eq!(files, ["/home/ann/jump", "/home/ann/toml"]);
}

#[test]
fn the_jump_host_itself_is_reached_directly() {
    let written = Ssh { jump: Some("ops@bastion".into()), ..toml() };
    assert_eq!(decide(&written, "", "Bastion").route, Approach::Direct);
    assert_ne!(decide(&written, "", "web1").route, Approach::Direct);
    assert_eq!(decide(&toml(), "ProxyJump bastion", "bastion").route, Approach::Direct);
    let none = Ssh { jump: Some("none".into()), ..toml() };
    assert_eq!(decide(&none, "ProxyJump bastion", "web1").route, Approach::Direct);
}

#[test]
fn values_are_expanded() {
    let config = "HostName %h.example.com\nUser deploy\nIdentityFile ~/.ssh/%h_%r\nIdentityFile ${OTHER}/key\n\
                  ProxyCommand nc -x '%n' %h %p\nUserKnownHostsFile %d/kh_%k\nHostKeyAlias Alias\nForwardAgent $OTHER\n";
    let s = decide(&toml(), config, "web1");
    let files: Vec<_> = s.identities.iter().map(|i| i.path.display().to_string()).collect();
    assert_eq!(files, ["/home/ann/.ssh/web1.example.com_deploy", "/run/other/key"]);
    assert_eq!(s.route, Approach::Command("nc -x 'web1' web1.example.com 22".into()));
    assert_eq!(s.known_hosts[0], Path::new("/home/ann/kh_alias"));
    assert_eq!(s.known_as(), ("alias", 22));
    assert_eq!(s.forward.as_deref(), Some(Path::new("/run/other")));
    assert_eq!(decide(&toml(), "ProxyJump %r@bastion-%h\nUser bob", "web1").route, {
        Approach::Jump(hop::parse("bob@bastion-web1").unwrap())
    });
}

#[test]
fn the_agent_can_be_another_or_none() {
    for (text, wanted) in [
        ("none", None),
        ("SSH_AUTH_SOCK", Some("/run/agent")),
        ("$OTHER", Some("/run/other")),
        ("${OTHER}", Some("/run/other")),
        ("$NONE", None),
        ("~/a b", Some("/home/ann/a b")),
    ] {
        let s = decide(&toml(), &format!("IdentityAgent \"{text}\""), "web1");
        assert_eq!(s.agent.as_deref(), wanted.map(Path::new), "{text}");
    }
}

#[test]
fn ways_to_log_in_follow_the_configuration() {
    let methods = |config: &str| decide(&toml(), config, "web1").methods;
    assert_eq!(methods("BatchMode yes"), [Method::PublicKey]);
    assert_eq!(methods("PasswordAuthentication no"), [Method::PublicKey, Method::Interactive]);
    assert_eq!(methods("PreferredAuthentications hostbased,password,publickey"), [Method::Password, Method::PublicKey]);
    assert_eq!(methods("PubkeyAuthentication no\nKbdInteractiveAuthentication no"), [Method::Password]);
    assert_eq!(methods("PubkeyAuthentication host-bound"), methods("PubkeyAuthentication yes"));
}

#[test]
fn limits_are_honoured_within_reason() {
    let s = decide(&toml(), "ServerAliveInterval 5\nServerAliveCountMax 2\nConnectTimeout 1m", "web1");
    assert_eq!((s.keepalive, s.keepalives), (Duration::from_secs(5), 2));
    assert_eq!(s.connect_timeout, Duration::from_secs(60));
    let s = decide(&toml(), "ServerAliveInterval 0\nServerAliveCountMax 100000\nConnectTimeout none", "web1");
    assert_eq!((s.keepalive, s.keepalives), (KEEPALIVE, MOST_KEEPALIVES));
    assert_eq!(s.connect_timeout, CONNECT_TIMEOUT);
    assert_eq!(decide(&toml(), "ServerAliveInterval 1h", "web1").keepalive, KEEPALIVE);
}

#[test]
fn a_bad_value_names_its_line() {
    for text in [
        "Port 0",
        "Port ssh",
        "StrictHostKeyChecking maybe",
        "IdentitiesOnly perhaps",
        "ConnectTimeout soon",
        "AddressFamily ipx",
        "BindAddress nowhere",
        "HostName %p",
        "HostName \"a b\"",
        "IdentityFile %Z",
        "IdentityFile ${MISSING}",
        "ProxyJump a,,b",
        "ProxyCommand nc %d",
        "ProxyCommand nc\nProxyUseFdpass yes",
        "Ciphers arcfour",
        "HostKeyAlgorithms ssh-dss",
    ] {
        let e = decide_as(Part::Server, &toml(), &format!("# 1\n{text}\n"), &of("web1")).unwrap_err();
        assert!(e.to_string().contains("config:2: "), "{text}: {e:?}");
        // Where it is not meant it does not matter.
        decide(&toml(), &format!("Host other\n{text}\n"), "web1");
    }
}

#[test]
fn times_are_read_as_ssh_reads_them() {
    assert_eq!(seconds("90"), Some(90));
    assert_eq!(seconds("1m30s"), Some(90));
    assert_eq!(seconds("1W2d3h"), Some(604_800 + 2 * 86_400 + 3 * 3600));
    for bad in ["", "m", "1x", "-1", "99999999999999999999", "9999999999999999w"] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
}

#[test]
fn what_is_not_honoured_is_told_with_its_line() {
    let config = "Host *\nVerifyHostKeyDNS yes\nCheckHostIP no\nBindInterface wg0\nPubkeyAcceptedKeyTypes +x\n";
    let s = decide(&toml(), config, "web1");
    let told: Vec<_> = s.explained.iter().filter(|e| e.value.ends_with("(not honoured)")).collect();
    let lines: Vec<_> = told.iter().map(|e| (e.name, e.value.as_str(), e.from.to_string())).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (at, (name, value)) in [
        (4, ("BindInterface", "wg0 (not honoured)")),
        (2, ("VerifyHostKeyDNS", "yes (not honoured)")),
        (5, ("PubkeyAcceptedAlgorithms", "+x (not honoured)")),
    ] {
        let line = lines.iter().find(|l| l.0 == name).unwrap();
        assert!(line.1 == value && line.2.ends_with(&format!(":{at}")), "{line:?}");
    }
}

#[test]
fn a_keyword_that_ssh_does_not_know_is_told_unless_it_is_to_be_ignored() {
    let told = |config: &str| {
        let s = decide(&toml(), config, "web1");
        let told = s.explained.into_iter().filter(|e| e.name == "Unknown keyword");
        told.map(|e| e.value.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told("Host other\n Frobnicate a\nHost *\n Xyzzy b\n"), ["Frobnicate", "Xyzzy"]);
    assert_eq!(told("IgnoreUnknown HOST*,x?zzy\nHostnmae a\nXyzzy b\nXyzz c\n"), ["Xyzz"]);
    let known =
        "Protocol 2\nCompressionLevel 9\nGSSAPITrustDns yes\nUserKnownHostsFile2 a b\nAddKeysToAgent confirm 5m\n";
    assert_eq!(told(known), [""; 0]);
}

#[test]
fn localhost_is_trusted_and_names_are_hashed_where_ssh_would() {
    let config = "NoHostAuthenticationForLocalhost yes\nHashKnownHosts yes\n";
    let s = decide(&toml(), config, "localhost");
    assert!(s.trusts_localhost && s.hashes_names);
    let strict = Ssh { host_key_checking: Some(HostKeyChecking::Strict), ..toml() };
    assert!(!decide(&strict, config, "localhost").trusts_localhost, "pitcrew.toml wins");
    assert!(!decide(&toml(), &format!("{config}HostKeyAlias a\n"), "localhost").trusts_localhost);
    let s = decide(&toml(), "", "localhost");
    assert!(!s.trusts_localhost && !s.hashes_names);
}
