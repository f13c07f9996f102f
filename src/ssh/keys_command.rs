//! `KnownHostsCommand`: a program that prints the keys of a host.
//!
//! It is asked before the host shows a key, and again with that key.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::{HashAlg, PublicKey};
use tokio::process::Command;

use super::known_hosts::{HostName, KeysCommandFault, KnownHostsError, ToldKeys};
use super::settings::Settings;
use super::short_command::{self, NoOutput};
use super::text::said;

/// Limit on one answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks what the command says of a host.
///
/// `shown` is the key that the host shows; before it shows one, the order of algorithms depends on the answer.
///
/// # Errors
/// When the command fails.
pub(super) async fn ask(settings: &Settings, shown: Option<&PublicKey>) -> Result<ToldKeys, KnownHostsError> {
    let Some((program, arguments)) = settings.keys_command.split_first() else { return Ok(ToldKeys::default()) };
    let (host, port) = settings.known_as();
    let name = HostName::new(host, port);
    let values = KeyTokens::of(&name.to_string(), shown);
    let mut command = Command::new(values.expand(program));
    command.args(arguments.iter().map(|word| values.expand(word)));
    let failed = |source| KnownHostsError::Command { program: program.clone(), source };
    let output = match short_command::output(command, LIMIT).await {
        Ok(output) => output,
        Err(NoOutput::NotStarted(e)) => return Err(failed(KeysCommandFault::NotStarted(e.into()))),
        Err(NoOutput::Silent) => return Err(failed(KeysCommandFault::Silent(LIMIT))),
    };
    if !output.status.success() {
        let said = said(&String::from_utf8_lossy(&output.stderr));
        return Err(failed(KeysCommandFault::Failed { how: output.status.to_string(), said }));
    }
    Ok(ToldKeys::read(&output.stdout, program))
}

/// The values of the tokens of a key.
struct KeyTokens {
    host: String,
    why: &'static str,
    kind: String,
    key: String,
    fingerprint: String,
}

impl KeyTokens {
    fn of(host: &str, shown: Option<&PublicKey>) -> Self {
        let none = || "NONE".to_owned();
        let bytes = shown.and_then(|key| key.to_bytes().ok());
        Self {
            host: host.to_owned(),
            why: if shown.is_some() { "HOSTNAME" } else { "ORDER" },
            kind: shown.map_or_else(none, |key| key.algorithm().to_string()),
            key: bytes.map_or_else(none, |bytes| STANDARD.encode(bytes)),
            fingerprint: shown.map_or_else(none, |key| key.fingerprint(HashAlg::Sha256).to_string()),
        }
    }

    fn expand(&self, word: &str) -> String {
        let mut out = String::new();
        let mut chars = word.chars();
        while let Some(c) = chars.next() {
            match (c, if c == '%' { chars.next() } else { None }) {
                ('%', Some('H')) => out.push_str(&self.host),
                ('%', Some('I')) => out.push_str(self.why),
                ('%', Some('t')) => out.push_str(&self.kind),
                ('%', Some('K')) => out.push_str(&self.key),
                ('%', Some('f')) => out.push_str(&self.fingerprint),
                ('%', Some(other)) => out.push(other),
                (c, _) => out.push(c),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_a_key_are_expanded() {
        let text = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let key = PublicKey::from_openssh(text).unwrap();
        let values = KeyTokens::of("[web1]:2222", Some(&key));
        assert_eq!(values.expand("%I %H %t 100%%"), "HOSTNAME [web1]:2222 ssh-ed25519 100%");
        assert_eq!(values.expand("%K"), text.split(' ').nth(1).unwrap());
        assert!(values.expand("%f").starts_with("SHA256:"));
        assert_eq!(KeyTokens::of("web1", None).expand("%I %t %K %f"), "ORDER NONE NONE NONE");
    }
}
