//! A mistake in a configuration file: where it is, what it is, what to do.
//!
//! Owns positions and rendering. Other files decide what a mistake is.

use std::path::{Path, PathBuf};

use super::words::neutral;

/// Longer lines are shown as a window around the mistake.
const LINE_SHOWN: usize = 160;
/// Characters left of the mistake that such a window keeps.
const BEFORE: usize = 60;

/// One mistake in the configuration, where it is and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in, as given; empty when a flag is to blame.
    pub file: PathBuf,
    /// Line from 1; 0 when no line is to blame (a missing table, a flag).
    pub line: usize,
    /// Column in characters from 1; 0 with line 0.
    pub column: usize,
    /// The offending line of the file.
    pub text: String,
    /// What is wrong, as a fragment: `unknown key "x" in [app]`.
    pub what: String,
    /// What to do, as a sentence; may be empty.
    pub hint: String,
}

impl Problem {
    /// Makes one that no line of a file is to blame for.
    pub fn of_flag(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { file: PathBuf::new(), line: 0, column: 0, text: String::new(), what: what.into(), hint: hint.into() }
    }

    /// Renders it over several lines, the offending place marked, without a final newline.
    pub fn render(&self) -> String {
        let mut out = String::new();
        if !self.file.as_os_str().is_empty() {
            out.push_str(&neutral(&self.file.display().to_string()));
            if self.line > 0 {
                out.push_str(&format!(":{}:{}", self.line, self.column));
            }
            out.push_str(": ");
        }
        out.push_str(&neutral(&starred(&self.what)));
        if self.line > 0 {
            let (shown, start) = window(&self.text, self.column.saturating_sub(1));
            let number = self.line.to_string();
            out.push_str(&format!("\n  {number} | {}", shown.trim_end()));
            let mark = "^".repeat(marked(&shown, start));
            out.push_str(&format!("\n  {:width$} | {:start$}{mark}", "", "", width = number.len()));
        }
        if !self.hint.is_empty() {
            out.push_str("\n  hint: ");
            out.push_str(&neutral(&starred(&self.hint)));
        }
        out
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render())
    }
}

impl std::error::Error for Problem {}

/// Renders all of them, an empty line between each two, without a final newline.
pub fn render_all(problems: &[Problem]) -> String {
    problems.iter().map(Problem::render).collect::<Vec<_>>().join("\n\n")
}

/// Puts stars for the password and the query of a URL or an address as scp takes it.
///
/// The text stays as long as before; no secret is shown with a mistake.
fn starred(text: &str) -> String {
    let mut out: Vec<char> = text.chars().collect();
    let ends = |c: &char| c.is_whitespace() || "\"'`".contains(*c);
    let mut at = 0;
    while at < out.len() {
        let end = out[at..].iter().position(ends).map_or(out.len(), |i| at + i);
        let scheme = out[at..end].windows(3).position(|w| w == [':', '/', '/']).map(|i| at + i + 3);
        let start = scheme.unwrap_or(at);
        let host = out[start..end].iter().position(|c| *c == '/').map_or(end, |i| start + i);
        let login = out[start..host].iter().rposition(|c| *c == '@').map_or(start, |i| start + i);
        let password = out[start..login].iter().position(|c| *c == ':').map_or(login, |i| start + i + 1);
        out[password..login].fill('*');
        if scheme.is_some() {
            let query = out[host..end].iter().position(|c| *c == '?').map_or(end, |i| host + i + 1);
            out[query..end].fill('*');
        }
        at = end + 1;
    }
    out.into_iter().collect()
}

/// Cuts a long line around its character number `at`; returns the safe text and where `at` is in it.
fn window(text: &str, at: usize) -> (String, usize) {
    let text = neutral(&starred(text));
    let length = text.chars().count();
    let at = at.min(length);
    if length <= LINE_SHOWN {
        return (text, at);
    }
    let from = at.saturating_sub(BEFORE).min(length - LINE_SHOWN);
    let mut shown: String = text.chars().skip(from).take(LINE_SHOWN).collect();
    if from + LINE_SHOWN < length {
        shown.push('…');
    }
    if from == 0 {
        return (shown, at);
    }
    (format!("…{shown}"), at - from + 1)
}

/// Counts the characters of the key or value that begins at character number `at`; at least one.
fn marked(text: &str, at: usize) -> usize {
    let rest: Vec<char> = text.chars().skip(at).collect();
    let length = match rest.first() {
        Some(&quote @ ('"' | '\'')) => {
            let mut escaped = false;
            let close = rest.iter().skip(1).position(|&c| {
                let closes = c == quote && !escaped;
                escaped = quote == '"' && c == '\\' && !escaped;
                closes
            });
            close.map_or(1, |i| i + 2)
        }
        Some(&open @ ('[' | '{')) => {
            let close = if open == '[' { ']' } else { '}' };
            let mut depth = 0_usize;
            let end = rest.iter().position(|&c| {
                depth = if c == open {
                    depth + 1
                } else if c == close {
                    depth - 1
                } else {
                    depth
                };
                depth == 0
            });
            end.map_or(1, |i| i + 1)
        }
        _ => rest.iter().take_while(|c| c.is_alphanumeric() || "_-.+:".contains(**c)).count(),
    };
    length.max(1)
}

