//! Runs a program of this machine from blocking code: it can neither hang the run nor outlive it.
//!
//! Owns its limits and its end; which program runs, and what its output means, is the caller's.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::descendants::{ChildMark, Descendants, Group};
use super::end::{Exited, Unended};

/// Pause between two questions whether to stop.
const TICK: Duration = Duration::from_millis(100);
/// Limit on a program's end once its output has ended, where it has no limit of its own.
const GRACE: Duration = Duration::from_secs(5);
/// Limit on the end of its complaints: a process that it left behind may hold the pipe open.
const COMPLAINTS: Duration = Duration::from_secs(1);
/// Bytes kept of a program's standard error.
const STDERR_MAX: usize = 16 * 1024;

/// Tells whether to stop; it is asked several times a second, from more than one thread.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// A program that is about to run, with its arguments and limits.
pub struct Program {
    command: Command,
    silence: Option<Duration>,
    limit: Option<Duration>,
    group: Group,
}

impl Program {
    /// Prepares a program of the PATH: with no limit, in a process group of its own.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(name), silence: None, limit: None, group: Group::Own }
    }

    /// Prepares a shell that runs `command` in a directory.
    pub fn shell(command: &str, directory: &Path) -> Self {
        let mut shell = Self::new("sh").args(["-c", command]);
        shell.command.current_dir(directory);
        shell
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds variables to its environment.
    #[must_use]
    pub fn env<K: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Removes variables from its environment.
    #[must_use]
    pub fn without<K: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = K>) -> Self {
        for name in variables {
            self.command.env_remove(name);
        }
        self
    }

    /// Ends the program when it writes nothing for this long while its output is waited for.
    #[must_use]
    pub fn silent_for_at_most(mut self, limit: Duration) -> Self {
        self.silence = Some(limit);
        self
    }

    /// Ends the program when it takes longer.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Lets the program ask the person: where there is a terminal, it stays in the foreground.
    #[must_use]
    pub fn asking(mut self) -> Self {
        let has_terminal = std::fs::File::open("/dev/tty").is_ok();
        self.group = if has_terminal { Group::Shared } else { Group::Own };
        self
    }

    /// Runs the program, hands its standard output to `read`, and keeps its standard error.
    ///
    /// When `stop` answers true, or at a limit, the program is killed with all that it started. When `read` returns early,
    /// the rest of the output is not waited for.
    ///
    /// # Errors
    /// When it cannot be started, or did not end by itself.
    pub fn run<T>(self, stop: Stop<'_>, read: impl FnOnce(&mut dyn Read) -> T) -> Result<(T, Exited), Unended> {
        self.start(Stdio::piped(), stop, read)
    }

    /// Runs the program as [`Program::run`] does, but it complains on this process's own standard error.
    ///
    /// # Errors
    /// When it cannot be started, or did not end by itself.
    pub fn run_heard<T>(self, stop: Stop<'_>, read: impl FnOnce(&mut dyn Read) -> T) -> Result<(T, Exited), Unended> {
        self.start(Stdio::inherit(), stop, read)
    }

    fn start<T>(
        mut self,
        stderr: Stdio,
        stop: Stop<'_>,
        read: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<(T, Exited), Unended> {
        let mark = ChildMark::random();
        self.command.env(ChildMark::NAME, mark.value()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        if self.group == Group::Own {
            self.command.process_group(0);
        }
        let mut child = self.command.spawn().map_err(Unended::Failed)?;
        let mut descendants = Descendants::of(Some(child.id()), self.group, mark);
        let complaints = child.stderr.take().map(collect);
        let mut output = Output {
            from: child.stdout.take(),
            silence: self.silence,
            over: self.limit.map(|limit| (limit, Instant::now() + limit)),
            stop,
            cut: None,
        };
        let value = read(&mut output);
        let ended = output.end(&mut child);
        if !matches!(&ended, Ok(Some(_))) {
            descendants.kill(&mut child);
        }
        descendants.let_go();
        let status = match ended? {
            Some(status) => status,
            None => child.wait().map_err(Unended::Failed)?,
        };
        let stderr = complaints.and_then(|heard| heard.recv_timeout(COMPLAINTS).ok()).unwrap_or_default();
        Ok((value, Exited { status, stderr }))
    }
}

/// The standard output of a running program, which ends at a limit.
struct Output<'a> {
    /// `None`: it was read to its end.
    from: Option<ChildStdout>,
    silence: Option<Duration>,
    /// The limit, and when it is over.
    over: Option<(Duration, Instant)>,
    stop: Stop<'a>,
    cut: Option<Unended>,
}

