//! Makes text of other machines and programs fit for a message. Pure.

/// Longest such text in characters.
const LONGEST: usize = 200;

/// Returns one line of at most 200 characters without control characters.
pub(super) fn said(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    clean.trim().to_owned()
}
