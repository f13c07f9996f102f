//! What a refusal means, in words: one sentence and one hint for each code.
//!
//! It owns the words; the codes are `event`'s. A test holds that no script refuses with a code that has none.

use crate::event::Refusal;
use crate::text::clean::clean;

/// Says what a refusal means; `detail` is what the script saw.
pub fn sentence(code: &Refusal, detail: &str) -> String {
    let text = match code {
        Refusal::NotWritable => not_writable(detail).0,
        Refusal::NoSpace => "there is no room left on the server's disk",
        Refusal::NoShell => "the login there does not run commands",
        Refusal::OddAnswer => "the server's answer cannot be read",
        Refusal::Channel => "the server opens no further session",
        Refusal::MissingTools => "tools are missing on the server",
        Refusal::NoProc => "nothing there tells which processes run",
        Refusal::NoInput => "the connection ended before the script had its input",
        Refusal::BadRoot => "deploy_to cannot be used",
        Refusal::NoSite => "nothing has been deployed to the server yet",
        Refusal::Locked => "locked by another run",
        Refusal::LockedAnew => "another run has the lock by now",
        Refusal::LockLost => "the lock was removed during the run",
        Refusal::NotOurs => "the lock belongs to another run and is left alone",
        Refusal::OtherStack => "deploy_to belongs to another stack",
        Refusal::SamePlace => "two servers of the file are one directory",
        Refusal::StaleFacts => "the server has changed since the run was planned: another run or user deployed",
        Refusal::BadPayload => "what arrived is not what was sent",
        Refusal::NoCache => "the tree that the server keeps cannot be listed",
        Refusal::StaleBase => "the tree that the server keeps is not usable",
        Refusal::NotFetched => "the server cannot fetch from the repository",
        Refusal::NoCommit => "the repository does not have it",
        Refusal::GitHostKey => "the server does not trust the git host's key",
        Refusal::GitDenied => "the git host lets the server in with nothing that it has",
        Refusal::NoDeployKey => "the server cannot read its deploy key",
        Refusal::GitLfs => "servers cannot fetch it",
        Refusal::Submodules => "git archive leaves submodules empty",
        Refusal::RepoOdd => "`repo` is no mirror of a git repository",
        Refusal::NotUnpacked => "the release could not be unpacked",
        Refusal::NotDownloaded => "the archive could not be downloaded",
        Refusal::BadChecksum => "what was downloaded is not what was meant: nothing of it is kept",
        Refusal::BadPath => "a path in [shared] cannot be used",
        Refusal::MissingFiles => "files of [shared] are missing on the server",
        Refusal::CurrentChanged => "`current` is not what it was when the run began: another run or user switched it",
        Refusal::CurrentOdd => "`current` is not a link to a release",
        Refusal::NotSwitched => "`current` could not be switched",
        Refusal::NoRelease | Refusal::ReleaseMissing => "the release is not on the server, or not whole",
        Refusal::ReleaseExists => "the release is on the server already",
        Refusal::ReleaseNotGood => "the release never served well there",
        Refusal::NoRollbackRelease => "there is no release to return to",
        Refusal::LacksRelease => "the server lacks the release that others hold",
        Refusal::NoMigrationServer => "there is no server to migrate on",
        Refusal::NotRemoved => "a release could not be removed",
        Refusal::InUse => "the release is in use and stays",
        Refusal::CannotRestart => "the web server cannot be restarted as it stands",
        Refusal::RunsUnseen => "the web server runs, and no process of it is where [web] says",
        Refusal::Placeholder => "a parameter of the web server is not filled in",
        Refusal::NotRestarted => "the web server could not be restarted",
        Refusal::NotProven => "the restart is not proven",
        Refusal::StillRunning => "processes there could not be ended",
        Refusal::NothingToServe => "nothing can be proven",
        Refusal::Other(code) => return format!("refused ({})", clean(code)),
    };
    text.into()
}

