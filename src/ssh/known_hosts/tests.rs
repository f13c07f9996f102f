//! What the known hosts promise, line by line.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{KeyInit as _, Mac as _};
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PrivateKey, PublicKey};

use super::error::KnownHostsError;
use super::files::KnownHosts;
use super::judging::Shown;
use super::told::{ToldKeys, Whom};
use crate::ssh::options::HostKeyChecking;

fn key() -> PublicKey {
    of_kind(Algorithm::Ed25519)
}

fn ecdsa() -> PublicKey {
    of_kind(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })
}

fn of_kind(kind: Algorithm) -> PublicKey {
    PrivateKey::random(&mut rand::rng(), kind).unwrap().public_key().clone()
}

fn text(key: &PublicKey) -> String {
    PublicKey::new(key.key_data().clone(), "").to_openssh().unwrap().trim().to_owned()
}

fn hashed(name: &str) -> String {
    let salt = [7u8; 20];
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(&salt).unwrap();
    mac.update(name.as_bytes());
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(mac.finalize().into_bytes()))
}

/// Known hosts from one file's text; the directory goes away, the parsed lines stay.
fn known(text: &str) -> KnownHosts {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    std::fs::write(&file, text).unwrap();
    KnownHosts::load(&[file]).unwrap()
}

fn judge(lines: &str, host: &str, port: u16, key: &PublicKey) -> Result<bool, KnownHostsError> {
    known(lines).of(whom(host, port)).judge(Shown::Key(key))
}

#[test]
fn a_plain_name_is_found_whatever_its_case() {
    let k = key();
    assert_eq!(judge(&format!("Web1.Example.com {}", text(&k)), "wEB1.example.COM", 22, &k), Ok(true));
    assert_eq!(judge(&format!("web1 {}", text(&k)), "web2", 22, &k), Ok(false));
    assert_eq!(judge(&format!("web1 {}", text(&k)), "web11", 22, &k), Ok(false));
}

#[test]
fn lists_tabs_comments_and_bad_lines_are_understood() {
    let k = key();
    let lines = format!(
        "# comment\r\n\r\nweb0 ssh-ed25519 garbage\nnonsense\n@other web1 {}\n \tweb1,10.0.0.1\t{} a comment with words\r\n",
        text(&key()),
        text(&k).replace(' ', "\t")
    );
    let hosts = known(&lines);
    assert_eq!(hosts.bad_lines(), 3);
    for host in ["web1", "10.0.0.1"] {
        assert_eq!(hosts.of(whom(host, 22)).judge(Shown::Key(&k)), Ok(true), "{host}");
    }
    assert_eq!(hosts.of(whom("web0", 22)).judge(Shown::Key(&k)), Ok(false));
}

#[test]
fn bytes_that_are_no_text_spoil_their_line_only() {
    let k = key();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    let mut bytes = b"web\xff x y\n".to_vec();
    bytes.extend_from_slice(format!("web1 {}", text(&k)).as_bytes());
    std::fs::write(&file, bytes).unwrap();
    let hosts = KnownHosts::load(&[file]).unwrap();
    assert_eq!(hosts.bad_lines(), 1);
    assert_eq!(hosts.of(whom("web1", 22)).judge(Shown::Key(&k)), Ok(true));
}

#[test]
fn wildcards_and_negations_count() {
    let k = key();
    let lines = format!("*.example.com,!db?.example.com {}", text(&k));
    assert_eq!(judge(&lines, "web1.example.com", 22, &k), Ok(true));
    assert_eq!(judge(&lines, "db1.example.com", 22, &k), Ok(false));
    assert_eq!(judge(&lines, "db10.example.com", 22, &k), Ok(true));
    assert_eq!(judge(&lines, "example.com", 22, &k), Ok(false));
    // A negation alone matches nothing.
    assert_eq!(judge(&format!("!db1 {}", text(&k)), "web1", 22, &k), Ok(false));
}

