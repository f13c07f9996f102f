//! Makes text from elsewhere fit for a terminal: one line of bounded length, without escape sequences.
//!
//! It owns what a terminal may see of a server's output; masking secrets is `redact`'s.

/// The longest line that [`clean`] returns, in bytes; SSH sessions cut lines at the same length.
pub const LIMIT: usize = 8 * 1024;

/// Strips ANSI escape sequences and control characters from one line and cuts it to [`LIMIT`].
///
/// A carriage return starts the line again, as on a terminal: of a progress bar, the last segment that shows anything
/// stays. A backspace removes a character; a tab becomes four spaces.
pub fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LIMIT));
    let mut kept = String::new();
    let mut input = Input { chars: text.chars().collect(), at: 0 };
    while let Some(c) = input.next() {
        match c {
            '\x1b' => input.skip_escape(),
            '\u{9b}' => input.skip_control_sequence(),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => input.skip_string(),
            '\r' if line.trim().is_empty() => line.clear(),
            '\r' => kept = std::mem::take(&mut line),
            '\x08' => drop(line.pop()),
            '\t' => line.push_str("    "),
            '\n' | '\u{2028}' | '\u{2029}' => line.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => line.push(c),
        }
    }
    cut(if line.trim().is_empty() && !kept.is_empty() { &kept } else { &line }, LIMIT)
}

/// Cleans a text for use within a sentence: one line of at most `most` characters, trimmed.
pub fn one_line(text: &str, most: usize) -> String {
    clean(text.trim()).trim().chars().take(most).collect()
}

/// Cleans a text of several lines, line by line.
pub fn clean_lines(text: &str) -> Vec<String> {
    text.trim_end().split('\n').map(clean).collect()
}

/// Cuts a text to `limit` bytes at a character's boundary, with an ellipsis within the limit.
pub fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    if limit < '…'.len_utf8() { String::new() } else { format!("{}…", &text[..end]) }
}

/// Tells whether a character is invisible and changes how the rest of a line reads.
fn is_invisible(c: char) -> bool {
    // Bidirectional marks, overrides and isolates (UAX #9): with them a line can show the opposite of what it holds.
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The characters of a line that are still to be read.
struct Input {
    chars: Vec<char>,
    at: usize,
}

impl Input {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied()?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Skips an escape sequence behind its ESC (ECMA-48 §5.3 and §8.3).
    fn skip_escape(&mut self) {
        match self.peek() {
            Some('[') => {
                self.at += 1;
                self.skip_control_sequence();
            }
            Some(']' | 'P' | 'X' | '^' | '_') => {
                self.at += 1;
                self.skip_string();
            }
            Some(' '..='/') => {
                while matches!(self.peek(), Some(' '..='/')) {
                    self.at += 1;
                }
                self.skip_one('0'..='~');
            }
            _ => self.skip_one('0'..='~'),
        }
    }

    /// Skips parameters, intermediates and the final byte of a control sequence (ECMA-48 §5.4).
    fn skip_control_sequence(&mut self) {
        while matches!(self.peek(), Some(' '..='?')) {
            self.at += 1;
        }
        self.skip_one('@'..='~');
    }

    fn skip_one(&mut self, of: std::ops::RangeInclusive<char>) {
        if self.peek().is_some_and(|c| of.contains(&c)) {
            self.at += 1;
        }
    }

    /// Skips a control string to its terminator.
    ///
    /// A string that never ends loses only its introducer, so that it hides nothing.
    fn skip_string(&mut self) {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let end = rest.iter().enumerate().find_map(|(i, c)| match c {
            '\x07' | '\u{9c}' => Some(i + 1),
            '\x1b' if rest.get(i + 1) == Some(&'\\') => Some(i + 2),
            // A new line or an escape sequence within it: the string was broken off.
            '\x1b' | '\r' | '\n' => Some(i),
            _ => None,
        });
        if let Some(end) = end {
            self.at += end;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_progress_bars_go() {
        for (raw, shown) in [
            ("plain text", "plain text"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Bx\x1b7y\x1bMz", "xyz"),
            ("\u{9b}31mred", "red"),
            ("10%\r50%\r100%", "100%"),
            ("100%\r", "100%"),
            ("done\r\x1b[K", "done"),
            ("|\x08/\x08-", "-"),
            ("a\tb", "a    b"),
            ("a\0b\x07c\x7f", "abc"),
            ("\x1b]never ends", "never ends"),
            ("abc\u{202e}fed", "abcfed"),
            ("two\nlines", "two lines"),
            ("\x1b", ""),
            ("\x1b[", ""),
            ("größe ✔ 日本", "größe ✔ 日本"),
        ] {
            assert_eq!(clean(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn a_text_within_a_sentence_is_one_line_of_limited_length() {
        assert_eq!(one_line(" fatal: \x1b[31mno\x1b[0m\n such file\r\n", 100), "fatal: no  such file");
        assert_eq!(one_line("größer", 3), "grö");
    }

    #[test]
    fn a_cut_is_at_a_boundary_and_within_the_limit() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc…");
        assert_eq!(cut("äöüäöü", 6), "ä…");
        assert_eq!(cut("abc", 2), "");
        assert!(clean(&"ä".repeat(LIMIT)).len() <= LIMIT);
    }

    proptest! {
        #[test]
        fn nothing_that_moves_a_cursor_survives(raw in "(\\PC|[\\x00-\\x1f\\x7f-\\x9f]|\x1b[\\[\\]P(]|[0-9;]{1,3}m){0,200}") {
            let shown = clean(&raw);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_invisible(c)), "{:?}", shown);
            prop_assert!(shown.len() <= LIMIT);
            prop_assert_eq!(clean(&shown), shown);
        }

        #[test]
        fn printable_text_is_left_alone(text in "[ -~äöü✔日]{0,300}") {
            prop_assert_eq!(clean(&text), text);
        }
    }
}
