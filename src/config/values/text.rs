//! From text to values: durations, batch sizes, statuses, addresses, hook points, paths and names.
//!
//! Owns what one value may look like. Knows no keys, no tables and no other values.

use std::path::PathBuf;
use std::time::Duration;

use super::words::{alternatives, nearest, quoted};
use super::{BalancerAddress, BatchSize, HookPoint, HookStep, Scheme, SshHost};
use super::{haproxy, hosts};
use crate::ssh::address::is_user;

/// What is wrong with a value: a fragment that follows the key's name, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// For example "cannot be empty".
    pub what: String,
    /// A sentence; may be empty.
    pub hint: String,
}

impl Bad {
    /// Makes one.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// Longest duration: longer ones are slips, and could overflow a clock.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// How durations are written.
const DURATION_HINT: &str = "write for example \"500ms\", \"10s\", \"2m\" or \"1h30m\"";
/// How batch sizes are written.
const BATCH_HINT: &str =
    "write a number of servers like 2, a share like \"25%\", or a ramp like [1, \"25%\", \"100%\"]";
/// Most servers in one batch; more is a slip.
const LARGEST_BATCH: usize = 100_000;

/// Reads a duration such as `500ms`, `10s`, `2m`, `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, Bad> {
    let cannot = || Bad::new(format!("cannot read {} as a duration", quoted(text)), DURATION_HINT);
    let trimmed = text.trim();
    // The library reads ISO 8601, signs and "ago" too; a configuration has no use for them.
    if !trimmed.starts_with(|c: char| c.is_ascii_digit()) || trimmed.ends_with("ago") || trimmed.contains(':') {
        return Err(cannot());
    }
    let parsed: jiff::SignedDuration = trimmed.parse().map_err(|_| cannot())?;
    let duration = Duration::try_from(parsed).map_err(|_| cannot())?;
    if duration > LONGEST {
        return Err(Bad::new(format!("cannot be as long as {}", quoted(text)), "the longest duration is 30 days"));
    }
    Ok(duration)
}

/// Reads a batch size, or a ramp of them, as `--rolling=` takes it: `2`, `25%`, `1,25%,100%`.
pub fn parse_batch(text: &str) -> Result<Vec<BatchSize>, String> {
    batch_sizes(text).map_err(|bad| format!("a batch {}; {}", bad.what, bad.hint))
}

/// Reads the same for a key of the file.
pub fn batch_sizes(text: &str) -> Result<Vec<BatchSize>, Bad> {
    text.split(',').map(|part| batch_size(part.trim())).collect()
}

fn batch_size(text: &str) -> Result<BatchSize, Bad> {
    let number = |digits: &str| -> Result<usize, Bad> {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let parsed = if plain { digits.parse().ok() } else { None };
        parsed.ok_or_else(|| refused(text, BATCH_HINT))
    };
    match text.strip_suffix('%') {
        Some(share) => batch_percent(number(share.trim_end())?),
        None => batch_count(number(text)?),
    }
}

/// Accepts a number of servers.
pub fn batch_count(count: usize) -> Result<BatchSize, Bad> {
    match count {
        0 => Err(Bad::new("cannot be 0 servers", "a batch has at least 1 server")),
        count if count > LARGEST_BATCH => Err(Bad::new(format!("cannot be {count} servers"), BATCH_HINT)),
        count => Ok(BatchSize::Count(count)),
    }
}

fn batch_percent(percent: usize) -> Result<BatchSize, Bad> {
    match u8::try_from(percent) {
        Ok(percent @ 1..=100) => Ok(BatchSize::Percent(percent)),
        _ => Err(Bad::new(format!("cannot be {percent}%"), "a share is from \"1%\" to \"100%\"")),
    }
}

/// Reads an HTTP status or an inclusive range of them: `200`, `300-399`.
pub fn parse_statuses(text: &str) -> Result<(u16, u16), Bad> {
    let hint = "write a status like \"200\" or a range like \"300-399\", from 100 to 599";
    let status = |part: &str| -> Result<u16, Bad> {
        let part = part.trim();
        let plain = part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit());
        match part.parse() {
            Ok(status @ 100..=599) if plain => Ok(status),
            _ => Err(Bad::new(format!("has {}, which is no HTTP status", quoted(text)), hint)),
        }
    };
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (status(low)?, status(high)?),
        None => (status(text)?, status(text)?),
    };
    if low > high {
        return Err(Bad::new(
            format!("has the range {}, which runs backwards", quoted(text)),
            format!("write \"{high}-{low}\""),
        ));
    }
    Ok((low, high))
}