#[test]
fn a_pattern_made_to_be_slow_is_not() {
    let k = key();
    let lines = format!("{}b {}", "*a".repeat(60), text(&k));
    assert_eq!(judge(&lines, &"a".repeat(250), 22, &k), Ok(false));
}

#[test]
fn ports_are_part_of_the_name() {
    let k = key();
    let other = key();
    let lines = format!("[web1]:2222 {}", text(&k));
    assert_eq!(judge(&lines, "web1", 2222, &k), Ok(true));
    assert_eq!(judge(&lines, "web1", 22, &k), Ok(false));
    assert_eq!(judge(&lines, "web1", 2223, &k), Ok(false));
    assert_eq!(judge(&format!("[::1]:2222 {}", text(&k)), "::1", 2222, &k), Ok(true));
    assert_eq!(judge(&format!("::1 {}", text(&k)), "::1", 22, &k), Ok(true));
    // The bare name vouches for a key on another port, and contradicts none.
    let bare = format!("web1 {}", text(&k));
    assert_eq!(judge(&bare, "web1", 2222, &k), Ok(true));
    assert_eq!(judge(&bare, "web1", 2222, &other), Ok(false));
    // Where the port has a line of its own, the bare name has no say.
    assert!(judge(&format!("{bare}\n[web1]:2222 {}", text(&other)), "web1", 2222, &k).is_err());
}

#[test]
fn hashed_names_are_found() {
    let k = key();
    let lines = format!("{} {}\n{} {}", hashed("web1"), text(&k), hashed("[web2]:2222"), text(&k));
    assert_eq!(judge(&lines, "WEB1", 22, &k), Ok(true));
    assert_eq!(judge(&lines, "web2", 2222, &k), Ok(true));
    assert_eq!(judge(&lines, "web2", 22, &k), Ok(false));
    for bad in ["|1|x", "|2|AAAA|AAAA", "|1|AAAA|AAAA"] {
        assert_eq!(known(&format!("{bad} {}", text(&k))).bad_lines(), 1, "{bad}");
    }
}

#[test]
fn any_line_with_the_key_is_enough() {
    let (old, new) = (key(), key());
    let lines = format!("web1 {}\nweb1 {}", text(&old), text(&new));
    assert_eq!(judge(&lines, "web1", 22, &new), Ok(true));
    assert_eq!(judge(&lines, "web1", 22, &old), Ok(true));
}

#[test]
fn a_changed_key_names_place_prints_and_cure() {
    let (old, new) = (key(), key());
    let lines = format!("# first\n[web1]:2222 {}", text(&old));
    let e = judge(&lines, "web1", 2222, &new).unwrap_err();
    assert!(!e.is_local(), "{e}");
    for part in [
        "[web1]:2222",
        "known_hosts:2 ",
        "ssh-ed25519",
        &old.fingerprint(HashAlg::Sha256).to_string(),
        &new.fingerprint(HashAlg::Sha256).to_string(),
    ] {
        assert!(e.to_string().contains(part), "{part}: {e}");
    }
    assert!(e.hint().contains("ssh-keygen -R '[web1]:2222'"), "{}", e.hint());
}

#[test]
fn a_key_of_another_type_is_a_change_not_a_new_host() {
    let lines = format!("web1 {}", text(&ecdsa()));
    let e = judge(&lines, "web1", 22, &key()).unwrap_err();
    assert!(e.to_string().contains("other types only"), "{e}");
}

#[test]
fn revoked_keys_are_refused_even_where_they_are_listed() {
    let k = key();
    for lines in [
        format!("web1 {0}\n@revoked web1 {0}", text(&k)),
        format!("@revoked * {0}\nweb1 {0}", text(&k)),
        format!("@revoked web1 {0}", text(&k)),
    ] {
        assert!(judge(&lines, "web1", 22, &k).unwrap_err().to_string().contains("revoked"), "{lines}");
    }
    assert_eq!(judge(&format!("@revoked web1 {}", text(&k)), "web2", 22, &k), Ok(false));
    assert!(judge(&format!("@revoked web1 {}", text(&k)), "web1", 2222, &k).is_err());
}

