//! The algorithms that are offered: pitcrew's preference, changed by ssh_config.

use russh::keys::Algorithm;
use russh::{Preferred, cipher, kex, mac};

use super::config::{ConfigError, Mistake, SettingOrigin};
use super::known_hosts::{KnownHost, supported};
use super::wildcard::wildcard;

/// The end of a certificate algorithm's name.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// A list of ssh_config for one kind of algorithm.
pub(super) struct Wish {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) from: SettingOrigin,
}

/// The algorithms that are offered, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    kex: Vec<kex::Name>,
    ciphers: Vec<cipher::Name>,
    macs: Vec<mac::Name>,
    host_keys: HostKeys,
}

/// The algorithms of host keys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostKeys {
    plain: Vec<Algorithm>,
    certified: Vec<Algorithm>,
    /// Whether the configuration gives the order; otherwise the algorithms of known keys come first.
    fixed: bool,
}

impl Lists {
    /// Decides which algorithms are offered.
    pub(super) fn new([kex, ciphers, macs, keys]: [Option<Wish>; 4]) -> Result<Self, ConfigError> {
        Ok(Self {
            kex: chosen(kex.as_ref(), &exchanges(), |name| kex::Name::try_from(name).ok(), &["none"])?,
            ciphers: chosen(ciphers.as_ref(), &CIPHERS, |name| cipher::Name::try_from(name).ok(), &["none", "clear"])?,
            macs: chosen(macs.as_ref(), &Preferred::DEFAULT.mac, |name| mac::Name::try_from(name).ok(), &["none"])?,
            host_keys: HostKeys::new(keys.as_ref())?,
        })
    }

    /// Returns what is offered to a host.
    pub(super) fn preferred(&self, known: &KnownHost) -> Preferred {
        let (mut plain, mut certified) = (known.algorithms(), known.certificate_algorithms());
        let keys = &self.host_keys;
        if keys.fixed {
            // A certificate helps only where its authority is known.
            certified = keys.certified.iter().filter(|a| certified.contains(a)).cloned().collect();
            plain.clone_from(&keys.plain);
        } else {
            plain.retain(|a| keys.plain.contains(a));
            plain.extend(keys.plain.iter().filter(|a| !supported().contains(a)).cloned());
            certified.retain(|a| keys.certified.contains(a));
        }
        let mut kex = self.kex.clone();
        // The list also holds the names that announce extensions and the strict exchange.
        kex.extend(Preferred::DEFAULT.kex.iter().filter(|k| announces(k)).copied());
        Preferred {
            kex: kex.into(),
            key: plain.into(),
            host_key_certificates: certified.into(),
            cipher: self.ciphers.clone().into(),
            mac: self.macs.clone().into(),
            compression: vec![russh::compression::NONE].into(),
        }
    }
}

/// Ciphers, best first.
const CIPHERS: [cipher::Name; 5] =
    [cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR];

/// What pitcrew makes of an algorithm's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// It is offered unless ssh_config leaves it out.
    Usually,
    /// It is offered only where ssh_config names it.
    OnRequest,
    /// It is never offered.
    Never,
}

/// Tells whether pitcrew speaks an algorithm of a kind: `kex`, `key`, `cipher` or `mac`.
pub(super) fn spoken(kind: &str, name: &str) -> Spoken {
    let never = ["none", "clear"].contains(&name);
    let known = match kind {
        "kex" => kex::Name::try_from(name).is_ok_and(|n| !announces(&n)),
        "cipher" => cipher::Name::try_from(name).is_ok(),
        "mac" => mac::Name::try_from(name).is_ok(),
        _ => name == "ssh-rsa",
    };
    match usual(kind).iter().any(|n| n == name) {
        true => Spoken::Usually,
        false if known && !never => Spoken::OnRequest,
        false => Spoken::Never,
    }
}

/// Returns the names of a kind that are offered without any configuration, best first.
pub(super) fn usual(kind: &str) -> Vec<String> {
    fn names<T: AsRef<str>>(all: &[T]) -> Vec<String> {
        all.iter().map(|n| n.as_ref().to_owned()).collect()
    }
    match kind {
        "kex" => names(&exchanges()),
        "cipher" => names(&CIPHERS),
        "mac" => names(&Preferred::DEFAULT.mac),
        _ => supported().iter().map(ToString::to_string).collect(),
    }
}

