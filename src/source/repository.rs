//! Sources that every server fetches for itself from a git repository: a ref is resolved here, once, to the SHA that they fetch.
//!
//! Owns what git is asked about a repository elsewhere, and the login for it. Submodules and LFS are refused as early as this
//! machine can see them; servers look again.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use super::git::{self, ANSWER_MAX, MISLEADING};
use super::{Origin, Resolved, SourceError, Stop, list, quote};
use crate::config::source::{Password, Repository};
use crate::name::Revision;
use crate::process::end::{Exited, Unended};
use crate::process::program::Program;
use crate::text::one_line;

/// How long git may say nothing while it talks to another machine.
const SILENCE: Duration = Duration::from_secs(120);
/// The same where only an early refusal depends on it.
const LOOK: Duration = Duration::from_secs(60);
/// Tells git the login, which is in the environment of git alone: never in an argument.
const HELPER: &str = "!login() { [ \"$1\" != get ] || printf 'username=%s\\npassword=%s\\n' \"$PITCREW_GIT_USER\" \"$PITCREW_GIT_PASSWORD\"; }; login";

/// Who one is to a repository's host.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password, or a token.
    pub password: String,
}

/// What servers fetch from, with its login.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// As configured.
    pub repository: Repository,
    /// For https.
    pub login: Option<Login>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.repository.url)
    }
}

impl Remote {
    /// Puts the login together; `secrets` are the values of `[secrets]`.
    ///
    /// # Errors
    /// When the password's secret is none.
    pub fn new(repository: &Repository, secrets: &[(String, String)]) -> Result<Self, SourceError> {
        let password = match &repository.password {
            None => None,
            Some(Password::Written(hidden)) => Some(hidden.0.clone()),
            Some(Password::Secret(name)) => Some(super::secret(secrets, name)?),
        };
        let login = match (repository.user.clone(), password) {
            (None, None) => None,
            // Hosts take a token for either of the two.
            (user, password) => {
                Some(Login { user: user.unwrap_or_else(|| "git".to_owned()), password: password.unwrap_or_default() })
            }
        };
        if login.iter().any(|l| (l.user.clone() + &l.password).contains(char::is_control)) {
            return Err(SourceError::new(
                "cannot log in to the repository: a control character is in the user or the password",
                "",
            ));
        }
        Ok(Self { repository: repository.clone(), login })
    }

    /// The scheme and host that may be told the login.
    pub fn origin(&self) -> &str {
        let url = self.repository.url.as_str();
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find('/').map_or(url.len(), |at| host + at);
        &url[..end]
    }

    /// What must not be shown.
    pub fn secrets(&self) -> Vec<String> {
        match &self.login {
            None => Vec::new(),
            // Then the user is a token.
            Some(login) if login.password.is_empty() => vec![login.user.clone()],
            Some(login) => vec![login.password.clone()],
        }
    }
}

/// Resolves a ref to the SHA that it has in the repository now; a full SHA is taken as it is.
///
/// `base` may lie in a clone, which knows shortened SHAs and what is in a commit.
///
/// # Errors
/// When the ref does not exist or is ambiguous, the repository cannot be reached, or the commit cannot be released.
pub fn resolve(remote: &Remote, base: &Path, reference: &str, stop: Stop<'_>) -> Result<Resolved, SourceError> {
    let named = quote(reference.as_bytes());
    if reference.is_empty()
        || reference.starts_with('-')
        || reference.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(SourceError::new(
            format!("cannot resolve {named}: it is no ref"),
            "Name a branch, a tag or a SHA.",
        ));
    }
    let full = matches!(reference.len(), 40 | 64) && is_hex(reference);
    let sha = match full {
        true => reference.to_ascii_lowercase(),
        false => asked(remote, base, reference, stop)?,
    };
    let subject = look(remote, base, &sha, stop)?;
    Ok(Resolved {
        revision: Revision(sha),
        label: reference.to_owned(),
        subject,
        origin: Origin::Repository,
        notes: Vec::new(),
    })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Asks the repository for a ref.