fn certified(ca: &PrivateKey, principal: &str) -> Certificate {
    let mut b = Builder::new_with_random_nonce(&mut rand::rng(), key().key_data().clone(), 0, u64::MAX >> 1).unwrap();
    b.serial(1).unwrap();
    b.key_id("id").unwrap();
    b.cert_type(CertType::Host).unwrap();
    b.valid_principal(principal).unwrap();
    b.sign(ca).unwrap()
}

#[test]
fn certificates_are_asked_for_and_trusted_only_with_an_authority() {
    let ca = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let hosts = known(&format!("@cert-authority *.example.com {}", text(ca.public_key())));
    let cert = certified(&ca, "web1.example.com");
    let web1 = hosts.of(whom("web1.example.com", 22));
    assert!(!web1.certificate_algorithms().is_empty());
    assert_eq!(web1.judge(Shown::Certificate(&cert)), Ok(true));
    assert_eq!(hosts.of(whom("WEB1.example.com", 2222)).judge(Shown::Certificate(&cert)), Ok(true));
    assert!(hosts.of(whom("web2.example.com", 22)).judge(Shown::Certificate(&cert)).is_err());
    assert!(hosts.of(whom("web1.example.org", 22)).certificate_algorithms().is_empty());
    // A plain key is not a new host's where an authority vouches.
    assert!(web1.judge(Shown::Key(&key())).unwrap_err().to_string().contains("without a certificate"));
    // The authority's own key is not a host's.
    assert!(web1.judge(Shown::Key(ca.public_key())).is_err());
}

#[test]
fn a_revoked_authority_vouches_for_nothing() {
    let ca = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let cert = certified(&ca, "web1");
    let hosts = known(&format!("@cert-authority * {0}\n@revoked * {0}", text(ca.public_key())));
    assert!(hosts.of(whom("web1", 22)).judge(Shown::Certificate(&cert)).unwrap_err().to_string().contains("revoked"));
}

#[test]
fn known_types_come_first_and_sha1_never() {
    let hosts = known(&format!("web1 {}", text(&ecdsa())));
    let order = hosts.of(whom("web1", 22)).algorithms();
    assert_eq!(order[0], Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
    assert_eq!(order[1], Algorithm::Ed25519);
    assert!(!order.contains(&Algorithm::Rsa { hash: None }));
    assert_eq!(hosts.of(whom("web2", 22)).algorithms()[0], Algorithm::Ed25519);
}

#[test]
fn a_line_whose_type_contradicts_its_key_is_bad() {
    let line = text(&key()).replace("ssh-ed25519", "ssh-rsa");
    assert_eq!(known(&format!("web1 {line}")).bad_lines(), 1);
}

#[test]
fn several_files_are_read_and_missing_ones_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, missing) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("none"));
    let (ka, kb) = (key(), key());
    std::fs::write(&a, format!("web1 {}", text(&ka))).unwrap();
    std::fs::write(&b, format!("web1 {}\n", text(&kb))).unwrap();
    let hosts = KnownHosts::load(&[missing, a, b]).unwrap();
    for k in [ka, kb] {
        assert_eq!(hosts.of(whom("web1", 22)).judge(Shown::Key(&k)), Ok(true));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let e = KnownHosts::load(&[dir.path().to_path_buf()]).unwrap_err();
    assert!(e.is_local(), "{e}");
    assert!(e.to_string().contains(&dir.path().display().to_string()));
}

static NOTHING: ToldKeys = ToldKeys(Vec::new());

fn whom(host: &str, port: u16) -> Whom<'_> {
    Whom { host, port, told: &NOTHING }
}

async fn accept(hosts: &KnownHosts, host: &str, key: &PublicKey) -> Result<(), KnownHostsError> {
    hosts.check(whom(host, 2222), Shown::Key(key), HostKeyChecking::AcceptNew).await
}

