//! What to do where client and server share no algorithm of a kind: which line of which file to write.

use super::algorithms::{Spoken, spoken, usual};
use super::text::said;

/// What every sshd of the last ten years knows.
///
/// One that is told to use what it does not know starts no more.
const LONG_KNOWN: [&str; 4] = ["curve25519-sha256@libssh.org", "aes256-ctr", "hmac-sha2-256", "ssh-ed25519"];

/// What a server offers, of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NothingShared {
    /// The kind as the library names it: `kex`, `key`, `cipher`, `mac`.
    pub kind: String,
    /// The algorithms that the server offers.
    pub offered: Vec<String>,
}

impl NothingShared {
    /// Makes it of the names that the server sent.
    pub(super) fn new(kind: String, offered: &[String]) -> Self {
        Self { kind, offered: offered.iter().map(|name| said(name)).collect() }
    }

    /// Names the kind for people.
    pub(super) fn kind(&self) -> &str {
        if self.kind == "key" { "host key" } else { &self.kind }
    }

    /// The keyword of both ssh_config(5) and sshd_config(5).
    fn keyword(&self) -> &'static str {
        match self.kind.as_str() {
            "kex" => "KexAlgorithms",
            "key" => "HostKeyAlgorithms",
            "cipher" => "Ciphers",
            "mac" => "MACs",
            _ => "Compression",
        }
    }

    /// Says what to do next.
    pub(super) fn hint(&self) -> String {
        let word = self.keyword();
        if word == "Compression" {
            return "Write `Compression no` into the server's sshd_config.".to_owned();
        }
        let first = |wanted| self.offered.iter().find(|name| spoken(&self.kind, name) == wanted);
        if let Some(name) = first(Spoken::Usually) {
            return format!("{word} in ssh_config leaves out {name}, which both speak: correct that line.");
        }
        let usual = usual(&self.kind);
        let known = LONG_KNOWN.iter().find(|name| usual.iter().any(|spoken| spoken == *name));
        let best = known.copied().or(usual.first().map(String::as_str)).unwrap_or_default();
        let keys = match self.kind.as_str() {
            "key" => "; `ssh-keygen -A` there makes host keys that are missing",
            _ => "",
        };
        let here = match first(Spoken::OnRequest) {
            Some(name) => format!(" Or write `{word} +{name}` for this host into ssh_config: it is old, and weaker."),
            None => String::new(),
        };
        format!(
            "Write `{word} +{best}` into the server's sshd_config, in place of its line {word}; once `sshd -t` there is \
             content, reload sshd{keys}. pitcrew speaks {}.{here}",
            usual.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(kind: &str, offered: &[&str]) -> String {
        let offered: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
        NothingShared::new(kind.into(), &offered).hint()
    }

    #[test]
    fn the_line_to_write_is_named() {
        for (kind, line) in [
            ("cipher", "`Ciphers +aes256-ctr`"),
            ("kex", "`KexAlgorithms +curve25519-sha256@libssh.org`"),
            ("mac", "`MACs +hmac-sha2-256`"),
            ("key", "`HostKeyAlgorithms +ssh-ed25519`"),
        ] {
            let hint = hint(kind, &["strange@example.com"]);
            assert!(hint.starts_with(&format!("Write {line}")) && hint.contains("sshd_config"), "{hint}");
            assert!(!hint.contains(" ssh_config"), "{hint}");
        }
    }

    #[test]
    fn what_pitcrew_speaks_on_request_is_offered_and_what_ssh_config_forbids_is_told() {
        assert!(hint("cipher", &["aes256-cbc"]).contains("`Ciphers +aes256-cbc` for this host into ssh_config"));
        assert!(hint("key", &["ssh-rsa"]).contains("`HostKeyAlgorithms +ssh-rsa` for this host into ssh_config"));
        let told = "Ciphers in ssh_config leaves out aes256-ctr, which both speak: correct that line.";
        assert_eq!(hint("cipher", &["aes256-cbc", "aes256-ctr"]), told);
        assert!(!hint("cipher", &["none"]).contains("+none"));
    }
}
