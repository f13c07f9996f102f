//! Words and lines as they are written: names, commands, roles, variables.

use crate::config::bad::{Bad, refused};
use crate::ssh::address::is_user;

/// Accepts any text that a command could be: not blank, and without a NUL.
pub fn command(text: &str) -> Result<(), Bad> {
    if text.trim().is_empty() {
        return Err(Bad::new("cannot be empty", "write a value"));
    }
    if text.contains('\0') {
        return Err(Bad::new("cannot contain a NUL character", ""));
    }
    Ok(())
}

/// Accepts text of one line, without control characters.
pub fn line(text: &str) -> Result<(), Bad> {
    command(text)?;
    if text.chars().any(char::is_control) {
        return Err(Bad::new("cannot contain a line break or another control character", ""));
    }
    Ok(())
}

/// Accepts a word of letters, digits, `.`, `_` and `-`, which can be a directory's name.
pub fn name(text: &str) -> Result<(), Bad> {
    line(text)?;
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !plain || text.starts_with(['.', '-']) || text.len() > 100 {
        return Err(refused(
            text,
            "use letters, digits, `.`, `_` and `-`, a letter or digit first, at most 100 in all",
        ));
    }
    Ok(())
}

/// Accepts the name of a backend or server of HAProxy.
///
/// HAProxy's configuration manual, section 2.2, allows `A-Za-z0-9-_.:`.
pub fn haproxy_name(text: &str) -> Result<(), Bad> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) {
        return Err(refused(text, "HAProxy's names are made of letters, digits, `-`, `_`, `.` and `:`"));
    }
    Ok(())
}

/// Accepts a Host header.
pub fn host_header(text: &str) -> Result<(), Bad> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:[]".contains(c)) {
        return Err(refused(text, "write a host name, as in \"shop.example.com\""));
    }
    Ok(())
}

/// Accepts a header's name (RFC 9110 section 5.6.2: a token).
pub fn header(text: &str) -> Result<(), Bad> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)) {
        return Err(refused(text, "write a header's name, as in \"X-Release\", or \"body\""));
    }
    Ok(())
}

/// Accepts a login name.
pub fn user(text: &str) -> Result<(), Bad> {
    if is_user(text) { Ok(()) } else { Err(refused(text, "write a login name, as in \"deploy\"")) }
}

/// Accepts a role's name.
pub fn role(text: &str) -> Result<(), Bad> {
    if text.is_empty() || !text.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) {
        return Err(refused(text, "a role's name is made of letters, digits, `_`, `-` and `.`"));
    }
    Ok(())
}

/// Accepts the name of an environment variable (POSIX.1-2024, base definitions 8.1 and 3.216).
pub fn variable(text: &str) -> Result<(), Bad> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Bad::new(
            "is no name for an environment variable",
            "use letters, digits and `_`, and no digit first",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_end_up_in_commands_and_requests() {
        assert!(haproxy_name("shop").is_ok() && haproxy_name("a;shutdown").is_err() && haproxy_name("a\nb").is_err());
        assert!(host_header("shop.example.com:80").is_ok() && host_header("a\r\nX: y").is_err());
        assert!(variable("RAILS_ENV").is_ok() && variable("1A").is_err() && variable("A-B").is_err());
        assert!(variable("").is_err() && variable("A\nB").is_err() && variable("É").is_err());
        assert!(name("shop-2").is_ok() && name("..").is_err() && name("a/b").is_err() && name("").is_err());
    }
}