fn asked(remote: &Remote, base: &Path, reference: &str, stop: Stop<'_>) -> Result<String, SourceError> {
    let named = quote(reference.as_bytes());
    let url = remote.repository.url.as_str();
    let (branch, tag) = (format!("refs/heads/{reference}"), format!("refs/tags/{reference}"));
    let candidates = match reference {
        "HEAD" => vec!["HEAD".to_owned()],
        whole if whole.starts_with("refs/") => vec![whole.to_owned()],
        _ => vec![tag.clone(), branch.clone()],
    };
    let peeled = |name: &str| format!("{name}^{{}}");
    let patterns: Vec<String> = candidates.iter().flat_map(|c| [c.clone(), peeled(c)]).collect();
    let args: Vec<&str> = ["ls-remote", "--", url].into_iter().chain(patterns.iter().map(String::as_str)).collect();
    let answer = run(remote, None, &args, SILENCE, stop)?;
    let refs = refs(&answer);
    // An annotated tag is an object of its own; what it stands for is listed with `^{}`.
    let sha = |name: &str| {
        let find = |wanted: &str| refs.iter().find(|(_, name)| name == wanted).map(|(sha, _)| sha.clone());
        find(&peeled(name)).or_else(|| find(name))
    };
    let found: Vec<(&String, String)> = candidates.iter().filter_map(|c| Some((c, sha(c)?))).collect();
    match found.as_slice() {
        [(_, sha)] => return Ok(sha.clone()),
        [(_, one), (_, other)] if one == other => return Ok(one.clone()),
        [_, _, ..] => {
            return Err(SourceError::new(
                format!("cannot resolve {named}: it is both a branch and a tag, of different commits, in {url}"),
                format!("Write {branch} or {tag}."),
            ));
        }
        [] => {}
    }
    if (4..40).contains(&reference.len()) && is_hex(reference) {
        if let Some(sha) = git::expand(base, reference) {
            return Ok(sha);
        }
        return Err(SourceError::new(
            format!(
                "cannot resolve {named}: no branch and no tag of {url} is called so, and no clone here has such a commit"
            ),
            "Write the whole SHA.",
        ));
    }
    let all = run(remote, None, &["ls-remote", "--heads", "--tags", "--", url], SILENCE, stop)?;
    let all = self::refs(&all);
    let names: Vec<&str> = all
        .iter()
        .filter_map(|(_, name)| name.strip_prefix("refs/heads/").or(name.strip_prefix("refs/tags/")))
        .filter(|name| !name.ends_with("^{}"))
        .collect();
    let hint = match git::nearest(reference, &names) {
        near if near.is_empty() => "Name a branch, a tag or a SHA that is pushed there.".to_owned(),
        near => format!("Did you mean {}?", near.join(" or ")),
    };
    Err(SourceError::new(format!("cannot resolve {named}: {url} has no such branch or tag"), hint))
}

/// Reads what `git ls-remote` prints: SHA, tab, name.
fn refs(answer: &str) -> Vec<(String, String)> {
    let lines = answer.lines().filter_map(|line| line.split_once('\t'));
    let good = lines.filter(|(sha, _)| matches!(sha.len(), 40 | 64) && is_hex(sha));
    good.map(|(sha, name)| (sha.to_owned(), name.to_owned())).collect()
}

/// Looks into the commit, to refuse before anything is contacted what servers would refuse; returns its first line.
///
/// What cannot be seen from here is no reason to refuse: servers may be allowed to fetch what this machine is not.
fn look(remote: &Remote, base: &Path, sha: &str, stop: Stop<'_>) -> Result<Option<String>, SourceError> {
    if git::expand(base, sha).as_deref() == Some(sha) {
        return inside(remote, base, sha, stop);
    }
    let Ok(directory) = tempfile::Builder::new().prefix("pitcrew-look-").tempdir() else { return Ok(None) };
    let path = directory.path();
    let url = remote.repository.url.as_str();
    // The commit's trees alone, where the host can leave the rest out.
    let fetch =
        ["fetch", "-q", "--depth=1", "--filter=blob:none", "--no-tags", "--no-recurse-submodules", "origin", sha];
    for args in [&["init", "-q", "--bare", "."][..], &["remote", "add", "origin", url], &fetch] {
        if run(remote, Some(path), args, LOOK, stop).is_err() {
            return if stop() { Err(SourceError::stopped()) } else { Ok(None) };
        }
    }
    inside(remote, path, sha, stop)
}