fn announces(name: &kex::Name) -> bool {
    name.as_ref().starts_with("ext-info-") || name.as_ref().starts_with("kex-strict-")
}

/// Key exchanges, best first.
fn exchanges() -> Vec<kex::Name> {
    let mut all = vec![kex::MLKEM768X25519_SHA256, kex::CURVE25519, kex::CURVE25519_PRE_RFC_8731];
    // Servers bound to FIPS 140 have only these.
    all.extend([kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521]);
    let rest: Vec<_> = Preferred::DEFAULT.kex.iter().filter(|k| !all.contains(k) && !announces(k)).copied().collect();
    all.extend(rest);
    all
}

/// Applies a wish to the usual list, and keeps what pitcrew speaks.
fn chosen<T: AsRef<str> + Copy>(
    wish: Option<&Wish>,
    usual: &[T],
    known: impl Fn(&str) -> Option<T>,
    never: &[&str],
) -> Result<Vec<T>, ConfigError> {
    let Some(wish) = wish else { return Ok(usual.to_vec()) };
    let names: Vec<&str> = usual.iter().map(AsRef::as_ref).collect();
    let wanted = apply(&wish.text, &names);
    let found: Vec<T> = wanted.iter().filter(|n| !never.contains(&n.as_str())).filter_map(|n| known(n)).collect();
    if found.is_empty() { Err(nothing(wish, &names)) } else { Ok(found) }
}

fn nothing(wish: &Wish, names: &[&str]) -> ConfigError {
    ConfigError::setting(&wish.from, Mistake::NoAlgorithm { name: wish.name, supported: names.join(", ") })
}

/// Applies a list to the usual one.
///
/// `+` appends, `-` removes, `^` puts first; any other list replaces the usual one.
fn apply(text: &str, usual: &[&str]) -> Vec<String> {
    let list = |text: &str| -> Vec<String> { text.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect() };
    let usual = || usual.iter().map(|n| (*n).to_owned());
    let mut all: Vec<String> = match text.chars().next() {
        Some('+') => usual().chain(list(&text[1..])).collect(),
        Some('^') => list(&text[1..]).into_iter().chain(usual()).collect(),
        Some('-') => {
            let out = list(&text[1..]);
            usual().filter(|n| !out.iter().any(|o| wildcard(o.as_bytes(), n.as_bytes()))).collect()
        }
        _ => list(text),
    };
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|name| seen.insert(name.clone()));
    all
}

/// Writes out the patterns of a list of host keys.
///
/// ssh takes them there, and in other lists only behind a `-`.
fn expanded(text: &str, names: &[&str]) -> String {
    let (sign, list) = match text.chars().next() {
        Some('-') => return text.to_owned(),
        Some('+' | '^') => text.split_at(1),
        _ => ("", text),
    };
    let old = format!("ssh-rsa{CERTIFICATE}");
    let all: Vec<&str> = names.iter().copied().chain(["ssh-rsa", &old]).collect();
    let meant = list.split(',').flat_map(|name| match name.contains(['*', '?']) {
        true => all.iter().filter(|n| wildcard(name.as_bytes(), n.as_bytes())).copied().collect(),
        false => vec![name],
    });
    format!("{sign}{}", meant.collect::<Vec<_>>().join(","))
}

/// Lists the names of a list of ssh_config that pitcrew never offers.
pub(super) fn unspoken<'a>(kind: &str, text: &'a str) -> Vec<&'a str> {
    if text.starts_with('-') {
        return Vec::new();
    }
    let names = text.trim_start_matches(['+', '^']).split(',').filter(|n| !n.is_empty() && !n.contains(['*', '?']));
    let bare = |name: &'a str| if kind == "key" { name.strip_suffix(CERTIFICATE).unwrap_or(name) } else { name };
    names.filter(|name| spoken(kind, bare(name)) == Spoken::Never).collect()
}

