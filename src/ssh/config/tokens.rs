//! Tokens (`%h`), environment variables (`${NAME}`) and `~` in the values of an ssh_config.
//!
//! Pure, but for `~USER`, which the password database knows.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha1::Digest as _;

/// Returns the value of an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The machine and the person that connect.
#[derive(Clone)]
pub struct Local {
    /// The home directory.
    pub home: PathBuf,
    /// The login name.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The machine's name, with its domain if the system knows it.
    pub host: String,
    /// The environment.
    pub env: Environment,
}

/// Why a value cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unexpanded {
    /// The keyword does not take this token.
    Token(char),
    /// The value ends with `%`.
    Percent,
    /// A `${` is not closed.
    Open,
    /// This environment variable is not set.
    Unset(String),
}

impl fmt::Display for Unexpanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(letter) => write!(f, "%{letter} means nothing there"),
            Self::Percent => f.write_str("ends with a %"),
            Self::Open => f.write_str("has a `${` that is not closed"),
            Self::Unset(name) => write!(f, "names the environment variable {name}, which is not set"),
        }
    }
}

impl std::error::Error for Unexpanded {}

/// The values of the tokens.
#[derive(Clone)]
pub(in crate::ssh) struct Tokens<'a> {
    pub(in crate::ssh) local: &'a Local,
    /// `%n`: the host as it was asked for.
    pub(in crate::ssh) asked: &'a str,
    /// `%h`: the host that is connected to.
    pub(in crate::ssh) host: &'a str,
    /// `%p`.
    pub(in crate::ssh) port: u16,
    /// `%r`.
    pub(in crate::ssh) user: &'a str,
    /// `%k`, if it is set.
    pub(in crate::ssh) alias: Option<&'a str>,
    /// `%j`: the jump hosts, or an empty text.
    pub(in crate::ssh) jump: &'a str,
}

/// The tokens that a keyword takes (ssh_config(5), TOKENS).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) enum Takes {
    /// `HostName`: `%%`, `%h`.
    Host,
    /// `ProxyCommand`, `ProxyJump`: `%%`, `%h`, `%n`, `%p`, `%r`.
    Proxy,
    /// Paths: all tokens that are known before the connection is made.
    Path,
    /// `KnownHostsCommand`: the same; those of the key that is looked up, and `%%`, stay as they are.
    Keys,
}

/// The tokens of the key that a `KnownHostsCommand` is asked about.
const OF_KEY: &str = "%fHIKt";

impl Takes {
    fn letters(self) -> &'static str {
        match self {
            Self::Host => "h",
            Self::Proxy => "hnpr",
            Self::Path | Self::Keys => "CdhijkLlnpru",
        }
    }
}

impl Tokens<'_> {
    /// Replaces the tokens of a value.
    pub(in crate::ssh) fn expand(&self, text: &str, takes: Takes) -> Result<String, Unexpanded> {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some(letter) if takes == Takes::Keys && OF_KEY.contains(letter) => out.extend(['%', letter]),
                Some('%') => out.push('%'),
                Some(letter) if takes == Takes::Keys && takes.letters().contains(letter) => {
                    out.push_str(&self.value(letter).replace('%', "%%"));
                }
                Some(letter) if takes.letters().contains(letter) => out.push_str(&self.value(letter)),
                Some(letter) => return Err(Unexpanded::Token(letter)),
                None => return Err(Unexpanded::Percent),
            }
        }
        Ok(out)
    }

    /// Expands a path: `~`, tokens and environment variables.
    pub(in crate::ssh) fn path(&self, text: &str) -> Result<PathBuf, Unexpanded> {
        let text = variables(text, &self.local.env)?;
        Ok(tilde(&self.expand(&text, Takes::Path)?, &self.local.home))
    }

    fn value(&self, letter: char) -> String {
        let short = self.local.host.split('.').next().unwrap_or_default();
        match letter {
            'C' => hash(&[&self.local.host, self.host, &self.port.to_string(), self.user, self.jump]),
            'd' => self.local.home.display().to_string(),
            'h' => self.host.to_owned(),
            'i' => self.local.uid.to_string(),
            'j' => self.jump.to_owned(),
            'k' => self.alias.unwrap_or(self.asked).to_owned(),
            'L' => short.to_owned(),
            'l' => self.local.host.clone(),
            'n' => self.asked.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.to_owned(),
            'u' => self.local.user.clone(),
            _ => String::new(),
        }
    }
}

