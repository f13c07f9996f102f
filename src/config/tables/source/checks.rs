//! What the values of `[source]` may look like: repositories, host keys, URLs of archives, checksums.

use crate::config::bad::{Bad, refused};

/// Stands for the checksum in a URL.
pub const SHA256: &str = "{sha256}";

/// Accepts a git branch, tag or commit; what git itself would refuse is refused by git.
pub fn git_ref(text: &str) -> Result<(), Bad> {
    if text.is_empty() || text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refused(text, "write a branch, a tag or a commit"));
    }
    Ok(())
}

/// Accepts what git fetches from, over the transports that need no program beside git and ssh.
pub fn repository(text: &str) -> Result<(), Bad> {
    let hint = "write \"git@github.com:acme/shop.git\", \"https://…\", \"ssh://…\", or an absolute path on the servers";
    let plain =
        !text.is_empty() && !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let known = match text.split_once("://") {
        Some((scheme, rest)) => ["https", "http", "ssh", "git", "file"].contains(&scheme) && !rest.starts_with('-'),
        // `ext::…` and the like run programs.
        None => text.starts_with('/') || (text.contains(':') && !text.contains("::")),
    };
    // Not quoted: it may hold a password.
    if !plain || !known {
        return Err(Bad::new("is nothing that git can fetch from", hint));
    }
    let host = text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let web = text.starts_with("https://") || text.starts_with("http://");
    let has_password = match (text.contains("://"), host.split_once('@'), host.split_once(':')) {
        (true, Some((login, _)), _) => !web && login.contains(':'),
        // `user:password@host:path`, which git would take for the path `password@host:path` on the host `user`.
        (false, _, Some((user, rest))) => {
            !user.contains('@') && rest.split_once('@').is_some_and(|(_, host)| host.contains(':'))
        }
        _ => false,
    };
    if has_password {
        let hint = "ssh takes none: use a key, with `deploy_key` or [ssh] forward_agent; passwords are for https://, \
                    with `password`";
        return Err(Bad::new("holds a password", hint));
    }
    if web && text.contains('?') {
        return Err(Bad::new("holds a query", "process lists would show it; put a token into `password`"));
    }
    Ok(())
}

/// Accepts a line of a known_hosts file that stands for a git host.
pub fn host_key(text: &str) -> Result<(), Bad> {
    let words = text.split_whitespace().filter(|w| !w.starts_with('@')).count();
    if text.chars().any(char::is_control) || words < 3 {
        let hint = "write a line of a known_hosts file, as ssh-keyscan prints it: \"github.com ssh-ed25519 AAAA…\"";
        return Err(refused(text, hint));
    }
    Ok(())
}

/// Accepts a URL that an archive can be downloaded from.
pub fn archive_url(text: &str) -> Result<(), Bad> {
    let hint = "write \"https://…\", \"http://…\" or \"s3://BUCKET/KEY\", percent-encoded";
    let rest = ["https://", "http://", "s3://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let plain = text.replace(SHA256, "").chars().all(|c| c.is_ascii_graphic() && !"\"'\\<>`{}|^#".contains(c));
    let whole = rest.is_some_and(|rest| {
        let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = !host.contains(['@', ':']) && !key.is_empty();
        !host.is_empty() && !host.starts_with('-') && (!text.starts_with("s3://") || bucket)
    });
    // curl would read these as patterns.
    let patterns = text.contains(['[', ']']);
    // Not quoted: it may hold a signature.
    if whole && plain && !patterns { Ok(()) } else { Err(Bad::new("is nothing that can be downloaded", hint)) }
}

/// Accepts the URL of an object store.
pub fn endpoint(text: &str) -> Result<(), Bad> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or_default();
    if rest.is_empty() || !text.chars().all(|c| c.is_ascii_graphic() && !"\"'\\?#@".contains(c)) {
        return Err(refused(text, "write \"https://s3.example.com\""));
    }
    Ok(())
}

/// Accepts a SHA-256 digest.
pub fn sha256(text: &str) -> Result<(), Bad> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(refused(text, "write the 64 hexadecimal digits that sha256sum prints"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_hold_no_password_that_ssh_would_get() {
        for good in [
            "git@h:x.git",
            "h:x@y.git",
            "h:a/b@c:d",
            "ssh://git@h:22/x.git",
            "ssh://h/a:b@c",
            "https://me:pass@h:8443/x.git",
            "https://h/x@y:z.git",
            "/srv/git/x.git",
            "file:///srv/x.git",
        ] {
            assert_eq!(repository(good), Ok(()), "{good}");
        }
        for bad in ["ssh://git:pass@h/x.git", "git://me:pass@h/x.git", "git:pass@h:x.git", "https://h/x.git?token=pass"]
        {
            let refused = repository(bad).unwrap_err();
            assert!(refused.what.starts_with("holds a "), "{bad}: {refused:?}");
            assert!(!format!("{refused:?}").contains("pass@") && !refused.hint.contains("=pass"), "{refused:?}");
        }
        assert!(archive_url("s3://builds/a.tgz").is_ok() && archive_url("s3://me:pass@builds/a.tgz").is_err());
    }

    #[test]
    fn references_are_no_options() {
        assert!(git_ref("main").is_ok() && git_ref("--upload-pack=x").is_err());
    }
}