/// Reads where HAProxy is: `ssh://[user@]host[:port]/path`, `unix:///path`, `tcp://host:port`, `https://host[:port]`.
pub fn parse_address(text: &str) -> Result<BalancerAddress, Bad> {
    let hint = "write \"ssh://lb1.example.com/run/haproxy/admin.sock\", \"unix:///run/haproxy/admin.sock\", \
                \"tcp://lb1.example.com:9999\", or \"https://lb1.example.com:5555\" for its Data Plane API";
    let cannot = |why: &str| Bad::new(format!("has the address {}, {why}", quoted(text)), hint);
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(cannot("which has spaces or control characters in it"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(cannot("which names no scheme"));
    };
    match scheme {
        "https" => haproxy::parse_api(Scheme::Https, rest),
        "http" => haproxy::parse_api(Scheme::Http, rest),
        "unix" if rest.starts_with('/') && !rest.ends_with('/') => Ok(BalancerAddress::Unix(PathBuf::from(rest))),
        "unix" => Err(cannot("which has no absolute path of a socket")),
        "tcp" => {
            let spec =
                hosts::parse_one(rest.strip_suffix('/').unwrap_or(rest)).map_err(|bad| cannot(&relative(&bad)))?;
            match (spec.user, spec.port) {
                (Some(_), _) => Err(cannot("which has a user, and a TCP address has none")),
                (None, None) => Err(cannot("which has no port")),
                (None, Some(port)) => Ok(BalancerAddress::Tcp { host: spec.host, port }),
            }
        }
        "ssh" => {
            let Some((destination, path)) = rest.split_once('/') else {
                return Err(cannot("which has no path of a socket"));
            };
            if path.is_empty() || path.ends_with('/') {
                return Err(cannot("which has no path of a socket"));
            }
            let spec = hosts::parse_one(destination).map_err(|bad| cannot(&relative(&bad)))?;
            Ok(BalancerAddress::Ssh { user: spec.user, host: spec.host, port: spec.port, path: format!("/{path}") })
        }
        _ => Err(cannot("whose scheme is unknown")),
    }
}

/// Reads where a balancer's commands run: `here`, which is `None`, or `ssh://[user@]host[:port]`.
pub fn parse_run_on(text: &str) -> Result<Option<SshHost>, Bad> {
    let hint = "write \"here\" or \"ssh://lb1.example.com\"";
    if text == "here" {
        return Ok(None);
    }
    let cannot = |why: &str| Bad::new(format!("cannot be {}{why}", quoted(text)), hint);
    let rest = text.strip_prefix("ssh://").ok_or_else(|| cannot(""))?;
    let spec = hosts::parse_one(rest.strip_suffix('/').unwrap_or(rest))
        .map_err(|bad| cannot(&format!(", {}", relative(&bad))))?;
    Ok(Some(SshHost { user: spec.user, host: spec.host, port: spec.port }))
}

fn relative(bad: &Bad) -> String {
    format!("which {}", bad.what)
}

/// The steps that hooks can stand around, as they are written.
pub const HOOK_STEPS: [(&str, HookStep); 7] = [
    ("lock", HookStep::Lock),
    ("prepare", HookStep::Prepare),
    ("migrate", HookStep::Migrate),
    ("drain", HookStep::Drain),
    ("switch", HookStep::Switch),
    ("restore", HookStep::Restore),
    ("finish", HookStep::Finish),
];

/// Reads when a hook runs: `before STEP`, `after STEP`, `on success`, `on failure`.
pub fn parse_hook_point(text: &str) -> Result<HookPoint, Bad> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let names = HOOK_STEPS.map(|(name, _)| name);
    let all = || {
        format!(
            "write \"before STEP\" or \"after STEP\" with {}, \"on success\" or \"on failure\"",
            alternatives(&names)
        )
    };
    let unknown = |hint: String| Bad::new(format!("names no moment of a run: {}", quoted(text)), hint);
    let near = |word: &str| match nearest(word, names) {
        Some(near) => format!("did you mean `{} {near}`?", words.first().copied().unwrap_or_default()),
        None => all(),
    };
    match words.as_slice() {
        ["on", "success"] => Ok(HookPoint::OnSuccess),
        ["on", "failure"] => Ok(HookPoint::OnFailure),
        [side @ ("before" | "after"), step] => match HOOK_STEPS.iter().find(|(name, _)| name == step) {
            Some((_, step)) if *side == "before" => Ok(HookPoint::Before(*step)),
            Some((_, step)) => Ok(HookPoint::After(*step)),
            None => Err(unknown(near(step))),
        },
        _ => Err(unknown(all())),
    }
}

/// Refuses a text as a whole.
fn refused(text: &str, hint: &str) -> Bad {
    let what = if text.is_empty() { "cannot be empty".to_owned() } else { format!("cannot be {}", quoted(text)) };
    Bad::new(what, hint)
}

/// Accepts any text that a command could be: not blank, and without a NUL, which no command line can hold.
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

/// Accepts a name that HAProxy gives to backends and servers (configuration manual, section 2.2: `A-Za-z0-9-_.:`).
pub fn haproxy_name(text: &str) -> Result<(), Bad> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) {
        return Err(refused(text, "HAProxy's names are made of letters, digits, `-`, `_`, `.` and `:`"));
    }
    Ok(())
}

