//! Asking the person at the terminal; nobody is asked where there is none.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use crate::cli::Global;
use crate::ssh::Ask;

/// Chooses who is asked: the terminal, unless there is none or `--no-input` forbids it.
pub fn asking(global: &Global) -> Arc<dyn Ask> {
    if !global.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        Arc::new(Terminal)
    } else {
        Arc::new(Nobody)
    }
}

struct Terminal;

struct Nobody;

impl Ask for Terminal {
    fn passphrase(&self, key: &Path) -> Option<String> {
        let answer = rpassword::prompt_password(format!("Passphrase for {}: ", key.display())).ok()?;
        (!answer.is_empty()).then_some(answer)
    }
}

impl Ask for Nobody {
    fn passphrase(&self, _key: &Path) -> Option<String> {
        None
    }
}
