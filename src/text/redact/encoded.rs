//! Finds values in base64 and in hexadecimal digits, whole or broken into lines. Pure.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Characters in a row by which a part of an encoded value is recognised.
///
/// Tools break lines anywhere.
const WINDOW: usize = 12;
/// The same, at a text's end that cut the rest off.
const CUT: usize = 4;

/// Values to find, encoded.
#[derive(Default)]
pub(super) struct Encoded {
    base64: Vec<String>,
    hex: Vec<String>,
}

impl Encoded {
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let mut base64: Vec<String> = values.clone().flat_map(base64).collect();
        let mut hex: Vec<String> = values.map(hex).collect();
        base64.sort();
        base64.dedup();
        hex.sort();
        hex.dedup();
        Self { base64, hex }
    }

    /// Adds every place where a value stands, or a line of one.
    ///
    /// `is_cut`: also where the text's end cuts one off.
    pub(super) fn find(&self, text: &[u8], is_cut: bool, hits: &mut Vec<Range<usize>>) {
        for run in runs(text, |byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)) {
            let found: String = text[run.clone()].iter().map(|byte| standard(*byte)).collect();
            let ends = is_cut && run.end == text.len();
            within(&self.base64, &found, ends, &mut |hit| hits.push(run.start + hit.start..run.start + hit.end));
        }
        for run in runs(text, |byte| byte.is_ascii_hexdigit()) {
            let found: String = text[run.clone()].iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect();
            let ends = is_cut && run.end == text.len();
            within(&self.hex, &found, ends, &mut |hit| hits.push(run.start + hit.start..run.start + hit.end));
        }
    }
}

/// Returns what base64 makes of a value, wherever it begins and ends in what is encoded.
///
/// Characters that tell something of its neighbours too are left out.
pub(super) fn base64(value: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    for before in 0..3 {
        let padded = [&[0; 2][..before], value].concat();
        let text = STANDARD_NO_PAD.encode(&padded);
        let start = [0, 2, 3][before];
        let end = text.len() - usize::from(padded.len() % 3 != 0);
        all.extend(text.get(start..end).filter(|text| text.len() >= CUT).map(str::to_owned));
    }
    all
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The alphabet of URLs differs in two characters (RFC 4648 §5).
fn standard(byte: u8) -> char {
    match byte {
        b'-' => '+',
        b'_' => '/',
        other => char::from(other),
    }
}

/// Finds the longest stretches of such bytes.
fn runs(text: &[u8], is_member: impl Fn(u8) -> bool) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut start = None;
    for (at, byte) in text.iter().enumerate() {
        match start {
            None if is_member(*byte) => start = Some(at),
            Some(from) if !is_member(*byte) => {
                all.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    all.extend(start.map(|from| from..text.len()));
    all.retain(|run| run.len() >= CUT);
    all
}

/// Reports where a run holds an encoded value, is a part of one, or begins or ends with a part.
fn within(encoded: &[String], run: &str, ends: bool, report: &mut dyn FnMut(Range<usize>)) {
    for one in encoded {
        for (at, _) in run.match_indices(one.as_str()) {
            // The characters beside it hold some bits of it.
            report(at.saturating_sub(1)..(at + one.len() + 1).min(run.len()));
        }
        if run.len() >= WINDOW && one.contains(run) {
            report(0..run.len());
            continue;
        }
        if one.len() < run.len().min(WINDOW) {
            continue;
        }
        if let Some(head) = one.get(..WINDOW) {
            for (at, _) in run.match_indices(head) {
                if one.starts_with(&run[at..]) {
                    report(at.saturating_sub(1)..run.len());
                }
            }
        }
        if let Some(tail) = one.len().checked_sub(WINDOW).and_then(|from| one.get(from..)) {
            for (at, _) in run.match_indices(tail) {
                if one.ends_with(&run[..at + WINDOW]) {
                    report(0..(at + WINDOW + 1).min(run.len()));
                }
            }
        }
        let most = one.len().min(run.len());
        if ends && let Some(len) = (CUT..=most).rev().find(|len| run.ends_with(&one[..*len])) {
            report(run.len() - len..run.len());
        }
    }
}