#[tokio::test]
async fn strict_refuses_an_unknown_host_with_the_commands_to_mend_it() {
    let hosts = known("");
    let k = key();
    let e = hosts.check(whom("web1", 2222), Shown::Key(&k), HostKeyChecking::Strict).await.unwrap_err();
    assert!(!e.is_local(), "{e}");
    assert!(
        e.to_string().contains("[web1]:2222") && e.to_string().contains(&k.fingerprint(HashAlg::Sha256).to_string())
    );
    assert!(e.hint().contains("ssh-keyscan -p 2222 web1 >> "), "{}", e.hint());
}

#[tokio::test]
async fn accept_new_records_once_and_refuses_a_change_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new/.ssh/known_hosts");
    let hosts = KnownHosts::load(std::slice::from_ref(&file)).unwrap();
    let (k, other) = (key(), key());
    accept(&hosts, "Web1", &k).await.unwrap();
    accept(&hosts, "web1", &k).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("[web1]:2222 {}\n", text(&k)));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(accept(&hosts, "web1", &other).await.unwrap_err().to_string().contains("another key"));
    let again = KnownHosts::load(&[file]).unwrap();
    assert_eq!(again.of(whom("web1", 2222)).judge(Shown::Key(&k)), Ok(true));
}

#[tokio::test]
async fn accept_new_hashes_the_name_where_ssh_would() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let mut hosts = KnownHosts::load(std::slice::from_ref(&file)).unwrap();
    hosts.record_hashed();
    let k = key();
    accept(&hosts, "web1", &k).await.unwrap();
    accept(&hosts, "web1", &k).await.unwrap();
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("|1|") && written.ends_with(&format!(" {}\n", text(&k))), "{written}");
    assert_eq!((written.lines().count(), written.contains("web1")), (1, false), "{written}");
    let again = KnownHosts::load(&[file]).unwrap();
    assert_eq!(again.of(whom("web1", 2222)).judge(Shown::Key(&k)), Ok(true));
    assert_eq!(again.of(whom("web2", 2222)).judge(Shown::Key(&k)), Ok(false));
}

#[tokio::test]
async fn accept_new_completes_a_last_line_without_newline() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    let (a, b) = (key(), key());
    std::fs::write(&file, format!("web0 {}", text(&a))).unwrap();
    let hosts = KnownHosts::load(std::slice::from_ref(&file)).unwrap();
    accept(&hosts, "web1", &b).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("web0 {}\n[web1]:2222 {}\n", text(&a), text(&b)));
}

#[tokio::test]
async fn many_hosts_at_once_are_recorded_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    // Two processes have an object each.
    let both = [(); 2].map(|()| Arc::new(KnownHosts::load(std::slice::from_ref(&file)).unwrap()));
    let keys: Vec<_> = (0..20).map(|_| key()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (i, k) in keys.iter().enumerate() {
        let (hosts, k) = (both[i % 2].clone(), k.clone());
        tasks.spawn(async move { accept(&hosts, &format!("web{i}"), &k).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    let again = KnownHosts::load(&[file]).unwrap();
    assert_eq!(again.bad_lines(), 0);
    for (i, k) in keys.iter().enumerate() {
        assert_eq!(again.of(whom(&format!("web{i}"), 2222)).judge(Shown::Key(k)), Ok(true));
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_recorded_is_not_accepted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("not-a-directory"), "").unwrap();
    let file = dir.path().join("not-a-directory/known_hosts");
    // A path below a file does not exist, so it is read as empty or refused; either way it cannot be written.
    match KnownHosts::load(&[file]) {
        Ok(hosts) => assert!(accept(&hosts, "web1", &key()).await.unwrap_err().is_local()),
        Err(e) => assert!(e.is_local()),
    }
}

#[tokio::test]
async fn a_host_name_cannot_smuggle_a_pattern_into_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    let hosts = KnownHosts::load(std::slice::from_ref(&file)).unwrap();
    for host in ["*", "a,b", "a b", "!a", "a\nb"] {
        assert!(accept(&hosts, host, &key()).await.unwrap_err().is_local(), "{host:?}");
    }
    assert!(!file.exists());
}
