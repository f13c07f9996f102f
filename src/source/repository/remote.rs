//! A repository elsewhere, with the login to it.

use super::super::error::sum::SettingError;
use super::super::secrets;
use crate::config::source::{Password, Repository};

/// The login to a repository's host.
#[derive(Clone, PartialEq, Eq)]
pub struct GitLogin {
    /// The user.
    pub user: String,
    /// The password, or a token.
    pub password: String,
}

/// What servers fetch from, with its login.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// The repository as configured.
    pub repository: Repository,
    /// The login, for https.
    pub login: Option<GitLogin>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.repository.url)
    }
}

impl Remote {
    /// Puts the login together; `values` are those of `[secrets]`.
    ///
    /// # Errors
    /// When the password's secret does not exist, or the login holds a control character.
    pub fn new(repository: &Repository, values: &[(String, String)]) -> Result<Self, SettingError> {
        let password = match &repository.password {
            None => None,
            Some(Password::Written(hidden)) => Some(hidden.0.clone()),
            Some(Password::Secret(name)) => Some(secrets::value(values, name)?),
        };
        let login = match (repository.user.clone(), password) {
            (None, None) => None,
            // Hosts take a token for either of the two.
            (user, password) => Some(GitLogin {
                user: user.unwrap_or_else(|| "git".to_owned()),
                password: password.unwrap_or_default(),
            }),
        };
        if login.iter().any(|l| (l.user.clone() + &l.password).contains(char::is_control)) {
            return Err(SettingError::Login);
        }
        Ok(Self { repository: repository.clone(), login })
    }

    /// Returns the scheme and host that may get the login.
    pub fn origin(&self) -> &str {
        let url = self.repository.url.as_str();
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find('/').map_or(url.len(), |at| host + at);
        &url[..end]
    }

    /// Returns what must not be shown.
    pub fn secrets(&self) -> Vec<String> {
        match &self.login {
            None => Vec::new(),
            // Then the user is a token.
            Some(login) if login.password.is_empty() => vec![login.user.clone()],
            Some(login) => vec![login.password.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Hidden;

    fn repository(url: &str) -> Repository {
        Repository { url: url.into(), user: None, password: None, deploy_key: None, host_keys: Vec::new(), at_once: 1 }
    }

    #[test]
    fn the_login_is_for_one_host_and_in_no_debug_output() {
        let hidden = Password::Written(Hidden("pass-word".into()));
        let repository = Repository { password: Some(hidden), ..repository("https://h:8443/a/b.git") };
        let remote = Remote::new(&repository, &[]).unwrap();
        assert_eq!(remote.origin(), "https://h:8443");
        assert_eq!(remote.secrets(), ["pass-word"]);
        assert!(!format!("{remote:?} {repository:?}").contains("pass-word"));
        let token = Repository { user: Some("tok-en".into()), password: None, ..repository };
        assert_eq!(Remote::new(&token, &[]).unwrap().secrets(), ["tok-en"]);
    }
}
