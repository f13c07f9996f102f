//! Finds a value in a text that may spell each of its bytes in some other way.
//!
//! JSON, shells, URLs, HTML and programming languages escape; which bytes they escape differs from tool to tool, so that any byte
//! may be escaped here, in any of their ways, or not. Pure.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

/// Bytes that begin something which may stand for another byte.
const SPECIAL: &[u8] = b"\\%=+&'\"";
/// Backslashes before one character: each layer of quoting doubles them.
const BACKSLASHES: usize = 8;
/// A cut may halve an escape of this many bytes.
const ESCAPE: usize = 12;
/// Bytes of a value before a cut that give it away.
pub(super) const PARTIAL: usize = 3;
/// Escapes in one text that are followed: there are more only where the text is made to have them.
const ATTEMPTS: usize = 50_000;

/// Values to find.
#[derive(Default)]
pub(super) struct Values {
    all: Vec<String>,
    /// Which of them begin with a byte.
    beginning: BTreeMap<u8, Vec<usize>>,
}

/// What some bytes of a text may stand for.
struct Spelled {
    bytes: [u8; 4],
    len: usize,
    /// How many bytes of the text.
    taken: usize,
}

/// Where an attempt at a value goes on: in the text, and in the value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    value: usize,
    at: usize,
    done: usize,
}

/// The search of one text.
struct Search<'a> {
    text: &'a [u8],
    is_cut: bool,
    /// Places behind an escape that an attempt has come to: another one would go on from there as that did.
    seen: HashSet<Place>,
    attempts: usize,
}

impl Spelled {
    fn byte(byte: u8, taken: usize) -> Self {
        Self { bytes: [byte, 0, 0, 0], len: 1, taken }
    }

