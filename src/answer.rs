//! The lines by which a remote script answers, and the mark that tells them from all other output.
//!
//! Owns their syntax; what an answer means is decided where it is read.

use sha2::{Digest, Sha256};

/// Characters of a nonce that is no script's in an exec of many.
const OWN: usize = 16;

/// Marks the lines by which a script answers, so that no noise on its output passes for an answer.
///
/// It travels on standard input alone. What a server shows of a script to its other processes is the nonce's
/// [`Nonce::mark`], from which it cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(pub String);

/// A line by which a script answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its first word, such as `release` or `fail`.
    pub key: String,
    /// The rest.
    pub value: String,
}

/// A script's own refusal: what follows the word `fail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fail {
    /// The code, such as `locked`, `lock_lost`, `no_space` or `not_proven`.
    pub code: String,
    /// What the script saw.
    pub detail: String,
}

impl Fail {
    /// Reads `CODE DETAIL…`.
    pub fn read(value: &str) -> Self {
        let (code, detail) = value.split_once(' ').unwrap_or((value, ""));
        Self { code: code.to_owned(), detail: detail.to_owned() }
    }
}

impl Nonce {
    /// Makes a new one.
    pub fn random() -> Self {
        Self(format!("{:0OWN$x}", rand::random::<u64>()))
    }

    /// The nonce of a script in an exec that has this one.
    pub fn of_script(&self, number: u16) -> Self {
        Self(format!("{}{number:04x}", self.0))
    }

    /// The script's name in the command line, beside the lock, and in a user's command's environment.
    pub fn mark(&self) -> String {
        let (own, number) = self.mark_parts();
        own + number
    }

    /// The part that stands in the command line, and the part that tells the exec's scripts apart.
    pub fn mark_parts(&self) -> (String, &str) {
        let (own, number) = self.0.split_at(self.0.len().min(OWN));
        let digest = Sha256::digest(own);
        (digest.iter().take(OWN / 2).map(|byte| format!("{byte:02x}")).collect(), number)
    }

    /// Reads an answer from a line of a script's standard output.
    ///
    /// Text that stands before the answer is ignored.
    pub fn read(&self, line: &str) -> Option<Answer> {
        self.split(line).1
    }

    /// What a script's last line holds, however it ends by itself.
    pub fn last_words(&self) -> Vec<String> {
        ["done", "fail ", "unkept"].iter().map(|word| format!("@pitcrew:{} {word}", self.0)).collect()
    }

    /// Parts a line into text that was printed without a newline and the answer that follows it.
    ///
    /// A command or a login shell printed that text.
    pub fn split<'a>(&self, line: &'a str) -> (&'a str, Option<Answer>) {
        let marker = format!("@pitcrew:{} ", self.0);
        let Some(at) = line.find(&marker) else { return (line, None) };
        let (before, rest) = line.split_at(at);
        let rest = rest.strip_prefix(&marker).unwrap_or_default();
        let rest = rest.strip_suffix('\r').unwrap_or(rest);
        let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
        (before, Some(Answer { key: key.chars().map(tame).collect(), value: unescaped(value) }))
    }
}

impl Answer {
    /// Finds the refusal among a script's answers.
    pub fn refusal(answers: &[Self]) -> Option<Fail> {
        answers.iter().find(|a| a.key == "fail").map(|fail| Fail::read(&fail.value))
    }

    /// Tells whether the script ran to its end: without this a good exit status proves nothing.
    pub fn is_done(answers: &[Self]) -> bool {
        answers.iter().any(|a| a.key == "done")
    }
}

/// Takes back what `say` escapes: `\n` and `\\`.
///
/// Of control characters only newlines remain, whatever the source of the others: answers are printed in many places.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars().map(tame);
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}

/// What a terminal would act on becomes `?`, as `say` itself has it.
fn tame(c: char) -> char {
    // Bidirectional marks, overrides and isolates move text as escapes do.
    let moves = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if c.is_control() || moves { '?' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce() -> Nonce {
        Nonce("0123456789abcdef".into())
    }

    #[test]
    fn answers_are_found_behind_noise_and_nowhere_else() {
        let read = |line: &str| nonce().read(line).map(|a| (a.key, a.value));
        let pair = |k: &str, v: &str| Some((k.to_owned(), v.to_owned()));
        assert_eq!(read("@pitcrew:0123456789abcdef current 20260101000000"), pair("current", "20260101000000"));
        assert_eq!(read("NOISE@pitcrew:0123456789abcdef done"), pair("done", ""));
        assert_eq!(read("@pitcrew:0123456789abcdef done\r"), pair("done", ""));
        assert_eq!(read(r"@pitcrew:0123456789abcdef odd a\nb\\n"), pair("odd", "a\nb\\n"));
        assert_eq!(read("@pitcrew:0123456789abcdef user \u{1b}[2J\u{9b}m\u{202e}x"), pair("user", "?[2J?m?x"));
        assert_eq!(read("@pitcrew:0123456789abcdee done"), None);
        assert_eq!(read("@pitcrew: done"), None);
        assert_eq!(read(""), None);
        assert_eq!(nonce().split("50%@pitcrew:0123456789abcdef exit 0").0, "50%");
    }

    #[test]
    fn two_nonces_differ() {
        assert_ne!(Nonce::random(), Nonce::random());
    }
}
