//! Asks the person at the terminal, where there is one.

use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::sync::Arc;

use crate::cli::Global;
use crate::ssh::Ask;

/// Asks at the terminal, unless there is none or `--no-input` forbids it.
pub fn asking(global: &Global) -> Arc<dyn Ask> {
    if !global.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        Arc::new(Terminal)
    } else {
        Arc::new(Silent)
    }
}

struct Terminal;

struct Silent;

impl Ask for Terminal {
    fn passphrase(&self, key: &Path) -> Option<String> {
        let answer = rpassword::prompt_password(format!("Passphrase for {}: ", key.display())).ok()?;
        (!answer.is_empty()).then_some(answer)
    }

    fn is_attended(&self) -> bool {
        true
    }

    fn answer(&self, question: &str, echo: bool) -> Option<String> {
        if !echo {
            return rpassword::prompt_password(question).ok();
        }
        let mut stderr = std::io::stderr();
        stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).ok()?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn touch(&self, key: &str) {
        // Best effort: the key blinks too.
        let _ = writeln!(std::io::stderr(), "Touch the security key {key} to log in.");
    }
}

impl Ask for Silent {
    fn passphrase(&self, _key: &Path) -> Option<String> {
        None
    }
}
