//! One remote script with its parameters, and the text that it becomes.
//!
//! How that text travels is decided in [`super::wire`].

use bytes::Bytes;

use super::kind::Script;
use super::quote;
use super::wire::{Piece, Wired, encoded, readable, refusing, wired};
use crate::answer::Nonce;

/// One remote script with its parameters: what one step executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub script: Script,
    /// Shell variables it sees as `$p_NAME`; a list arrives as quoted words for `eval "set -- $p_NAME"`.
    pub params: Vec<(&'static str, Param)>,
    /// Snippets of the web server template it needs, by name (`web_processes`, …), made functions.
    pub snippets: Vec<(&'static str, String)>,
    /// The template's parameters, `$w_NAME`.
    pub web: Vec<(String, String)>,
    /// Environment and secrets; they arrive on standard input.
    pub env: Vec<(String, String)>,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// One word, whatever it holds.
    Text(String),
    /// Several.
    List(Vec<String>),
}

/// What to do about a script whose connection was lost while it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLoss {
    /// The server knows how it ended: it works under the lock, and leaves word there.
    Ask,
    /// It changes nothing, or nothing that a second time would change: it is run again.
    Again,
    /// Its effect cannot be told.
    Fail,
}

impl Call {
    /// What to do when the connection is lost while it runs.
    pub fn after_loss(&self) -> AfterLoss {
        match self.script {
            Script::Probe | Script::Lock | Script::Unlock | Script::Prove | Script::Log => AfterLoss::Again,
            Script::History | Script::Ask | Script::Takeover | Script::Listing | Script::Identity => AfterLoss::Again,
            Script::Aside => AfterLoss::Again,
            _ if self.text_of("token").is_some_and(|t| !t.is_empty()) => AfterLoss::Ask,
            _ => AfterLoss::Fail,
        }
    }

    /// The value of a parameter that is one word.
    pub(super) fn text_of(&self, wanted: &str) -> Option<&str> {
        self.params.iter().find_map(|(name, param)| match param {
            Param::Text(text) if *name == wanted => Some(text.as_str()),
            _ => None,
        })
    }

    /// The command line for the server's login shell.
    ///
    /// It holds no secret: those are in [`Call::head`].
    pub fn command(&self, nonce: &Nonce) -> String {
        self.wired(nonce).command
    }

    /// What standard input begins with: the nonce, the script, and the environment.
    pub fn head(&self, nonce: &Nonce) -> Bytes {
        self.wired(nonce).head
    }

    /// Both at once.
    pub fn wired(&self, nonce: &Nonce) -> Wired {
        wired(self.script.name(), &encoded(&self.pieces()), &self.exports(), nonce)
    }

    /// The script as it runs, readable, without the environment's values: what `--dry-run -v` shows.
    pub fn text(&self) -> String {
        readable(&self.pieces())
    }

    pub(super) fn pieces(&self) -> Vec<Piece> {
        let mut text = format!("# pitcrew-{}\n", self.script.name());
        if !self.env.is_empty() {
            let names: Vec<&str> =
                self.env.iter().map(|(name, _)| name.as_str()).filter(|n| quote::is_name(n)).collect();
            text.push_str(&format!("# environment, on standard input: {}\n", names.join(" ")));
        }
        let mut refused = Vec::new();
        self.assign(&mut text, &mut refused);
        let mut pieces = vec![Piece::Made(text)];
        for (part, source) in self.script.parts().iter().enumerate() {
            pieces.push(Piece::File(source));
            if part == 0 {
                pieces.push(Piece::Made(refusing(&refused)));
            }
        }
        pieces
    }

    /// Writes the assignments of all that the script is given; what cannot be one is `refused`.
    pub(super) fn assign(&self, text: &mut String, refused: &mut Vec<String>) {
        let mut assign = |prefix: &str, name: &str, value: Option<String>| match value {
            Some(value) if quote::is_name(name) => text.push_str(&format!("{prefix}{name}={value}\n")),
            _ => refused.push(name.to_owned()),
        };
        for (name, param) in &self.params {
            let value = match param {
                Param::Text(value) => quote::word(value),
                Param::List(list) => quote::words(list).and_then(|l| quote::word(&l)),
            };
            assign("p_", name, value);
        }
        for (name, value) in &self.web {
            assign("w_", name, quote::word(value));
        }
        for (name, snippet) in &self.snippets {
            assign("s_", name.strip_prefix("web_").unwrap_or(name), quote::word(snippet));
        }
    }

    /// The environment as one line of shell code, without its newline.
    pub(super) fn exports(&self) -> String {
        let own = |name: &&str| quote::is_name(name) && !name.starts_with("PITCREW_");
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).filter(own).collect();
        // For the scripts that hold a process's own values against these.
        let mut line = if names.is_empty() { String::new() } else { format!("user_names='{}'; ", names.join(" ")) };
        for (name, value) in &self.env {
            match quote::line(value) {
                Some(value) if quote::is_name(name) => {
                    line.push_str("export ");
                    line.push_str(name);
                    line.push('=');
                    line.push_str(&value);
                    line.push_str("; ");
                }
                // Refused on the server, since a step must not run without a variable that it was to have.
                _ => {
                    let name: String = name.chars().filter(|c| c.is_ascii_graphic() && *c != '\'').collect();
                    line.push_str(&format!(
                        "echo 'cannot export {name}: not a name, or a NUL in its value' >&2; exit 71; "
                    ));
                }
            }
        }
        line
    }
}
