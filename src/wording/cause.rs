//! Why a step failed, in words: every cause, the codes of the remote scripts, and what to do about them.

use super::lock;
use crate::event::{Cause, Failure, Unhealthy};
use crate::text::clean::{clean, clean_lines, cut};
use crate::text::units::seconds;

/// Says in one line why something failed.
pub fn reason(cause: &Cause) -> String {
    match cause {
        Cause::Exit { status: 126 } => "exit status 126: not executable".into(),
        Cause::Exit { status: 127 } => "exit status 127: command not found".into(),
        Cause::Exit { status } => format!("exit status {status}"),
        Cause::Signal { signal } => format!("ended by signal {}", clean(signal)),
        Cause::NoStatus => "its channel closed without an exit status: nobody knows how it ended".into(),
        Cause::Lost { detail } => with("the connection was lost", detail),
        Cause::Connect { detail, .. } if detail.starts_with("cannot ") => clean(detail),
        Cause::Connect { detail, .. } => with("cannot connect", detail),
        Cause::TimedOut { limit } => format!("ran longer than {} and was ended", seconds(*limit)),
        Cause::Refused { code, detail } => refused(code, detail).0,
        Cause::Locked(held) => lock::locked(held),
        Cause::Unhealthy(unhealthy) => unhealthy_line(unhealthy),
        Cause::Balancer { at, member, detail, .. } => {
            let member = member.as_ref().map(|m| format!(", {}", clean(m))).unwrap_or_default();
            format!("balancer {}{member}: {}", clean(at), clean(detail))
        }
        Cause::Local { detail } => with("on this machine", detail),
        Cause::Source { detail, .. } => clean(detail),
        Cause::Interrupted => "the run was interrupted".into(),
        Cause::Abandoned => "given up, since another server failed".into(),
    }
}

