//! How a script travels: the command line that starts it, and the input that it begins with.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;

use super::quote;
use crate::answer::Nonce;
use crate::sync::lock;

/// The longest command line that is made, in bytes.
///
/// dropbear ends a connection over one of 9,000, before 2020 of 1,024; csh takes words of 1,024.
pub const COMMAND_LIMIT: usize = 1000;

/// Takes the nonce from the first line of standard input.
///
/// A variable of the login's by that name would be exported.
pub(super) const TAKE_NONCE: &str = "unset nonce; IFS= read -r nonce";

/// A script as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wired {
    /// The command line.
    pub command: String,
    /// What standard input begins with.
    pub head: Bytes,
}

/// A piece of a script's text.
pub(super) enum Piece {
    File(&'static str),
    Made(String),
}

/// What says on the server that parameters could not be passed on.
pub(super) fn refusing(refused: &[String]) -> String {
    let said = refused.iter().map(|name| {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("fail bad_parameter '{name} holds a NUL byte or is no name'\n")
    });
    said.collect()
}

pub(super) fn readable(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::File(source) => stripped(source),
            Piece::Made(text) => text.clone(),
        })
        .collect()
}

/// The text in one word.
///
/// The text of files is encoded once, however many servers get it.
pub(super) fn encoded(pieces: &[Piece]) -> String {
    static FILES: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());
    let mut files = lock(&FILES);
    let mut code = String::new();
    for piece in pieces {
        match piece {
            Piece::File(source) => {
                code.push_str(files.entry(source).or_insert_with(|| quote::encode(&stripped(source))));
            }
            Piece::Made(text) => code.push_str(&quote::encode(text)),
        }
    }
    code
}

/// Makes the command line and the input of a script; `exports` is its environment's line.
///
/// The script itself is input: servers and login shells limit what a command line may hold, some to a few thousand bytes.
pub(super) fn wired(name: &str, code: &str, exports: &str, nonce: &Nonce) -> Wired {
    // What waits for scripts leaves its own text on the server.
    let (take, run) = match name {
        "standing" => ("full=", "script=standing; eval \"$full\""),
        _ => ("code=", "eval \"$code\""),
    };
    let mark = nonce.mark();
    Wired {
        command: format!(
            r#"sh -c '{TAKE_NONCE} && IFS= read -r code && {take}$(printf %b "$code") && {run}' pitcrew-{name} stdin '{mark}'"#
        ),
        head: Bytes::from(format!("{}\n{code}\n{exports}\n", nonce.0)),
    }
}

/// Drops comment lines, blank lines and indentation.
///
/// A server needs none of them, and a thousand servers would get them all.
fn stripped(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripping_keeps_every_command() {
        assert_eq!(stripped("# a\n\n  if x; then\n      # b\n      y '#z'\n  fi\n"), "if x; then\ny '#z'\nfi\n");
    }
}
