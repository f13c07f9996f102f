//! Paths as they are written: directories on servers, paths inside a release, paths of requests.

use super::text::line;
use crate::config::bad::{Bad, refused};
use crate::config::words::quoted;

/// Accepts a directory for releases: no root directory, no home directory itself, no `..`.
pub fn deploy_to(text: &str) -> Result<(), Bad> {
    let example = "write for example \"/srv/shop\"";
    if text.trim().is_empty() {
        return Err(Bad::new("cannot be empty", example));
    }
    line(text)?;
    if text != text.trim() {
        return Err(Bad::new("cannot begin or end with a space", example));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts.as_slice() {
        [] if text.starts_with('/') => {
            Err(Bad::new("cannot be the root directory", format!("releases need a directory of their own; {example}")))
        }
        [] | ["~"] if !text.starts_with('/') => Err(Bad::new(
            "cannot be the home directory itself",
            "releases need a directory of their own; write for example \"~/shop\"",
        )),
        [first, ..] if first.starts_with('~') && *first != "~" && !text.starts_with('/') => Err(Bad::new(
            "cannot begin with the home directory of another user",
            "only `~/` is understood; write the path from `/` on",
        )),
        parts if parts.contains(&"..") => Err(Bad::new("cannot contain `..`", "write where it leads")),
        _ => Ok(()),
    }
}

/// Accepts a path inside a release that is linked into `shared/`, with or without a final slash.
pub fn shared_path(text: &str) -> Result<(), Bad> {
    let hint = "write it relative to the release, as in \"tmp/pids\"";
    line(text)?;
    let path = text.strip_suffix('/').unwrap_or(text);
    if text.starts_with('/') || text == "~" || text.starts_with("~/") {
        return Err(Bad::new(format!("has {}, which is not relative", quoted(text)), hint));
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Bad::new(format!("has {}, which has an empty, `.` or `..` part", quoted(text)), hint));
    }
    Ok(())
}

/// Accepts the path of a request.
pub fn url_path(text: &str) -> Result<(), Bad> {
    if !text.starts_with('/') {
        return Err(refused(text, "begin it with `/`, as in \"/up\""));
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Bad::new(
            "cannot contain spaces, control characters or letters outside of ASCII",
            "write them percent-encoded, as in \"/up%20now\"",
        ));
    }
    if text.contains('#') {
        return Err(Bad::new("cannot contain `#`", "a fragment is never sent to a server"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_for_releases() {
        for good in ["/srv/shop", "~/shop", "shop", "apps/shop/", "/srv/my shop", "/~x"] {
            assert_eq!(deploy_to(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "/",
            "//",
            "/.",
            "/./",
            "~",
            "~/",
            ".",
            "./",
            "~bob/shop",
            "/srv/../etc",
            "..",
            "/srv/a\nb",
            "/srv/a ",
        ] {
            assert!(deploy_to(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shared_paths() {
        for good in ["log", "tmp/pids", "log/", ".env", "a b", "~x"] {
            assert_eq!(shared_path(good), Ok(()), "{good}");
        }
        for bad in ["", "/log", "../log", "a/../b", "./log", "a//b", "~/log", "~", "a\nb", "/"] {
            assert!(shared_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_of_requests() {
        assert!(url_path("/up?x=1").is_ok() && url_path("up").is_err() && url_path("/a b").is_err());
        assert!(url_path("/a\r\nX: y").is_err() && url_path("/a#b").is_err());
    }
}