/// Collects the mistakes of one file.
#[derive(Debug)]
pub struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    /// Byte offsets at which lines begin.
    starts: Vec<usize>,
    list: Vec<Problem>,
}

impl<'a> Problems<'a> {
    /// Begins with none.
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { file, text, starts, list: Vec::new() }
    }

    /// Reports a mistake at a byte offset of the file.
    pub fn at(&mut self, offset: usize, what: impl Into<String>, hint: impl Into<String>) {
        let line = self.line_of(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let text = self.line(line);
        let column = self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1);
        self.list.push(Problem {
            file: self.file.to_owned(),
            line,
            column,
            text: text.to_owned(),
            what: what.into(),
            hint: hint.into(),
        });
    }

    /// Reports a mistake that is something missing from the whole file.
    pub fn nowhere(&mut self, what: impl Into<String>, hint: impl Into<String>) {
        self.list.push(Problem { file: self.file.to_owned(), ..Problem::of_flag(what, hint) });
    }

    /// Takes over problems found elsewhere; one without a position gets the one given.
    pub fn adopt(&mut self, found: Vec<Problem>, offset: usize) {
        for problem in found {
            if problem.line == 0 && problem.file.as_os_str().is_empty() {
                self.at(offset, problem.what, problem.hint);
            } else {
                self.list.push(problem);
            }
        }
    }

    /// Tells the line, from 1, that a byte offset is on.
    pub fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset).max(1)
    }

    /// Returns a line, from 1, without its end.
    pub fn line(&self, line: usize) -> &'a str {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// Counts the lines.
    pub fn lines(&self) -> usize {
        self.starts.len()
    }

    /// Drops those found so far that are on a line for which `spoilt` holds.
    pub fn drop_lines(&mut self, spoilt: impl Fn(usize) -> bool) {
        self.list.retain(|p| p.line == 0 || !spoilt(p.line));
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns all, in the file's order, those without a line last.
    pub fn finish(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|p| (p.line == 0, p.line, p.column));
        self.list.dedup();
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, offset: usize) -> Problem {
        let mut problems = Problems::new(Path::new("pitcrew.toml"), text);
        problems.at(offset, "it is wrong", "Mend it.");
        problems.finish().remove(0)
    }

    #[test]
    fn a_problem_shows_its_line_and_marks_the_word() {
        let text = "[app]\r\nname = \"é\"\r\nstratgy = \"serial\"\r\n";
        assert_eq!(
            one(text, text.find("stratgy").unwrap()).render(),
            "pitcrew.toml:3:1: it is wrong\n  3 | stratgy = \"serial\"\n    | ^^^^^^^\n  hint: Mend it."
        );
        assert_eq!(
            one(text, text.find("\"serial").unwrap()).render(),
            "pitcrew.toml:3:11: it is wrong\n  3 | stratgy = \"serial\"\n    |           ^^^^^^^^\n  hint: Mend it."
        );
    }

    #[test]
    fn passwords_and_queries_are_starred_wherever_they_stand() {
        for (text, shown) in [
            ("repo = \"ssh://git:hunter22@h/x.git\"", "repo = \"ssh://git:********@h/x.git\""),
            ("repo=\"git:hunter22@h:x.git\" # a:b", "repo=\"git:********@h:x.git\" # a:b"),
            ("has the address `tcp://me:hunter22@lb:1`, no", "has the address `tcp://me:********@lb:1`, no"),
            ("url = 'https://h/a?sig=1&b' # why? see x", "url = 'https://h/a?*******' # why? see x"),
            ("host = \"deploy@web1:22\"", "host = \"deploy@web1:22\""),
        ] {
            assert_eq!(starred(text), shown);
        }
    }

    #[test]
    fn columns_count_characters() {
        let text = "name = { a = \"éé\", bee = 1 }";
        let problem = one(text, text.find("bee").unwrap());
        assert_eq!((problem.line, problem.column), (1, 20));
    }

    #[test]
    fn offsets_outside_of_the_text_do_no_harm() {
        for (text, offset) in [("", 0), ("", 9), ("a = \n", 5), ("a = 1", 5), ("é", 1)] {
            let problem = one(text, offset);
            assert!(problem.line >= 1 && problem.column >= 1);
            problem.render();
        }
    }

    #[test]
    fn control_characters_are_neutralised_everywhere() {
        let text = "na\u{1b}me = 1";
        let mut problems = Problems::new(Path::new("a\u{1b}[2J.toml"), text);
        problems.at(0, "bad \u{7}", "see \u{202e}");
        let shown = problems.finish().remove(0).render();
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
    }

    #[test]
    fn long_lines_are_cut_around_the_mistake() {
        let text = format!("{}bad{}", "x ".repeat(500), " y".repeat(500));
        let shown = one(&text, 1000).render();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.iter().all(|l| l.chars().count() < 180));
        let mark = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().skip(mark).take(3).collect::<String>(), "bad");
    }

    #[test]
    fn nested_and_unclosed_values_are_marked_sensibly() {
        assert_eq!(marked("[1, [2], 3] # x", 0), 11);
        assert_eq!(marked("[1, 2", 0), 1);
        assert_eq!(marked("\"a\\\"b\" x", 0), 6);
        assert_eq!(marked("'a\\' x", 0), 4);
        assert_eq!(marked("\"open", 0), 1);
        assert_eq!(marked("", 0), 1);
        assert_eq!(marked("[[servers]]", 0), 11);
    }
}
