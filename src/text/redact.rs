//! Replaces secrets in text.
//!
//! It owns how a secret is recognised in a text. The caller knows where secrets come from; `outcome::mask` knows where
//! events hold text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::clean::clean;

/// The text that replaces a secret.
pub const MASK: &str = "[REDACTED]";

/// The fewest characters of a secret: masking shorter ones would blank out half of every line.
const SHORTEST: usize = 4;

/// Replaces secrets in text, in every spelling that a command is likely to print.
#[derive(Clone, Default)]
pub struct Redactor {
    patterns: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} patterns)", self.patterns.len())
    }
}

impl Redactor {
    /// Makes a redactor of these secrets; values of three characters and less are not masked.
    ///
    /// Of a value with several lines, each line is masked as well: output is reported line by line.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut patterns = Vec::new();
        for secret in secrets {
            let secret = secret.as_ref();
            let parts = std::iter::once(secret).chain(secret.lines()).map(str::trim);
            for part in parts.filter(|p| p.chars().count() >= SHORTEST) {
                patterns.extend(spellings(part));
            }
        }
        patterns.retain(|p| p.chars().count() >= SHORTEST);
        patterns.sort();
        patterns.dedup();
        Self { patterns }
    }

    /// Returns a redactor that masks these secrets too.
    #[must_use]
    pub fn and<S: AsRef<str>>(&self, secrets: &[S]) -> Self {
        let mut all = Self::new(secrets.iter().map(AsRef::as_ref));
        all.patterns.extend(self.patterns.iter().cloned());
        all.patterns.sort();
        all.patterns.dedup();
        all
    }

    /// Masks every secret in a text; overlapping ones become one mask.
    pub fn text(&self, text: &str) -> String {
        let mut hits: Vec<(usize, usize)> = Vec::new();
        for pattern in &self.patterns {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|rest| rest.find(pattern.as_str())) {
                let start = from + at;
                hits.push((start, start + pattern.len()));
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if hits.is_empty() {
            return text.to_owned();
        }
        hits.sort_unstable();
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for (start, end) in hits {
            if start >= done {
                out.push_str(&text[done..start]);
                out.push_str(MASK);
            }
            done = done.max(end);
        }
        out.push_str(&text[done..]);
        out
    }

    /// Cleans and masks one line of output: masked as it came, and again without its escape sequences.
    pub fn line(&self, raw: &str) -> String {
        self.text(&clean(&self.text(raw)))
    }
}

/// Returns the ways in which a command is likely to print a value.
fn spellings(value: &str) -> Vec<String> {
    let mut all = vec![value.to_owned(), value.replace('\'', "'\\''"), value.replace('\'', "'\"'\"'")];
    if let Ok(json) = serde_json::to_string(value) {
        all.extend(json.get(1..json.len().saturating_sub(1)).map(str::to_owned));
    }
    for upper in [true, false] {
        all.push(percent_encoded(value, upper));
    }
    // Without padding, which may be cut off: the rest is enough to recognise the value.
    all.push(STANDARD_NO_PAD.encode(value));
    all.push(URL_SAFE_NO_PAD.encode(value));
    all
}

/// Encodes a value as URLs do (RFC 3986 §2.1), with hexadecimal digits of either case.
fn percent_encoded(value: &str, upper: bool) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = if upper { write!(out, "%{byte:02X}") } else { write!(out, "%{byte:02x}") };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_goes_in_every_spelling() {
        let redactor = Redactor::new(["p@ss'w\"rd/1", "abc", "line one\nline two\n"]);
        for text in [
            "url postgres://u:p@ss'w\"rd/1@db",
            "quoted 'p@ss'\\''w\"rd/1'",
            "json \"p@ss'w\\\"rd/1\"",
            "percent p%40ss%27w%22rd%2F1",
            "percent p%40ss%27w%22rd%2f1",
            "base64 cEBzcyd3InJkLzE=",
            "key line two.",
        ] {
            let shown = redactor.line(text);
            assert!(shown.contains(MASK) && !shown.contains("ss") && !shown.contains("two"), "{text} -> {shown}");
        }
        assert_eq!(redactor.line("abc stays: too short"), "abc stays: too short");
    }

    #[test]
    fn an_escape_within_does_not_save_a_secret() {
        assert_eq!(Redactor::new(["hunter2"]).line("hun\x1b[31mter2"), MASK);
    }

    #[test]
    fn overlapping_secrets_become_one_mask() {
        assert_eq!(Redactor::new(["abcd", "cdef"]).text("xabcdefx"), format!("x{MASK}x"));
        assert_eq!(Redactor::new(["aaaa"]).text("aaaaaa"), MASK);
        assert_eq!(Redactor::new(["abcd"]).text("abcdabcd"), format!("{MASK}{MASK}"));
    }

    proptest! {
        #[test]
        fn no_secret_survives(secret in "[a-zß'\"/ %]{4,12}", before in "\\PC{0,20}", after in "\\PC{0,20}") {
            let secret = secret.trim();
            prop_assume!(secret.chars().count() >= SHORTEST && !MASK.contains(secret));
            let shown = Redactor::new([secret]).text(&format!("{before}{secret}{after}"));
            prop_assert!(shown.contains(MASK));
            prop_assert!(!shown.replace(MASK, "\0").contains(secret));
        }
    }
}