fn hash(parts: &[&str]) -> String {
    let mut sha = sha1::Sha1::new();
    for part in parts {
        sha.update(part.as_bytes());
    }
    sha.finalize().iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Replaces `${NAME}`. An unset variable is an error, as for ssh.
pub(in crate::ssh) fn variables(text: &str, env: &Environment) -> Result<String, Unexpanded> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').ok_or(Unexpanded::Open)?;
        let value = env(name).ok_or_else(|| Unexpanded::Unset(name.to_owned()))?;
        out.push_str(before);
        out.push_str(&value);
        rest = behind;
    }
    Ok(out + rest)
}

/// Replaces a leading `~` by the home directory, and `~USER` by that of a user who exists.
pub(in crate::ssh) fn tilde(text: &str, home: &Path) -> PathBuf {
    let Some(named) = text.strip_prefix('~') else { return PathBuf::from(text) };
    let (user, rest) = named.split_once('/').unwrap_or((named, ""));
    let home = match user {
        "" => Some(home.to_path_buf()),
        user => nix::unistd::User::from_name(user).ok().flatten().map(|u| u.dir),
    };
    match home {
        Some(home) if rest.is_empty() => home,
        Some(home) => home.join(rest.trim_start_matches('/')),
        None => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local {
            home: "/home/ann".into(),
            user: "ann".into(),
            uid: 1000,
            host: "desk.example.org".into(),
            env: Arc::new(|name| (name == "DIR").then(|| "/keys".to_owned())),
        }
    }

    #[test]
    fn every_token_is_replaced_where_it_may_stand() {
        let local = local();
        let tokens = Tokens {
            local: &local,
            asked: "web1",
            host: "web1.example.com",
            port: 2222,
            user: "deploy",
            alias: None,
            jump: "",
        };
        let all = tokens.expand("%% %d %h %i %j %k %L %l %n %p %r %u", Takes::Path).unwrap();
        assert_eq!(all, "% /home/ann web1.example.com 1000  web1 desk desk.example.org web1 2222 deploy ann");
        let aliased = Tokens { alias: Some("other"), ..tokens.clone() };
        assert_eq!(aliased.expand("%k", Takes::Path).unwrap(), "other");
        // sha1sum of "desk.example.orgweb1.example.com2222deploy"
        assert_eq!(tokens.expand("%C", Takes::Path).unwrap(), "613de3087440d6bda63833735f92961ee9297a36");
        assert_eq!(tokens.expand("%h:%p", Takes::Proxy).unwrap(), "web1.example.com:2222");
        assert!(tokens.expand("%d", Takes::Proxy).is_err());
        assert!(tokens.expand("%p", Takes::Host).is_err());
        assert!(tokens.expand("50%", Takes::Path).is_err());
    }

    #[test]
    fn paths_are_expanded() {
        let local = local();
        let tokens = Tokens { local: &local, asked: "w", host: "w", port: 22, user: "r", alias: None, jump: "" };
        assert_eq!(tokens.path("~/.ssh/%r").unwrap(), Path::new("/home/ann/.ssh/r"));
        assert_eq!(tokens.path("~").unwrap(), Path::new("/home/ann"));
        let root = nix::unistd::User::from_name("root").unwrap().unwrap().dir;
        assert_eq!(tokens.path("~root/.ssh/k").unwrap(), root.join(".ssh/k"));
        assert_eq!(tokens.path("~root").unwrap(), root);
        assert_eq!(tokens.path("~no such user/k").unwrap(), Path::new("~no such user/k"));
        assert_eq!(tokens.path("${DIR}/k").unwrap(), Path::new("/keys/k"));
        assert_eq!(tokens.path("/a~/b").unwrap(), Path::new("/a~/b"));
        assert!(tokens.path("${NONE}/k").unwrap_err().to_string().contains("NONE"));
        assert!(tokens.path("${DIR").is_err());
    }
}