fn inside(remote: &Remote, path: &Path, sha: &str, stop: Stop<'_>) -> Result<Option<String>, SourceError> {
    let ask = |args: &[&str]| run(remote, Some(path), args, LOOK, stop).ok();
    let Some(tree) = ask(&["ls-tree", "-r", "--full-tree", "-z", sha]) else { return Ok(None) };
    let entries: Vec<(&str, &str)> = tree.split('\0').filter_map(|entry| entry.split_once('\t')).collect();
    let attributes: Vec<&str> = entries
        .iter()
        .map(|(_, name)| *name)
        .filter(|name| *name == ".gitattributes" || name.ends_with("/.gitattributes"))
        .collect();
    let says = |what: &str| {
        let args = ["grep", "-l", "-F", "-e", what, sha, "--", ":(top,glob)**/.gitattributes"];
        !attributes.is_empty() && ask(&args).is_some_and(|found| !found.trim().is_empty())
    };
    let refused = |what: String| {
        let hint =
            "Release it with kind = \"push\" from a clone that has them, or a built tarball with kind = \"archive\".";
        Err(SourceError::new(format!("cannot release {sha} of {}: {what}", remote.repository.url), hint))
    };
    if says("filter=lfs") {
        return refused("files are kept in Git LFS, which servers cannot fetch".to_owned());
    }
    let modules: Vec<String> = entries
        .iter()
        .filter(|(head, _)| head.starts_with("160000 "))
        .map(|(_, name)| quote(name.as_bytes()))
        .collect();
    // Those marked export-ignore do no harm; the servers see what is left of them.
    if !modules.is_empty() && !says("export-ignore") {
        return refused(format!("it has submodules, which git archive leaves empty: {}", list(&modules)));
    }
    let log = ["log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%s", sha, "--"];
    let subject = one_line(&ask(&log).unwrap_or_default(), git::SUBJECT);
    Ok(Some(subject).filter(|s| !s.is_empty()))
}

/// Runs git where nobody is asked anything; every failure is an error.
fn run(
    remote: &Remote,
    directory: Option<&Path>,
    args: &[&str],
    silence: Duration,
    stop: Stop<'_>,
) -> Result<String, SourceError> {
    let mut program = Program::new("git").without(MISLEADING);
    if let Some(directory) = directory {
        program = program.args([OsStr::new("-C"), directory.as_os_str()]);
    }
    if let Some(login) = &remote.login {
        let helper = format!("credential.{}.helper={HELPER}", remote.origin());
        program = program
            .args(["-c", "credential.helper=", "-c", &helper])
            .env([("PITCREW_GIT_USER", &login.user), ("PITCREW_GIT_PASSWORD", &login.password)]);
    }
    let fixed = [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file"),
        // However ssh is configured here, it asks nobody: neither at the terminal nor in a window.
        ("GIT_ASKPASS", ""),
        ("SSH_ASKPASS", "false"),
        ("SSH_ASKPASS_REQUIRE", "force"),
        ("LC_ALL", "C"),
    ];
    let program = program
        .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60"])
        .args(args)
        .env(fixed)
        .silent_for_at_most(silence);
    let verb = args.first().copied().unwrap_or_default();
    let ended = program.run(stop, |stream| {
        let mut answer = Vec::new();
        // What cannot be read shows in how the child ended.
        let _ = stream.take(ANSWER_MAX * 16).read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    match ended {
        Ok((answer, ended)) if ended.status.success() => Ok(answer),
        // git grep says so that nothing was found.
        Ok((answer, ended)) if verb == "grep" && ended.status.code() == Some(1) => Ok(answer),
        Ok((_, ended)) => Err(failed(remote, verb, &ended)),
        Err(Unended::Stopped) => Err(SourceError::stopped()),
        Err(error) => Err(git::unended(verb, error)),
    }
}

fn failed(remote: &Remote, verb: &str, ended: &Exited) -> SourceError {
    let words: Vec<&str> = ended.stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let words = one_line(&words.join("; "), 500);
    let hint = if words.contains("ost key verification failed") {
        "Connect to it once with ssh, compare its key, and have ssh record it."
    } else {
        "This machine asks it once what a ref means; `git ls-remote` by hand tells more. A whole SHA is not asked about."
    };
    let what = format!("cannot ask {}: git {verb} failed: {words} ({})", remote.repository.url, ended.status);
    SourceError { unreachable: true, ..SourceError::new(what, hint) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Hidden;

    fn repository(url: &str) -> Repository {
        Repository { url: url.into(), user: None, password: None, deploy_key: None, host_keys: Vec::new(), at_once: 1 }
    }

    #[test]
    fn the_login_is_for_one_host_and_in_no_debug_output() {
        let hidden = Password::Written(Hidden("pass-word".into()));
        let repository = Repository { password: Some(hidden), ..repository("https://h:8443/a/b.git") };
        let remote = Remote::new(&repository, &[]).unwrap();
        assert_eq!(remote.origin(), "https://h:8443");
        assert_eq!(remote.secrets(), ["pass-word"]);
        assert!(!format!("{remote:?} {repository:?}").contains("pass-word"));
        let token = Repository { user: Some("tok-en".into()), password: None, ..repository };
        assert_eq!(Remote::new(&token, &[]).unwrap().secrets(), ["tok-en"]);
    }
}
