//! How text survives shells: quoted for `sh`, and encoded for any login shell.
//!
//! Any login shell passes encoded text on unchanged. Owns quoting alone; [`super`] decides what is quoted, and where it
//! goes.

/// Quotes one word for POSIX `sh`; `None` when it holds a NUL, which no shell can carry.
pub fn word(text: &str) -> Option<String> {
    if text.contains('\0') {
        return None;
    }
    Some(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Quotes several words for `eval "set -- $list"`; `None` when one of them holds a NUL.
pub fn words<S: AsRef<str>>(list: &[S]) -> Option<String> {
    let quoted: Option<Vec<String>> = list.iter().map(|w| word(w.as_ref())).collect();
    quoted.map(|q| q.join(" "))
}

/// Quotes one word for POSIX `sh` without a line break in the result.
///
/// Newlines become `"$nl"`, which must be set.
pub fn line(text: &str) -> Option<String> {
    word(text).map(|w| w.replace('\n', "'\"$nl\"'"))
}

/// Tells whether an environment variable can have this name.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Encodes text for `printf %b`, so that in single quotes it means the same to every shell.
///
/// The shells are sh, bash, dash, ash, zsh, csh, tcsh and fish. Neither quotes nor `!` (csh's history) nor line breaks
/// nor bytes beyond ASCII are left in it, and a backslash stands before nothing but `n` and `0`, which fish leaves alone.
pub fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for byte in text.bytes() {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\'' | b'!' | b'\\' => push_octal(&mut out, byte),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => push_octal(&mut out, byte),
        }
    }
    return out;

    fn push_octal(out: &mut String, byte: u8) {
        // Writing into a String cannot fail.
        let _ = write!(out, "\\0{byte:03o}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// The shells that must agree; the second word is busybox's applet.
    const SHELLS: [&[&str]; 3] = [&["dash"], &["busybox", "sh"], &["bash", "--posix"]];

    fn run(shell: &[&str], script: &str) -> Option<Vec<u8>> {
        let out = Command::new(shell[0]).args(&shell[1..]).arg("-c").arg(script).output().ok()?;
        assert!(out.status.success(), "{shell:?}: {out:?}");
        Some(out.stdout)
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(word("a\0b"), None);
        assert_eq!(words(&["a", "\0"]), None);
        assert_eq!(line("\0"), None);
    }

    #[test]
    fn a_line_stays_one_line() {
        let quoted = line("-----BEGIN KEY-----\nit's\n\n").unwrap_or_default();
        assert!(!quoted.contains('\n'));
        for shell in SHELLS {
            if let Some(out) = run(shell, &format!("nl='\n'; printf '%s|' {quoted}")) {
                assert_eq!(String::from_utf8_lossy(&out), "-----BEGIN KEY-----\nit's\n\n|");
            }
        }
    }

    #[test]
    fn names_are_what_sh_can_export() {
        for good in ["A", "_x", "RAILS_ENV", "a1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "A=B", "é", "A\n"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn encoded_text_holds_nothing_a_login_shell_could_mean() {
        let encoded = encode("it's !! \\ $HOME `x` \"q\"\n\té\x7f\x01");
        assert!(!encoded.contains(['\'', '!', '\n', '\t']));
        assert!(encoded.is_ascii());
        for (at, _) in encoded.match_indices('\\') {
            assert!(matches!(encoded.as_bytes().get(at + 1), Some(b'n' | b'0')), "{encoded}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_string_survives_every_shell(text in "\\PC*|[\\x01-\\x7f]{0,200}|.{0,40}", more in "[\\x01-\\x7f]{0,40}") {
            prop_assume!(!text.contains('\0') && !more.contains('\0'));
            let both = words(&[text.as_str(), more.as_str()]).unwrap_or_default();
            let script = format!("list={}\neval \"set -- $list\"\nprintf '%s|' \"$@\"", word(&both).unwrap_or_default());
            let wrapped = format!("eval \"$(printf %b '{}')\"", encode(&script));
            let want = format!("{text}|{more}|");
            for shell in SHELLS {
                for form in [&script, &wrapped] {
                    if let Some(out) = run(shell, form) {
                        prop_assert_eq!(&String::from_utf8_lossy(&out), &want, "{:?}", shell);
                    }
                }
            }
        }
    }
}
