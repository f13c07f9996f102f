//! One line of an ssh_config: its keyword and its words, quoted as ssh quotes. Pure.

use std::fmt;

/// The characters between words.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// A line with a keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// In lower case.
    pub(super) keyword: String,
    /// The keyword as it is written.
    pub(super) written: String,
    /// Without quotes and comments; at least one.
    pub(super) words: Vec<String>,
    /// The text behind the keyword as it is written; a command is read from it.
    pub(super) rest: String,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLine {
    /// A keyword stands alone.
    NoValue,
    /// A quote is not closed.
    OpenQuote,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoValue => "has a keyword and nothing behind it",
            Self::OpenQuote => "has a quote that is not closed",
        })
    }
}

impl std::error::Error for BadLine {}

/// Reads a line; `None`: it is empty or a comment.
pub(super) fn parse(text: &str) -> Result<Option<Line>, BadLine> {
    let text = text.trim_end_matches([' ', '\t', '\r', '\n', '\u{c}']).trim_start_matches(BLANK);
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = keyword(text);
    if rest.is_empty() {
        return Err(BadLine::NoValue);
    }
    let words = split(rest).ok_or(BadLine::OpenQuote)?;
    if words.is_empty() {
        return Err(BadLine::NoValue);
    }
    // Commands may begin with one more sign of equality.
    let rest = rest.trim_start_matches(|c| BLANK.contains(&c) || c == '=');
    let written = keyword.to_owned();
    Ok(Some(Line { keyword: keyword.to_ascii_lowercase(), written, words, rest: rest.to_owned() }))
}

/// Splits the keyword off: blanks, one `=`, or both lie behind it.
fn keyword(text: &str) -> (&str, &str) {
    if let Some((keyword, rest)) = text.strip_prefix('"').and_then(|t| t.split_once('"')) {
        return (keyword, rest.trim_start_matches(BLANK));
    }
    let at = text.find(|c| BLANK.contains(&c) || c == '=').unwrap_or(text.len());
    let (keyword, rest) = text.split_at(at);
    let rest = rest.trim_start_matches(BLANK);
    (keyword, rest.strip_prefix('=').unwrap_or(rest).trim_start_matches(BLANK))
}

/// Splits a text into words by the rules of ssh; `None`: a quote is not closed.
///
/// Both quotes count. A backslash escapes quotes, itself and blanks. `#` begins a comment where a word could begin.
pub(in crate::ssh) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| [' ', '\t'].contains(c)).is_some() {}
        match chars.peek() {
            None | Some('#') => return Some(words),
            Some(_) => {}
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) => {
                    let escaped = |next: &char| ['\'', '"', '\\'].contains(next) || (quote.is_none() && *next == ' ');
                    word.push(chars.next_if(escaped).unwrap_or('\\'));
                }
                (' ' | '\t', None) => break,
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(q)) if c == q => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).unwrap()
    }

    #[test]
    fn words_are_split_as_ssh_splits_them() {
        assert_eq!(words(r#"a "b c" 'd e'f \"g h\ i \n"#), ["a", "b c", "d ef", "\"g", "h i", "\\n"]);
        assert_eq!(words("a#b # c"), ["a#b"]);
        assert_eq!(words(r#""" x"#), ["", "x"]);
        assert_eq!(words(r#""a\ b""#), ["a\\ b"]);
        assert_eq!(split("\"a"), None);
        assert_eq!(split("'a\""), None);
    }

    #[test]
    fn the_keyword_ends_at_a_blank_or_a_sign_of_equality() {
        for text in ["Port 22", "  PORT\t22  ", "port=22", "port = 22", "port =22\r", "\"Port\" 22"] {
            let line = parse(text).unwrap().unwrap();
            assert_eq!((line.keyword.as_str(), line.rest.as_str()), ("port", "22"), "{text:?}");
            assert_eq!(line.words, ["22"], "{text:?}");
        }
        assert_eq!(parse("ProxyCommand a \"b c\" # d").unwrap().unwrap().rest, "a \"b c\" # d");
        assert_eq!(parse("# x"), Ok(None));
        assert_eq!(parse(" \t\u{c}"), Ok(None));
        assert!(parse("Port").is_err());
        assert!(parse("Port =").is_err());
        assert!(parse("Port # 22").is_err());
    }
}