    fn char(code: u32, taken: usize) -> Option<Self> {
        let mut bytes = [0; 4];
        let len = char::from_u32(code)?.encode_utf8(&mut bytes).len();
        Some(Self { bytes, len, taken })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Values {
    pub(super) fn new(mut all: Vec<String>) -> Self {
        all.sort();
        all.dedup();
        let mut beginning: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for (value, text) in all.iter().enumerate() {
            beginning.entry(text.as_bytes()[0]).or_default().push(value);
        }
        Self { all, beginning }
    }

    pub(super) fn all(&self) -> &[String] {
        &self.all
    }

    /// Adds every place where a value stands; `is_cut`: also where the text's end cuts one off.
    pub(super) fn find(&self, text: &[u8], is_cut: bool, hits: &mut Vec<Range<usize>>) {
        let mut search = Search { text, is_cut, seen: HashSet::new(), attempts: 0 };
        let (mut spelled, mut firsts) = (Vec::new(), Vec::new());
        for (at, byte) in text.iter().enumerate() {
            firsts.clear();
            firsts.push(*byte);
            if SPECIAL.contains(byte) {
                spellings(text, at, &mut spelled);
                firsts.extend(spelled.drain(..).map(|one| one.bytes[0]));
                firsts.sort_unstable();
                firsts.dedup();
            }
            for value in firsts.iter().filter_map(|first| self.beginning.get(first)).flatten() {
                let begin = Place { value: *value, at, done: 0 };
                if let Some(end) = search.end_of(self.all[*value].as_bytes(), begin) {
                    hits.push(at..end);
                }
            }
        }
    }
}

impl Search<'_> {
    /// Tells where a value ends that begins here; the longest of several.
    fn end_of(&mut self, value: &[u8], begin: Place) -> Option<usize> {
        let (mut open, mut spelled) = (vec![begin], Vec::new());
        let mut best = None;
        while let Some(mut place) = open.pop() {
            let end = loop {
                if place.done == value.len() {
                    break Some(place.at);
                }
                let gives_away = self.is_cut && place.done >= PARTIAL;
                let Some(byte) = self.text.get(place.at) else { break gives_away.then_some(place.at) };
                if SPECIAL.contains(byte) && self.attempts < ATTEMPTS {
                    if gives_away && self.text.len() - place.at < ESCAPE {
                        best = Some(self.text.len());
                    }
                    self.attempts += 1;
                    spellings(self.text, place.at, &mut spelled);
                    for one in spelled.drain(..).filter(|one| value[place.done..].starts_with(one.bytes())) {
                        let behind = Place { at: place.at + one.taken, done: place.done + one.len, ..place };
                        if self.seen.insert(behind) {
                            open.push(behind);
                        }
                    }
                }
                if *byte != value[place.done] {
                    break None;
                }
                place.at += 1;
                place.done += 1;
            };
            best = best.max(end);
        }
        best
    }
}

/// Adds what the bytes at a place may stand for, beside themselves.
fn spellings(text: &[u8], at: usize, all: &mut Vec<Spelled>) {
    let rest = &text[at..];
    match rest[0] {
        b'\\' => {
            let run = backslashes(rest);
            all.extend((2..=run).map(|taken| Spelled::byte(b'\\', taken)));
            escaped(&rest[run..], run, all);
        }
        // URLs; quoted-printable.
        b'%' if rest.get(1) == Some(&b'u') => all.extend(unicode(&rest[1..], 1)),
        b'%' | b'=' => octet(number(rest.get(1..3), 16), 3, all),
        b'+' => all.push(Spelled::byte(b' ', 1)),
        b'&' => all.extend(entity(rest)),
        // Shells end the quotes for it; YAML and SQL double it.
        b'\'' => {
            let run = backslashes(&rest[1..]);
            if run > 0 && rest[1 + run..].starts_with(b"''") {
                all.push(Spelled::byte(b'\'', run + 3));
            }
            for quoted in [&b"''"[..], b"'\"'\"'"] {
                if rest.starts_with(quoted) {
                    all.push(Spelled::byte(b'\'', quoted.len()));
                }
            }
        }
        b'"' if rest.starts_with(b"\"\"") => all.push(Spelled::byte(b'"', 2)),
        _ => {}
    }
}

fn backslashes(text: &[u8]) -> usize {
    text.iter().take(BACKSLASHES).take_while(|byte| **byte == b'\\').count()
}

/// Adds what stands behind `before` backslashes.
fn escaped(rest: &[u8], before: usize, all: &mut Vec<Spelled>) {
    let Some(letter) = rest.first() else { return };
    let control = |byte| Spelled::byte(byte, before + 1);
    match letter {
        b'u' | b'U' => all.extend(unicode(rest, before)),
        b'x' => octet(number(rest.get(1..3), 16), before + 3, all),
        b'0'..=b'7' => {
            for digits in 1..=3 {
                octet(number(rest.get(..digits), 8), before + digits, all);
            }
        }
        b'n' => all.push(control(b'\n')),
        b't' => all.push(control(b'\t')),
        b'r' => all.push(control(b'\r')),
        b'a' => all.push(control(0x07)),
        b'b' => all.push(control(0x08)),
        b'v' => all.push(control(0x0b)),
        b'f' => all.push(control(0x0c)),
        b'e' => all.push(control(0x1b)),
        // Of a character of several bytes, the first.
        other if !other.is_ascii_alphanumeric() => all.push(control(*other)),
        _ => {}
    }
}

/// Reads `uXXXX`, a pair of those, `u{X}` and `UXXXXXXXX`.
fn unicode(rest: &[u8], before: usize) -> Option<Spelled> {
    if rest.get(1) == Some(&b'{') {
        let len = rest.iter().take(ESCAPE).position(|byte| *byte == b'}')?;
        return Spelled::char(number(rest.get(2..len), 16)?, before + len + 1);
    }
    if rest[0] == b'U' {
        return Spelled::char(number(rest.get(1..9), 16)?, before + 9);
    }
    let code = number(rest.get(1..5), 16)?;
    if !(0xd800..0xdc00).contains(&code) {
        return Spelled::char(code, before + 5);
    }
    let low = rest.get(5 + before..).filter(|low| low.first() == Some(&b'u'))?;
    let low = number(low.get(1..5), 16)?.checked_sub(0xdc00)?;
    Spelled::char(0x1_0000 + ((code - 0xd800) << 10) + low, 2 * (before + 5))
}

/// Reads what HTML and XML write for a character.
fn entity(rest: &[u8]) -> Option<Spelled> {
    let len = rest.iter().take(ESCAPE).position(|byte| *byte == b';')?;
    let name = &rest[1..len];
    let code = match name {
        b"amp" => u32::from(b'&'),
        b"lt" => u32::from(b'<'),
        b"gt" => u32::from(b'>'),
        b"quot" => u32::from(b'"'),
        b"apos" => u32::from(b'\''),
        [b'#', b'x' | b'X', digits @ ..] => number(Some(digits), 16)?,
        [b'#', digits @ ..] => number(Some(digits), 10)?,
        _ => return None,
    };
    Spelled::char(code, len + 1)
}

fn number(digits: Option<&[u8]>, radix: u32) -> Option<u32> {
    let digits = std::str::from_utf8(digits?).ok()?;
    // `from_str_radix` takes a sign.
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| u32::from_str_radix(digits, radix).ok())?
}

/// Adds what a number of up to two digits stands for: a byte of UTF-8, or a character of Latin-1.
fn octet(number: Option<u32>, taken: usize, all: &mut Vec<Spelled>) {
    let Some(number) = number.filter(|number| *number < 256) else { return };
    all.extend(u8::try_from(number).map(|byte| Spelled::byte(byte, taken)));
    if number > 127 {
        all.extend(Spelled::char(number, taken));
    }
}