impl Output<'_> {
    /// Waits until the program writes or ends; an error when it must end.
    fn wait(&mut self) -> io::Result<()> {
        let began = Instant::now();
        while let Some(from) = &self.from {
            let mut watched = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
            match poll(&mut watched, tick) {
                Ok(1..) => return Ok(()),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
            self.go_on()?;
            if let Some(silence) = self.silence.filter(|silence| began.elapsed() >= *silence) {
                return self.cut(Unended::Silent(silence));
            }
        }
        Ok(())
    }

    /// Asks whether the program may go on.
    fn go_on(&mut self) -> io::Result<()> {
        match self.over {
            _ if (self.stop)() => self.cut(Unended::Stopped),
            Some((limit, at)) if Instant::now() >= at => self.cut(Unended::TimedOut(limit)),
            _ => Ok(()),
        }
    }

    fn cut(&mut self, why: Unended) -> io::Result<()> {
        self.from = None;
        self.cut = Some(why);
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Waits for the program's own end, once its output is no longer read; `None`: it must be killed.
    fn end(mut self, child: &mut Child) -> Result<Option<ExitStatus>, Unended> {
        let was_read = self.from.take().is_none();
        let deadline = Instant::now() + GRACE;
        let mut pause = Duration::from_micros(200);
        while self.cut.is_none() {
            if let Some(status) = child.try_wait().map_err(Unended::Failed)? {
                return Ok(Some(status));
            }
            let waits = self.over.is_some() && was_read;
            if self.go_on().is_ok() && !waits && Instant::now() >= deadline {
                return Ok(None);
            }
            thread::park_timeout(pause);
            pause = (pause * 2).min(TICK);
        }
        self.cut.map_or(Ok(None), Err)
    }
}

impl Read for Output<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cut.is_some() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.wait()?;
        let Some(from) = &mut self.from else { return Ok(0) };
        let got = from.read(into)?;
        if got == 0 && !into.is_empty() {
            self.from = None;
        }
        Ok(got)
    }
}

/// Reads complaints to their end, so that the program never waits, and keeps the first of them.
fn collect(mut from: ChildStderr) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        let _ = from.by_ref().take(STDERR_MAX as u64).read_to_end(&mut kept);
        let _ = io::copy(&mut from, &mut io::sink());
        let _ = send.send(String::from_utf8_lossy(&kept).trim().to_owned());
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::super::proc;
    use super::*;

    fn shell(script: &str) -> Program {
        Program::shell(script, Path::new("/")).silent_for_at_most(GRACE)
    }

    fn all(from: &mut dyn Read) -> String {
        let mut text = String::new();
        // Why it ended early is asked of the program.
        let _ = from.read_to_string(&mut text);
        text
    }

    #[test]
    fn output_complaints_and_status_come_back() {
        let (text, ended) = shell("echo out; echo err >&2; exit 3").run(&|| false, all).unwrap();
        assert_eq!((text.as_str(), ended.stderr.as_str(), ended.status.code()), ("out\n", "err", Some(3)));
    }

    #[test]
    fn a_silent_child_is_killed_with_its_children() {
        let error = shell("sleep 600 & sleep 600").silent_for_at_most(TICK).run(&|| false, all).unwrap_err();
        assert!(matches!(error, Unended::Silent(_)), "{error:?}");
    }

    #[test]
    fn a_child_is_killed_when_asked() {
        let error = shell("echo x; sleep 600").run(&|| true, all).unwrap_err();
        assert!(matches!(error, Unended::Stopped), "{error:?}");
    }

    #[test]
    fn output_that_is_not_read_does_not_block() {
        let (first, ended) = shell("while echo y; do :; done")
            .run(&|| false, |from| {
                let mut byte = [0];
                from.read_exact(&mut byte).unwrap();
                byte[0]
            })
            .unwrap();
        assert_eq!(first, b'y');
        assert!(!ended.status.success() || !ended.stderr.is_empty());
    }

    #[test]
    fn floods_of_complaints_are_cut() {
        let (_, ended) = shell("head -c 300000 /dev/zero | tr '\\0' e >&2").run(&|| false, all).unwrap();
        assert_eq!(ended.stderr.len(), STDERR_MAX);
    }

    #[test]
    fn a_daemon_that_holds_the_output_does_not_hang_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let program = Program::shell("setsid sh -c 'echo $$ >pid; exec sleep 600' & sleep 600", directory.path());
        let error = program.within(Duration::from_secs(1)).run(&|| false, all).unwrap_err();
        assert!(matches!(error, Unended::TimedOut(_)), "{error:?}");
        // A session of its own: it is meant to stay.
        let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap().trim().parse().unwrap();
        assert!(proc::start(pid).is_some() || !Path::new("/proc/self/stat").exists());
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGKILL);
    }

    #[test]
    fn a_program_of_the_foreground_ends_with_what_it_started_too() {
        if !Path::new("/proc/self/stat").exists() {
            return;
        }
        for group in [Group::Own, Group::Shared] {
            let directory = tempfile::tempdir().unwrap();
            // A child, an orphan whose parent has ended, and one in a process group of its own that ignores TERM.
            let command = "sleep 600 & echo $! >a; (sleep 600 & echo $! >b); \
                           timeout 600 sh -c 'trap \"\" TERM; echo $$ >c; while :; do sleep 0.1; done' & sleep 600";
            let mut program = Program::shell(command, directory.path()).within(Duration::from_secs(1));
            program.group = group;
            let error = program.run(&|| false, all).unwrap_err();
            assert!(matches!(error, Unended::TimedOut(_)), "{error:?}");
            for name in ["a", "b", "c"] {
                let pid = std::fs::read_to_string(directory.path().join(name)).unwrap().trim().parse().unwrap();
                assert!(proc::ends(pid), "{group:?}: {name} still runs");
            }
        }
    }

    /// As in a container whose first process has not made a session of its own.
    #[test]
    fn what_was_started_ends_where_session_and_group_have_no_number() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let this = std::env::current_exe().unwrap();
        let test = "process::program::tests::a_program_of_the_foreground_ends_with_what_it_started_too";
        let mut inside = Command::new("unshare");
        inside.args(["--fork", "--pid", "--mount-proc"]).arg(this).args(["--exact", test]);
        let Ok(output) = inside.output() else { return };
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || said.contains("unshare failed"), "{said}");
    }
}
