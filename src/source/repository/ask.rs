//! Git commands about a repository elsewhere, in which no person is asked anything.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use super::super::error::SourceError;
use super::super::error::repository::RepositoryError;
use super::super::git::program::{ANSWER_MAX, MISLEADING, unended};
use super::remote::Remote;
use crate::process::end::Exited;
use crate::process::program::{Program, Stop};
use crate::text::one_line;

/// Limit on git's silence while it talks to another machine.
pub(super) const SILENCE: Duration = Duration::from_secs(120);
/// The same where only an early refusal depends on it.
pub(super) const LOOK: Duration = Duration::from_secs(60);
/// Tells git the login, which is in the environment of git alone: never in an argument.
const HELPER: &str = "!login() { [ \"$1\" != get ] || printf 'username=%s\\npassword=%s\\n' \"$PITCREW_GIT_USER\" \"$PITCREW_GIT_PASSWORD\"; }; login";
/// Git and ssh ask no person, neither at the terminal nor in a window.
const FIXED: [(&str, &str); 8] = [
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file"),
    ("GIT_ASKPASS", ""),
    ("SSH_ASKPASS", "false"),
    ("SSH_ASKPASS_REQUIRE", "force"),
    ("LC_ALL", "C"),
];

/// Asks git about one repository.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// The repository.
    pub(super) remote: &'a Remote,
    /// Tells whether to stop.
    pub(super) stop: Stop<'a>,
}

impl Asking<'_> {
    /// Runs git, in a directory if one is given; every failure is an error.
    pub(super) fn run(
        &self,
        directory: Option<&Path>,
        args: &[&str],
        silence: Duration,
    ) -> Result<String, SourceError> {
        let mut program = Program::new("git").without(MISLEADING);
        if let Some(directory) = directory {
            program = program.args([OsStr::new("-C"), directory.as_os_str()]);
        }
        if let Some(login) = &self.remote.login {
            let helper = format!("credential.{}.helper={HELPER}", self.remote.origin());
            program = program
                .args(["-c", "credential.helper=", "-c", &helper])
                .env([("PITCREW_GIT_USER", &login.user), ("PITCREW_GIT_PASSWORD", &login.password)]);
        }
        let program = program
            .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60"])
            .args(args)
            .env(FIXED)
            .silent_for_at_most(silence);
        let verb = args.first().copied().unwrap_or_default();
        let ended = program.run(self.stop, |stream| {
            let mut answer = Vec::new();
            // What cannot be read shows in how git ended.
            let _ = stream.take(ANSWER_MAX * 16).read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        });
        match ended {
            Ok((answer, ended)) if ended.status.success() => Ok(answer),
            // git grep says so that nothing was found.
            Ok((answer, ended)) if verb == "grep" && ended.status.code() == Some(1) => Ok(answer),
            Ok((_, ended)) => Err(self.failed(verb, &ended).into()),
            Err(error) => Err(unended(verb, error)),
        }
    }

    fn failed(&self, verb: &str, ended: &Exited) -> RepositoryError {
        let words: Vec<&str> = ended.stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let (url, words) = (self.remote.repository.url.clone(), one_line(&words.join("; "), 500));
        RepositoryError::Failed { url, verb: verb.to_owned(), words, status: ended.status }
    }
}
