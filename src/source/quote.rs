//! Names from a source as messages show them.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Quotes a name, so that no control character of it reaches a terminal.
pub(super) fn quote(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('`');
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('`');
    text
}

/// Quotes a path.
pub(super) fn show(path: &Path) -> String {
    quote(path.as_os_str().as_bytes())
}

/// Lists the first of many names: "`a`, `b` and 7 more".
pub(super) fn list(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let head = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => head,
        more => format!("{head} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_without_control_characters() {
        assert_eq!(quote(b"a b"), "`a b`");
        assert_eq!(quote("é\u{1b}[31m\n".as_bytes()), "`é\\u{1b}[31m\\n`");
        assert_eq!(quote(b"\xff\\"), "`\\xff\\\\`");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<_> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(list(&names), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
        assert_eq!(list(&names[..2]), "0, 1");
    }
}