impl HostKeys {
    fn new(wish: Option<&Wish>) -> Result<Self, ConfigError> {
        let all = supported();
        let Some(wish) = wish else { return Ok(Self { certified: all.clone(), plain: all, fixed: false }) };
        let certified = all.iter().map(|a| format!("{a}{CERTIFICATE}"));
        let names: Vec<String> = certified.chain(all.iter().map(ToString::to_string)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut keys = Self { plain: Vec::new(), certified: Vec::new(), fixed: !wish.text.starts_with(['+', '-']) };
        for name in apply(&expanded(&wish.text, &names), &names) {
            let (list, bare) = match name.strip_suffix(CERTIFICATE) {
                Some(bare) => (&mut keys.certified, bare),
                None => (&mut keys.plain, name.as_str()),
            };
            // SHA-1 only if the list names it.
            let spoken = Algorithm::new(bare).ok().filter(|a| all.contains(a) || *a == Algorithm::Rsa { hash: None });
            list.extend(spoken);
        }
        if keys.plain.is_empty() && keys.certified.is_empty() {
            return Err(nothing(wish, &names));
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::known_hosts::{KnownHosts, ToldKeys, Whom};

    fn wish(text: &str) -> Option<Wish> {
        Some(Wish { name: "Test", text: text.into(), from: SettingOrigin::File("config".into(), 3) })
    }

    fn ciphers(text: &str) -> Vec<String> {
        let lists = Lists::new([None, wish(text), None, None]).unwrap();
        lists.ciphers.iter().map(|c| c.as_ref().to_owned()).collect()
    }

    #[test]
    fn lists_replace_append_remove_and_put_first() {
        assert_eq!(ciphers("aes256-ctr,unknown,aes128-ctr"), ["aes256-ctr", "aes128-ctr"]);
        assert_eq!(ciphers("+aes192-ctr").last().unwrap(), "aes192-ctr");
        assert_eq!(ciphers("^aes128-ctr")[0], "aes128-ctr");
        assert_eq!(ciphers("^aes128-ctr").len(), 5);
        assert_eq!(ciphers("-aes*"), ["chacha20-poly1305@openssh.com"]);
        let e = Lists::new([None, wish("arcfour,none"), None, None]).unwrap_err();
        assert!(e.to_string().contains("config:3") && e.to_string().contains("aes128-gcm"), "{e:?}");
    }

    #[test]
    fn names_that_are_never_offered_are_listed() {
        assert_eq!(unspoken("cipher", "+aes256-ctr,foo,none"), ["foo", "none"]);
        assert_eq!(unspoken("cipher", "-foo"), [""; 0]);
        let keys = "ssh-ed25519,ssh-rsa,rsa-sha2-512-cert-v01@openssh.com,ssh-rsa-cert-v00@openssh.com,ssh-dss,ssh-*";
        assert_eq!(unspoken("key", keys), ["ssh-rsa-cert-v00@openssh.com", "ssh-dss"]);
    }

    #[test]
    fn the_announcements_stay() {
        let lists = Lists::new([wish("curve25519-sha256"), None, None, None]).unwrap();
        let known = KnownHosts::default().of(Whom { host: "h", port: 22, told: &ToldKeys::default() });
        let names: Vec<&str> =
            lists.preferred(&known).kex.iter().map(|k| k.as_ref().to_owned().leak() as &str).collect();
        assert_eq!(names[0], "curve25519-sha256");
        assert!(names.contains(&"kex-strict-c-v00@openssh.com") && names.contains(&"ext-info-c"), "{names:?}");
        assert!(!names.contains(&"mlkem768x25519-sha256"));
    }

    #[test]
    fn host_keys_follow_what_is_known_unless_their_order_is_given() {
        let known = KnownHosts::default().of(Whom { host: "h", port: 22, told: &ToldKeys::default() });
        let first = |text: &str| {
            let lists = Lists::new([None, None, None, wish(text)]).unwrap();
            lists.preferred(&known).key.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(first("rsa-sha2-256,ssh-ed25519"), ["rsa-sha2-256", "ssh-ed25519"]);
        assert_eq!(first("^rsa-sha2-512")[0], "rsa-sha2-512");
        assert!(!first("-ecdsa*").iter().any(|n| n.starts_with("ecdsa")));
        assert!(first("+ssh-rsa").contains(&"ssh-rsa".to_owned()));
        assert!(first("+ssh-rsa*").contains(&"ssh-rsa".to_owned()));
        assert_eq!(first("ssh-ed2551?,rsa-*"), ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]);
        assert_eq!(first("^rsa-sha2-256*")[0], "rsa-sha2-256");
        assert!(!first("-x").contains(&"ssh-rsa".to_owned()));
    }
}
