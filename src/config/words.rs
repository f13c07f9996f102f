//! Wording that all messages about the configuration share.
//!
//! Finds the nearest known word, lists words, and makes text safe to print. Owns no message of its own.

/// Longer words are not compared: they are no slips.
const COMPARED: usize = 64;
/// Characters of a value that a message repeats.
const SHOWN: usize = 60;

/// Finds the known word that `word` was most likely meant to be.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length == 0 || length > COMPARED {
        return None;
    }
    let word = word.to_lowercase();
    // Never half of the word or more: "path" is no slip for "batch".
    let allowed = (length.saturating_sub(1) / 2).min(3);
    known
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            // A short name of something longer ("web1" for "web1.example.com") is as near as one slip.
            let begins = length >= 3 && lower.starts_with(&word);
            let distance = if begins { 1 } else { strsim::damerau_levenshtein(&word, &lower) };
            (distance <= allowed).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Suggests the nearest of the known words, or lists them all.
///
/// `kind` is their plural, as in "known keys".
pub fn suggest(word: &str, kind: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{}`?", neutral(near)),
        None if known.is_empty() => format!("there are no {kind}"),
        None => format!("known {kind}: {}", neutral(&known.join(", "))),
    }
}

/// Lists words as "a, b or c".
pub fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// Replaces characters that could move a terminal's cursor or reorder text.
///
/// Each becomes one character, so that columns stay true.
pub fn neutral(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            // Bidirectional controls, zero-width characters, line and paragraph separators, the byte order mark.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Repeats a value in a message: neutralised, cut when long, between backticks.
pub fn quoted(value: &str) -> String {
    let value = neutral(value);
    match value.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("`{}…`", value.get(..cut).unwrap_or_default()),
        None => format!("`{value}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_distant_ones_are_not() {
        let known = ["name", "deploy_to", "strategy", "keep_releases"];
        assert_eq!(nearest("stratgy", known), Some("strategy"));
        assert_eq!(nearest("Strategy", known), Some("strategy"));
        assert_eq!(nearest("keep_release", known), Some("keep_releases"));
        assert_eq!(nearest("keep", known), Some("keep_releases"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(nearest("path", ["batch"]), None);
        assert_eq!(nearest("hots", ["host"]), Some("host"));
        // A slip in a one-letter word leaves nothing that was meant.
        assert_eq!(nearest("x", ["a"]), None);
    }

    #[test]
    fn neutral_text_keeps_its_length_and_loses_its_powers() {
        let text = "a\u{1b}[2Jb\tc\u{202e}d\r\u{9b}";
        let safe = neutral(text);
        assert_eq!(safe, "a\u{fffd}[2Jb c\u{fffd}d\u{fffd}\u{fffd}");
        assert_eq!(safe.chars().count(), text.chars().count());
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(quoted(&"é".repeat(100)), format!("`{}…`", "é".repeat(60)));
        assert_eq!(quoted("short"), "`short`");
    }
}
