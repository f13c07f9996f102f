//! Why a server accepted no login: what was offered, what was not, and why.

use std::fmt;
use std::time::Duration;

use super::key_fault::{CertificateFault, KeyFault};
use super::lost::Lost;

/// Why a server accepted no login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotAccepted {
    /// The destination as people type it.
    pub place: String,
    /// The login user.
    pub user: String,
    /// The host.
    pub host: String,
    /// What was offered.
    pub offered: Vec<String>,
    /// What was not offered.
    pub skipped: Vec<Skipped>,
    /// Whether the server accepted a part and demanded more.
    pub partial: bool,
    /// The methods that the server accepts, if it said so.
    pub methods: Vec<&'static str>,
    /// Why the connection ended, if it ended first.
    pub lost: Option<Lost>,
}

/// Something that was not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The key, the agent, or the method.
    pub what: String,
    /// Why.
    pub why: Skip,
}

/// Why something was not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// The file does not exist.
    Missing,
    /// The file holds the public half only, and no agent holds the key.
    PublicHalf,
    /// The key is encrypted, and `BatchMode` forbids questions.
    Encrypted,
    /// The key of the certificate is encrypted, and `BatchMode` forbids questions.
    KeyEncrypted,
    /// The key cannot be used.
    Key(KeyFault),
    /// The certificate cannot be used.
    Certificate(CertificateFault),
    /// Neither a key file nor the agent holds the key of the certificate.
    NoKey,
    /// `IdentitiesOnly` excludes it.
    IdentitiesOnly,
    /// Servers allow no more offers than this number.
    TooMany(usize),
    /// The server accepts RSA keys with SHA-1 only.
    Sha1,
    /// It could not sign.
    Sign(SignFault),
    /// The agent failed, in the words of the library.
    Agent(String),
    /// The agent did not answer within this limit.
    AgentSilent(Duration),
    /// There is no terminal to ask at.
    NoTerminal,
    /// The person did not answer.
    Unanswered,
    /// The person typed no password.
    Untyped,
    /// The server asks too many questions.
    TooManyQuestions,
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignFault {
    /// The connection to the agent is gone.
    NoAgent,
    /// The library failed, in its own words.
    Library(String),
    /// The key cannot sign, for this reason.
    Key(String),
    /// Other keys waited too long for the person.
    NoTurn,
    /// The agent refused, for this reason.
    Agent(String),
    /// The agent did not sign within this limit.
    AgentSilent(Duration),
    /// The person did not touch the key within this limit.
    Untouched(Duration),
}

impl NotAccepted {
    /// Says what to do next.
    pub fn hint(&self) -> String {
        if self.partial {
            return self.second_factor();
        }
        let keys = self.methods.is_empty() || self.methods.contains(&"publickey");
        match (keys, self.offered.is_empty()) {
            (false, _) => {
                "Allow PubkeyAuthentication for this user on the server; passwords are asked for at a terminal only."
                    .into()
            }
            (true, true) => "Name a key with identity_file, or load one into the agent with ssh-add.".into(),
            (true, false) => format!(
                "Add one of these keys to {0}'s authorized_keys on {1}, or set the right user or identity_file; if it is there, \
                 sshd's log on {1} says why {0} may not log in.",
                self.user, self.host
            ),
        }
    }

    /// Says what to do where the server accepted a part, and demands more (`AuthenticationMethods`).
    fn second_factor(&self) -> String {
        let asked = match self.methods.as_slice() {
            [] => "a second factor".to_owned(),
            all => all.join(" or "),
        };
        let exempt = format!(
            "`AuthenticationMethods publickey` below `Match User {}` in the server's sshd_config exempts the user",
            self.user
        );
        let people = self.methods.iter().any(|m| ["keyboard-interactive", "password"].contains(m));
        if people {
            return format!("The server still asks for {asked}: answer it at a terminal; for cron and CI, {exempt}.");
        }
        if self.methods.contains(&"publickey") {
            return format!("The server asks for one more key: name both with identity_file; or {exempt}.");
        }
        format!("The server still asks for {asked}: {exempt}.")
    }
}

impl fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot log in as {}: ", self.place)?;
        match (self.offered.is_empty(), self.partial) {
            (true, _) => f.write_str("there was nothing to offer")?,
            (false, false) => write!(f, "refused {}", self.offered.join(", "))?,
            (false, true) => {
                write!(f, "a part was accepted, but more is demanded; offered {}", self.offered.join(", "))?;
            }
        }
        if !self.skipped.is_empty() {
            let skipped: Vec<String> = self.skipped.iter().map(ToString::to_string).collect();
            write!(f, "; not offered: {}", skipped.join(", "))?;
        }
        if !self.methods.is_empty() {
            write!(f, "; the server accepts {}", self.methods.join(", "))?;
        }
        self.lost.as_ref().map_or(Ok(()), |lost| write!(f, "; {lost}"))
    }
}

impl std::error::Error for NotAccepted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.lost.as_ref().map(|lost| lost as _)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.why)
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::PublicHalf => f.write_str("only its public half is there, and no agent holds it"),
            Self::Encrypted => f.write_str("encrypted, and BatchMode forbids to ask"),
            Self::KeyEncrypted => f.write_str("its key is encrypted, and BatchMode forbids to ask"),
            Self::Key(e) => e.fmt(f),
            Self::Certificate(e) => e.fmt(f),
            Self::NoKey => f.write_str("neither a key file nor the agent holds its key"),
            Self::IdentitiesOnly => f.write_str("IdentitiesOnly"),
            Self::TooMany(most) => write!(f, "servers allow no more than {most}"),
            Self::Sha1 => f.write_str("the server accepts RSA keys with SHA-1 only"),
            Self::Sign(e) => e.fmt(f),
            Self::Agent(words) => f.write_str(words),
            Self::AgentSilent(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::NoTerminal => f.write_str("there is no terminal to ask at"),
            Self::Unanswered => f.write_str("there was no answer at the terminal"),
            Self::Untyped => f.write_str("none was typed at the terminal"),
            Self::TooManyQuestions => f.write_str("too many"),
        }
    }
}

impl fmt::Display for SignFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAgent => f.write_str("the agent is gone"),
            Self::Library(words) => f.write_str(words),
            Self::Key(why) => write!(f, "it cannot sign: {why}"),
            Self::NoTurn => f.write_str("other keys were waited for too long"),
            Self::Agent(why) => write!(f, "the agent did not sign: {why}"),
            Self::AgentSilent(limit) => write!(f, "the agent did not sign within {} s", limit.as_secs()),
            Self::Untouched(limit) => write!(f, "it was not touched within {} s", limit.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_factor_is_named_with_the_line_that_exempts_the_user() {
        let hint = |methods: &[&'static str]| {
            let methods = methods.to_vec();
            NotAccepted { user: "deploy".into(), partial: true, methods, ..NotAccepted::default() }.hint()
        };
        for (methods, said) in [
            (&["keyboard-interactive", "password"][..], "still asks for keyboard-interactive or password: answer it"),
            (&["publickey"], "asks for one more key: name both with identity_file"),
            (&["hostbased"], "still asks for hostbased: `Auth"),
            (&[], "still asks for a second factor"),
        ] {
            let hint = hint(methods);
            assert!(hint.contains(said), "{hint}");
            assert!(hint.contains("`AuthenticationMethods publickey` below `Match User deploy`"), "{hint}");
        }
    }
}