/// Says what to do about a refusal; empty for a code that this version does not know.
pub fn hint(code: &Refusal, detail: &str) -> &'static str {
    match code {
        Refusal::NotWritable => not_writable(detail).1,
        Refusal::NoSpace => "free some, or lower keep_releases",
        Refusal::NoShell => {
            "a line of the user's startup files (~/.bashrc, ~/.cshrc) may end the shell, start another or read its input; its \
             PATH may have no `sh`; sshd_config may have a ForceCommand, or authorized_keys a command=; or its login shell \
             runs no commands, as sh, bash, zsh, tcsh and fish do"
        }
        Refusal::OddAnswer => {
            "run `ssh SERVER true`: what it prints comes from the login's own files and may be in the way"
        }
        Refusal::Channel => "raise MaxSessions in the server's sshd_config, or end what else uses the connection",
        Refusal::MissingTools => "install them, or add their directory to PATH in [env]",
        Refusal::NoProc => "mount /proc, as every Linux does",
        Refusal::NoInput => "deploy again",
        Refusal::BadRoot => "write an absolute path in [app] deploy_to",
        Refusal::NoSite => "run `pitcrew deploy` first, or correct deploy_to in [app]",
        Refusal::Locked => "wait for it, or run this again with --wait-lock 10m",
        Refusal::LockedAnew => "run `pitcrew check` to see which, then `pitcrew recover` again if that run is dead too",
        Refusal::LockLost => "find out who removed it, then run `pitcrew check`",
        Refusal::NotOurs => "run `pitcrew check` to see whose it is",
        Refusal::OtherStack => {
            "set deploy_to in [app] to a directory of this stack's own; if the stack was renamed, remove .pitcrew/stack \
             in deploy_to on each server"
        }
        Refusal::SamePlace => "name each server once in [[servers]]",
        Refusal::StaleFacts => "run it again: it plans anew",
        Refusal::BadPayload => "deploy again; if it repeats, look at the server's disk",
        Refusal::NoCache | Refusal::StaleBase => "nothing needs doing: the whole release is sent",
        Refusal::NotFetched => "run `git ls-remote` with `repo` of [source] on the server, as the login user",
        Refusal::NoCommit => "push it first",
        Refusal::GitHostKey => {
            "compare it, and write its line into host_keys of [source], or into known_hosts on the server"
        }
        Refusal::GitDenied => {
            "set deploy_key in [source] to a key on the servers that the git host knows, or lend them your agent: \
             forward_agent = true in [ssh], and `ssh-add -l` here lists the key"
        }
        Refusal::NoDeployKey => "put it there, readable for the login user; or correct deploy_key",
        Refusal::GitLfs => "set kind = \"push\" in [source], or release a built tarball",
        Refusal::Submodules => "release a built tarball, or mark them export-ignore if the application does without",
        Refusal::RepoOdd => "move it away",
        Refusal::NotUnpacked => "deploy again; if it repeats, run `tar` on the server by hand",
        Refusal::NotDownloaded => "fetch its URL with curl or wget on the server, as the login user",
        Refusal::BadChecksum => "compare it with what was built, and correct sha256",
        Refusal::BadPath => "write it relative to the release, without `..`",
        Refusal::MissingFiles => "put them into shared/, where releases link to them",
        Refusal::CurrentChanged => "find out who deploys beside pitcrew, then run this again",
        Refusal::CurrentOdd => "move it away, then run this again",
        Refusal::NotSwitched => "look at who owns `current` and deploy_to on the server",
        Refusal::NoRelease | Refusal::ReleaseMissing => "`pitcrew releases` lists those that are",
        Refusal::ReleaseExists => "run this again: it takes a new id",
        Refusal::ReleaseNotGood => "`pitcrew releases` lists the good ones",
        Refusal::NoRollbackRelease => {
            "`pitcrew releases` lists what each server holds; name one with `pitcrew rollback RELEASE`"
        }
        Refusal::LacksRelease => {
            "return the others without it, as above, or bring all servers to that revision with `pitcrew deploy`; \
             `pitcrew releases` lists what each server holds"
        }
        Refusal::NoMigrationServer => "add it with --only, or say --no-migrate",
        Refusal::NotRemoved => "remove it by hand, as the user that owns it",
        Refusal::InUse => "nothing needs doing: it goes when it is in use no more",
        Refusal::CannotRestart => "mend that on the server, or the parameters in [web]",
        Refusal::RunsUnseen => "correct the pid file, or what else names its processes, in [web]; or end that process",
        Refusal::Placeholder => "write its value into the file",
        Refusal::NotRestarted => "look at the web server's own log",
        Refusal::NotProven => {
            "look at the web server's own log, and at the parameters in [web] that say where its processes are"
        }
        Refusal::StillRunning => "`ps` on the server shows what they wait for; the web server's own log may say more",
        Refusal::NothingToServe => "deploy a release that starts, then `pitcrew lb restore`",
        Refusal::Other(_) => "",
    }
}