/// Accepts a directory for releases: no file system's root, no home directory itself, nothing that climbs.
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
            "cannot begin with the home directory of somebody else",
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

/// Accepts a Host header.
pub fn host_header(text: &str) -> Result<(), Bad> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:[]".contains(c)) {
        return Err(refused(text, "write a host name, as in \"shop.example.com\""));
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

/// Stands for the checksum in a URL.
pub const SHA256: &str = "{sha256}";

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
    fn durations() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5s", 1500),
            ("720h", 2_592_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "10", "s", "-5s", "+5s", "10 parsecs", "5s ago", "PT5S", "1:30", "721h", "99999999999999999h", "10s\0"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn batches() {
        use BatchSize::{Count, Percent};
        for (text, sizes) in [
            ("2", vec![Count(2)]),
            ("25%", vec![Percent(25)]),
            ("1,25%,100%", vec![Count(1), Percent(25), Percent(100)]),
            (" 1 , 2 ", vec![Count(1), Count(2)]),
        ] {
            assert_eq!(parse_batch(text), Ok(sizes), "{text}");
        }
        for text in
            ["", "0", "0%", "101%", "256%", "-1", "+1", "1.5", "two", "1,", ",", "%", "99999999999999999999", "1 2"]
        {
            assert!(parse_batch(text).is_err(), "{text}");
        }
        assert_eq!(parse_batch("0").unwrap_err(), "a batch cannot be 0 servers; a batch has at least 1 server");
    }

    #[test]
    fn statuses() {
        assert_eq!(parse_statuses("200"), Ok((200, 200)));
        assert_eq!(parse_statuses("300-399"), Ok((300, 399)));
        for text in ["", "2xx", "99", "600", "0200", "399-300", "200-", "-200", "200-300-400", "+20"] {
            assert!(parse_statuses(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        let ssh = |user: Option<&str>, host: &str, port, path: &str| {
            Ok(BalancerAddress::Ssh { user: user.map(Into::into), host: host.into(), port, path: path.into() })
        };
        assert_eq!(parse_address("ssh://lb1/run/h.sock"), ssh(None, "lb1", None, "/run/h.sock"));
        assert_eq!(parse_address("ssh://ops@lb1:2222/s"), ssh(Some("ops"), "lb1", Some(2222), "/s"));
        assert_eq!(parse_address("ssh://[::1]:22/s"), ssh(None, "::1", Some(22), "/s"));
        assert_eq!(parse_address("unix:///run/h.sock"), Ok(BalancerAddress::Unix("/run/h.sock".into())));
        assert_eq!(parse_address("tcp://lb1:9999"), Ok(BalancerAddress::Tcp { host: "lb1".into(), port: 9999 }));
        assert_eq!(parse_address("tcp://[::1]:9999"), Ok(BalancerAddress::Tcp { host: "::1".into(), port: 9999 }));
        for text in [
            "",
            "lb1",
            "/run/h.sock",
            "http://",
            "ftp://lb1/",
            "ssh://lb1",
            "ssh://lb1/",
            "ssh:///s",
            "ssh://lb[1-2]/s",
            "unix://run/h.sock",
            "unix:///",
            "tcp://lb1",
            "tcp://lb1:0",
            "tcp://u@lb1:1",
            "tcp://lb1:99999",
            "ssh://lb1/a b",
        ] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

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
    fn hook_points() {
        assert_eq!(parse_hook_point("before switch"), Ok(HookPoint::Before(HookStep::Switch)));
        assert_eq!(parse_hook_point("after finish"), Ok(HookPoint::After(HookStep::Finish)));
        assert_eq!(parse_hook_point("on success"), Ok(HookPoint::OnSuccess));
        assert_eq!(parse_hook_point("on failure"), Ok(HookPoint::OnFailure));
        assert_eq!(parse_hook_point("before swtich").unwrap_err().hint, "did you mean `before switch`?");
        for text in ["", "switch", "before", "on switch", "before switch now", "before success", "Before switch"] {
            assert!(parse_hook_point(text).is_err(), "{text}");
        }
    }

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
    fn words_that_end_up_in_commands_and_requests() {
        assert!(haproxy_name("shop").is_ok() && haproxy_name("a;shutdown").is_err() && haproxy_name("a\nb").is_err());
        assert!(url_path("/up?x=1").is_ok() && url_path("up").is_err() && url_path("/a b").is_err());
        assert!(url_path("/a\r\nX: y").is_err() && url_path("/a#b").is_err());
        assert!(host_header("shop.example.com:80").is_ok() && host_header("a\r\nX: y").is_err());
        assert!(variable("RAILS_ENV").is_ok() && variable("1A").is_err() && variable("A-B").is_err());
        assert!(variable("").is_err() && variable("A\nB").is_err() && variable("É").is_err());
        assert!(git_ref("main").is_ok() && git_ref("--upload-pack=x").is_err());
        assert!(name("shop-2").is_ok() && name("..").is_err() && name("a/b").is_err() && name("").is_err());
    }
}
