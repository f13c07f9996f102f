//! Cuts a byte stream into lines with bounded memory. Pure.

/// Longest line of output in bytes; the rest of a longer line is dropped.
pub const OUTPUT_LIMIT: usize = 8 * 1024;
/// Longest line with an answer in bytes. One answer lists all members that a drain took out.
pub const LINE_LIMIT: usize = 64 * 1024;
/// The beginning of every answer.
const MARK: &[u8] = b"@pitcrew:";

/// The bytes of an incomplete line.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// The line was cut: drop bytes up to its newline.
    dropping: bool,
}

impl Lines {
    /// Takes bytes, and calls `line` for every line that they complete or fill.
    pub fn push(&mut self, mut bytes: &[u8], line: &mut dyn FnMut(&str)) {
        while !bytes.is_empty() {
            let (part, rest, ends) = match bytes.iter().position(|b| *b == b'\n') {
                Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default(), true),
                None => (bytes, &[][..], false),
            };
            bytes = rest;
            if !self.dropping {
                let (first, more) = part.split_at(part.len().min(OUTPUT_LIMIT.saturating_sub(self.partial.len())));
                if more.is_empty() && ends && self.partial.is_empty() {
                    line(&String::from_utf8_lossy(first));
                } else {
                    self.partial.extend_from_slice(first);
                    let room = if more.is_empty() { 0 } else { self.room() };
                    if more.len() > room {
                        self.partial.extend_from_slice(more.get(..room).unwrap_or_default());
                        self.emit(true, line);
                        self.dropping = true;
                    } else {
                        self.partial.extend_from_slice(more);
                        if ends {
                            self.emit(false, line);
                        }
                    }
                }
            }
            if ends {
                self.dropping = false;
            }
        }
    }

    /// Calls `line` for a last line without a newline.
    pub fn finish(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.partial.is_empty() {
            self.emit(false, line);
        }
        self.dropping = false;
    }

    /// Returns how many more bytes a line may have that has reached the limit of output.
    fn room(&self) -> usize {
        let beginning = self.partial.get(..OUTPUT_LIMIT).unwrap_or(&self.partial);
        let answers = beginning.windows(MARK.len()).any(|bytes| bytes == MARK);
        if answers { LINE_LIMIT.saturating_sub(self.partial.len()) } else { 0 }
    }

    fn emit(&mut self, is_cut: bool, line: &mut dyn FnMut(&str)) {
        let mut whole = self.partial.as_slice();
        // The cut may halve a character: drop it instead of replacing it.
        if is_cut
            && let Err(e) = std::str::from_utf8(whole)
            && let (valid, None) = (e.valid_up_to(), e.error_len())
        {
            whole = whole.get(..valid).unwrap_or_default();
        }
        line(&String::from_utf8_lossy(whole));
        self.partial.clear();
        // Long answers are few.
        self.partial.shrink_to(OUTPUT_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            lines.push(chunk, &mut |l| out.push(l.to_owned()));
        }
        lines.finish(&mut |l| out.push(l.to_owned()));
        out
    }

    #[test]
    fn lines_are_cut_wherever_the_chunks_end() {
        assert_eq!(cut(&[b"a\nb", b"c\n", b"\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(cut(&[b""]), [""; 0]);
        assert_eq!(cut(&[b"x\r\n"]), ["x\r"]);
        assert_eq!(cut(&[b"\xff\xfe\n"]), ["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn a_character_split_between_chunks_stays_whole() {
        let e = "é".as_bytes();
        assert_eq!(cut(&[&e[..1], &e[1..], b"\n"]), ["é"]);
    }

    #[test]
    fn a_long_line_is_cut_once_and_the_next_is_whole() {
        let long = vec![b'a'; 1 << 20];
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in long.chunks(1000) {
            lines.push(chunk, &mut |l| out.push(l.to_owned()));
            assert!(lines.partial.capacity() <= 2 * OUTPUT_LIMIT);
        }
        lines.push(b"\nnext\n", &mut |l| out.push(l.to_owned()));
        lines.finish(&mut |l| out.push(l.to_owned()));
        assert_eq!(out.len(), 2);
        assert_eq!(out[0].len(), OUTPUT_LIMIT);
        assert_eq!(out[1], "next");
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_not_cut() {
        let mut exact = vec![b'a'; OUTPUT_LIMIT];
        exact.push(b'\n');
        exact.extend_from_slice(b"b\n");
        assert_eq!(cut(&[&exact]).iter().map(String::len).collect::<Vec<_>>(), [OUTPUT_LIMIT, 1]);
        assert_eq!(cut(&[&exact[..OUTPUT_LIMIT], &exact[OUTPUT_LIMIT..]]).len(), 2);
    }

    #[test]
    fn the_cut_does_not_halve_a_character() {
        let mut text = "a".repeat(OUTPUT_LIMIT - 1);
        text.push_str("éé\n");
        assert_eq!(cut(&[text.as_bytes()]), ["a".repeat(OUTPUT_LIMIT - 1)]);
    }

    #[test]
    fn an_answer_may_be_longer_than_output() {
        let answer = |length: usize| {
            let mut text = String::from("half@pitcrew:0123456789abcdef journal ");
            text.push_str(&"j".repeat(length - text.len()));
            text
        };
        for size in [7, 1000, 1 << 20] {
            for length in [OUTPUT_LIMIT, OUTPUT_LIMIT + 1, 3 * OUTPUT_LIMIT, LINE_LIMIT] {
                let text = format!("before\n{}\nafter\n", answer(length));
                let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
                assert_eq!(cut(&chunks), ["before", &answer(length), "after"], "{length} in pieces of {size}");
            }
            // It has an end, too, and costs no more than that.
            let text = format!("{}\nafter\n", answer(1 << 20));
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                lines.push(chunk, &mut |l| out.push(l.to_owned()));
                assert!(lines.partial.capacity() <= 2 * LINE_LIMIT);
            }
            assert_eq!(out, [answer(LINE_LIMIT), "after".to_owned()]);
            assert!(lines.partial.capacity() <= 2 * OUTPUT_LIMIT, "what was long is given back");
        }
        // What only ends like one does not make the line one.
        let text = format!("{}@pitcrew:0123456789abcdef done\n", "x".repeat(OUTPUT_LIMIT));
        assert_eq!(cut(&[text.as_bytes()]), ["x".repeat(OUTPUT_LIMIT)]);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[a-zé\n]{0,200}", size in 1usize..17) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let mut expected: Vec<&str> = text.split('\n').collect();
            if expected.last() == Some(&"") {
                expected.pop();
            }
            prop_assert_eq!(cut(&chunks), expected);
        }
    }
}