/// Says what to do about it, where that is known.
pub fn hint(cause: &Cause) -> Option<String> {
    let text = match cause {
        Cause::Exit { status: 127 } => {
            "commands run in a shell without your login profile: give the full path, or set PATH in [env]".into()
        }
        Cause::Exit { status: 137 } => OUT_OF_MEMORY.into(),
        Cause::Signal { signal } if signal == "KILL" => OUT_OF_MEMORY.into(),
        Cause::TimedOut { .. } => "the limits are in [timeouts]; \"none\" switches one off".into(),
        Cause::Connect { hint, .. } | Cause::Balancer { hint, .. } | Cause::Source { hint, .. } => clean(hint),
        Cause::Refused { code, detail } => refused(code, detail).1.into(),
        Cause::Locked(held) => lock::hint(held),
        Cause::Unhealthy(unhealthy) => unhealthy_hint(unhealthy)?.into(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

const OUT_OF_MEMORY: &str = "the kernel may have ended it for want of memory: `dmesg` on the server tells";

/// Says all there is to say of a failure, below the line that names server and step.
pub fn lines(failure: &Failure) -> Vec<String> {
    let mut lines = vec![reason(&failure.cause)];
    if let Some(command) = &failure.command {
        let mut command = clean_lines(command).into_iter();
        lines.extend(command.next().map(|first| format!("command: {first}")));
        lines.extend(command.map(|more| format!("         {more}")));
    }
    if let Cause::Unhealthy(unhealthy) = &failure.cause {
        lines.extend(dossier(unhealthy));
    }
    if !failure.tail.is_empty() {
        lines.push("last lines:".into());
        lines.extend(failure.tail.iter().map(|line| format!("  | {}", clean(line))));
    }
    lines.extend(hint(&failure.cause).map(|hint| format!("hint: {hint}")));
    lines
}

/// Words of the codes by which remote scripts refuse; an unknown one is shown as it came.
fn refused(code: &str, detail: &str) -> (String, &'static str) {
    let (what, hint) = match code {
        "no_space" => ("there is no room left on the server's disk", "free some, or lower keep_releases"),
        "no_inodes" => ("there are no inodes left on the server's disk", "free some, or lower keep_releases"),
        "not_writable" if detail.contains("ead-only") => (
            "nothing can be written there",
            "a disk error may have made it read-only: `dmesg` on the server tells; then mount it writable again",
        ),
        "not_writable" if detail.contains("is a symbolic link") => {
            ("releases cannot lie behind a link", "mount the other disk at that place, or bind-mount it there")
        }
        "not_writable" => ("the login user cannot write there", "give it the directory, or set [ssh] user"),
        "no_shell" => (
            "the login there does not run commands",
            "give the user a login shell that does, as sh, bash, zsh, tcsh and fish do; the last lines may say why",
        ),
        "bad_root" => ("deploy_to cannot be used", "write an absolute path in [app] deploy_to"),
        "bad_path" => ("a path in [shared] cannot be used", "write it relative to the release, without `..`"),
        "no_input" => ("the connection ended before the script had its input", "deploy again"),
        "bad_payload" => {
            ("what arrived is not what was sent", "deploy again; if it repeats, look at the server's disk")
        }
        "not_fetched" => ("the server cannot fetch from the repository", ""),
        "no_commit" => ("the repository does not have it", "push it first"),
        "git_host_key" => (
            "the server does not trust the git host's key",
            "compare it, and write its line into host_keys of [source], or into known_hosts on the server",
        ),
        "git_denied" => (
            "the git host lets the server in with nothing that it has",
            "set deploy_key in [source] to a key on the servers that the git host knows, or lend them your agent: \
             forward_agent = true in [ssh], and `ssh-add -l` here lists the key",
        ),
        "no_deploy_key" => (
            "the server cannot read its deploy key",
            "put it there, readable for the login user; or correct deploy_key",
        ),
        "git_lfs" => ("servers cannot fetch it", "set kind = \"push\" in [source], or release a built tarball"),
        "submodules" => (
            "git archive leaves submodules empty",
            "release a built tarball, or mark them export-ignore if the application does without",
        ),
        "repo_odd" => ("`repo` is no mirror of a git repository", "move it away"),
        "not_unpacked" => ("the release could not be unpacked", ""),
        "not_downloaded" => ("the archive could not be downloaded", ""),
        "bad_checksum" => (
            "what was downloaded is not what was meant: nothing of it is kept",
            "compare it with what was built, and correct sha256",
        ),
        "missing_files" => {
            ("files of [shared] are missing on the server", "put them into shared/, where releases link to them")
        }
        "missing_tools" => ("tools are missing on the server", "install them, or add their directory to PATH in [env]"),
        "current_changed" => (
            "`current` is not what it was when the run began: somebody else switched it",
            "find out who deploys beside pitcrew, then run `pitcrew deploy` again",
        ),
        "current_odd" => ("`current` is not a link to a release", "move it away, then run `pitcrew deploy` again"),
        "not_switched" => ("`current` could not be switched", ""),
        "not_restarted" => ("the web server could not be restarted", "look at the web server's own log"),
        "not_proven" => (
            "the restart is not proven",
            "look at the web server's own log, and at the parameters in [web] that say where its processes are",
        ),
        "still_running" => ("the web server could not be stopped", "look at the web server's own log"),
        "no_proc" => ("nothing there tells which processes run", "mount /proc, as every Linux does"),
        "stale_facts" => (
            "the server is not as it was when the run was planned: somebody else has deployed since",
            "run it again: it plans anew",
        ),
        "lock_lost" => {
            ("the lock is gone: somebody removed it during the run", "find out who did, then run `pitcrew check`")
        }
        "locked" => ("locked by another run", "wait for it, or run `pitcrew deploy --wait-lock 10m`"),
        "not_ours" => ("the lock belongs to another run and is left alone", "run `pitcrew check` to see whose it is"),
        "no_release" | "release_missing" => {
            ("the release is not on the server, or not whole", "`pitcrew releases` lists those that are")
        }
        "release_exists" => ("the release is on the server already", "run `pitcrew deploy` again: it takes a new id"),
        "not_removed" => ("a release could not be removed", "remove it by hand, as the user that owns it"),
        "in_use" => ("the release is in use and stays", ""),
        "capacity" | "min_in_service" => (
            "draining it would leave too few other members in service",
            "bring the others up first, or lower min_in_service in [load_balancer]",
        ),
        _ => return (with(&format!("refused ({})", clean(code)), detail), ""),
    };
    (with(what, detail), hint)
}

fn unhealthy_line(u: &Unhealthy) -> String {
    let asked = clean(&u.asked);
    let times = if u.attempts == 1 { "once".to_owned() } else { format!("{} times", u.attempts) };
    match (&u.error, u.status) {
        (Some(error), _) => format!("not healthy: asked {asked} {times}, no answer: {}", clean(error)),
        (None, Some(status)) => format!("not healthy: asked {asked} {times}, last answer {status}"),
        (None, None) => format!("not healthy: asked {asked} {times}"),
    }
}

fn unhealthy_hint(u: &Unhealthy) -> Option<&'static str> {
    match u.status? {
        300..=399 => Some(
            "a redirect: set `host` or `scheme` in [health] to what the application expects, or add 300-399 to `accept`",
        ),
        400 | 403 | 421 => Some("the application may refuse the Host header: set `host` in [health]"),
        404 => Some("set `path` in [health] to one that the application answers"),
        _ => None,
    }
}

/// What the last answer held.
fn dossier(u: &Unhealthy) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(_), Some(status)) = (&u.error, u.status) {
        lines.push(format!("status before that: {status}"));
    }
    lines.extend(u.location.as_ref().map(|to| format!("location: {}", clean(to))));
    if !u.body.trim().is_empty() {
        lines.push("body:".into());
        lines.extend(clean_lines(&u.body).iter().take(BODY_LINES).map(|line| format!("  | {}", cut(line, BODY_WIDTH))));
    }
    lines
}

/// Lines of a body that are shown.
const BODY_LINES: usize = 12;
/// Bytes of each.
const BODY_WIDTH: usize = 200;

fn with(what: &str, detail: &str) -> String {
    let detail = clean(detail.trim());
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}
