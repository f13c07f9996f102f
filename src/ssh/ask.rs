//! The questions that only a person at the terminal can answer.

use std::path::Path;

/// Asks the person at the terminal.
pub trait Ask: Send + Sync {
    /// Asks for the passphrase of a key file, and blocks.
    ///
    /// `None`: there is no terminal, or the person typed nothing.
    fn passphrase(&self, key: &Path) -> Option<String>;

    /// Tells whether a person can be asked.
    fn is_attended(&self) -> bool {
        false
    }

    /// Asks a question of a server, for a password for example, and blocks.
    ///
    /// With `echo` the answer may be shown.
    ///
    /// `None`: there is no terminal, or the person did not answer.
    fn answer(&self, question: &str, echo: bool) -> Option<String> {
        let _ = (question, echo);
        None
    }

    /// Says that a security key waits for a touch.
    fn touch(&self, key: &str) {
        let _ = key;
    }
}
