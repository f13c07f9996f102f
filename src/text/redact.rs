//! Replaces secrets in text.
//!
//! It owns how a secret is recognised in a text. The caller knows where secrets come from; `outcome::mask` knows where
//! events hold text.

use std::ops::Range;
use std::sync::Arc;

use self::encoded::Encoded;
use self::spelled::Values;
use super::clean::{LIMIT, clean};

mod encoded;
mod spelled;

/// The text that replaces a secret.
pub const MASK: &str = "[REDACTED]";

/// The fewest characters of a secret: masking shorter ones would blank out half of every line.
const SHORTEST: usize = 4;

/// Replaces secrets in text, in every spelling that a command is likely to print.
#[derive(Clone, Default)]
pub struct Redactor {
    patterns: Arc<Patterns>,
}

#[derive(Default)]
struct Patterns {
    /// The secrets, and each line of those that have several.
    parts: Vec<String>,
    /// These, and what base64 makes of them: quoting may come on top.
    values: Values,
    encoded: Encoded,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} patterns)", self.patterns.values.all().len())
    }
}

/// Tells whether a secret is too short to be masked.
pub fn is_too_short(secret: &str) -> bool {
    !secret.trim().is_empty() && secret.trim().chars().count() < SHORTEST
}

impl Redactor {
    /// Makes a redactor of these secrets; values of three characters and less are not masked.
    ///
    /// Of a value with several lines, each line is masked as well: output is reported line by line.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut parts: Vec<String> = Vec::new();
        for secret in secrets {
            let secret = secret.as_ref();
            let wanted = |part: &&str| part.trim().chars().count() >= SHORTEST;
            parts.extend([secret, secret.trim()].into_iter().filter(wanted).map(str::to_owned));
            parts.extend(secret.lines().map(str::trim).filter(wanted).map(str::to_owned));
        }
        Self::of(parts)
    }

    fn of(mut parts: Vec<String>) -> Self {
        parts.sort();
        parts.dedup();
        let in_base64 = parts.iter().flat_map(|part| encoded::base64(part.as_bytes()));
        let mut values: Vec<String> = in_base64.collect();
        values.extend(values.iter().map(|one| one.replace('+', "-").replace('/', "_")).collect::<Vec<_>>());
        values.extend(parts.iter().cloned());
        let encoded = Encoded::new(parts.iter().map(|part| part.as_bytes()));
        Self { patterns: Arc::new(Patterns { values: Values::new(values), encoded, parts }) }
    }

    /// Returns a redactor that masks these secrets too.
    #[must_use]
    pub fn and<S: AsRef<str>>(&self, secrets: &[S]) -> Self {
        let more = Self::new(secrets.iter().map(AsRef::as_ref));
        Self::of(more.patterns.parts.iter().chain(&self.patterns.parts).cloned().collect())
    }

    /// Masks every secret in a text; overlapping ones become one mask.
    ///
    /// A text as long as a line may be was cut there, perhaps within a secret: what such a text ends with counts, too.
    pub fn text(&self, text: &str) -> String {
        let is_cut = text.len() + '…'.len_utf8() >= LIMIT;
        self.masked(text.strip_suffix('…').filter(|_| is_cut).unwrap_or(text), text, is_cut)
    }

    /// The same of a text that is the beginning of a longer one.
    pub fn beginning(&self, text: &str) -> String {
        self.masked(text, text, true)
    }

    /// Cleans and masks one line of output: masked as it came, and again without its escape sequences.
    pub fn line(&self, raw: &str) -> String {
        self.text(&clean(&self.text(raw)))
    }

    /// Masks what is found in `searched`, with which `text` begins.
    fn masked(&self, searched: &str, text: &str, is_cut: bool) -> String {
        if self.patterns.parts.is_empty() {
            return text.to_owned();
        }
        let mut hits: Vec<Range<usize>> = Vec::new();
        self.patterns.values.find(searched.as_bytes(), is_cut, &mut hits);
        self.patterns.encoded.find(searched.as_bytes(), is_cut, &mut hits);
        hits.sort_unstable_by_key(|hit| (hit.start, hit.end));
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for hit in hits {
            if hit.start >= done {
                out.push_str(&text[done..hit.start]);
                out.push_str(MASK);
            }
            done = done.max(hit.end);
        }
        out.push_str(&text[done..]);
        out
    }
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