/// Returns the sentence and the hint for a place that cannot be written to.
///
/// `detail` gives the reason in the system's own words.
fn not_writable(detail: &str) -> (&'static str, &'static str) {
    if detail.contains("ead-only") {
        let hint = "a disk error may have made it read-only: see `dmesg` on the server, then mount it writable again";
        ("nothing can be written there", hint)
    } else if detail.contains("is a symbolic link") {
        ("releases cannot lie behind a link", "mount the other disk at that place, or bind-mount it there")
    } else {
        ("the login user cannot write there", "give it the directory, or set [ssh] user")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns every code that a script refuses with.
    ///
    /// That is the word behind `fail`, `refuse` and `code=` where a command may stand.
    fn codes(script: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for line in script.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            for verb in ["fail ", "refuse ", "code="] {
                for (at, _) in line.match_indices(verb) {
                    let before = line[..at].trim_end();
                    // `say fail` and `ended fail` pass on a code that `fail` was given.
                    let begins = at == 0
                        || before.ends_with([';', '&', '|', '(', '{', ')'])
                        || ["then", "else", "do", "!"].iter().any(|word| before.ends_with(word));
                    let code: String = line[at + verb.len()..].chars().take_while(|c| !" ;)".contains(*c)).collect();
                    if begins && code != "\"$code\"" && code != "$1" {
                        assert!(!code.is_empty(), "no code in: {line}");
                        found.insert(code);
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_code_of_a_script_has_a_variant_a_sentence_and_a_hint() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/remote");
        let mut all = BTreeSet::new();
        for script in std::fs::read_dir(dir).unwrap() {
            all.extend(codes(&std::fs::read_to_string(script.unwrap().path()).unwrap()));
        }
        assert!(all.len() > 30, "the scripts are not read as they are written any more: {all:?}");
        for word in &all {
            let code = Refusal::read(word);
            assert!(!matches!(code, Refusal::Other(_)), "a script refuses with `{word}`, which is no Refusal");
            assert!(!sentence(&code, "").is_empty() && !hint(&code, "").is_empty(), "{word} has no words");
        }
    }

    #[test]
    fn a_forced_command_is_a_reason_why_a_login_runs_no_command() {
        assert!(hint(&Refusal::NoShell, "").contains("ForceCommand"));
    }

    #[test]
    fn a_code_is_found_wherever_a_script_refuses() {
        let script = "# fail not_this\nfail one \"x\"\n[ x ] || refuse two \"$error\"\nif x; then fail three y; fi\n\
                      case $* in *y*) code=four ;; esac\nsay fail \"$code\"\nended fail \"$code\"\ncurl --fail --silent\n";
        let found: Vec<String> = codes(script).into_iter().collect();
        assert_eq!(found, ["four", "one", "three", "two"]);
    }
}
