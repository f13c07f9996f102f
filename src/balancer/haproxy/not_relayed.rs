//! Why a program on HAProxy's host passed nothing on to the socket, and what to do about it.

use std::error::Error;
use std::fmt;

use super::limits::ANSWER_LIMIT;
use crate::ssh::NotOpen;

/// What the socket's host says when nothing is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The user may not look into this directory.
    Hidden(String),
    /// Nothing is at the path.
    Missing,
    /// Something other than a socket is at the path.
    NoSocket,
    /// The user may not write to it: mode, owner and group.
    Denied(String),
    /// The host has neither socat nor an nc that knows unix sockets.
    NoTool,
    /// The host has no sudo.
    NoSudo,
    /// The command line did not run.
    NotAllowed {
        /// The command line, which sudo must allow.
        command: String,
        /// What sudo or the shell said.
        said: String,
    },
    /// The program itself failed, with these words.
    Program(String),
    /// The shell was not run, or not to its end.
    Shell(String),
    /// The answer is larger than the limit.
    TooLarge,
}

/// A call that a program on the host did not pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRelayed {
    /// The socket's path.
    pub path: String,
    /// The login on the host.
    pub user: String,
    /// The host.
    pub host: String,
    /// The program was to run with sudo.
    pub sudo: bool,
    /// Why sshd opened no channel to the socket, where that was tried first.
    pub refused: Option<NotOpen>,
    /// What the host says.
    pub why: Why,
}

impl NotRelayed {
    /// Tells whether the failure stays until a person changes something.
    ///
    /// Another try would only be one more entry in a log there.
    pub fn lasts(&self) -> bool {
        match &self.why {
            Why::Hidden(_) | Why::NoSocket | Why::Denied(_) | Why::NoTool | Why::NoSudo => true,
            Why::NotAllowed { .. } => self.sudo,
            Why::Missing | Why::Program(_) | Why::Shell(_) | Why::TooLarge => false,
        }
    }

    /// Says what to do next.
    pub fn hint(&self) -> String {
        let Self { path, user, .. } = self;
        match &self.why {
            Why::Hidden(_) | Why::Denied(_) => socket_hint(path, user),
            Why::NoSocket => "write the path of haproxy's `stats socket` in `at`".to_owned(),
            Why::NoTool if self.refused.is_some() => {
                "have sshd there allow AllowStreamLocalForwarding, or install socat".to_owned()
            }
            Why::NoTool => "install socat there, or have its sshd allow AllowStreamLocalForwarding".to_owned(),
            Why::NoSudo => format!("install it there, or leave `via` out and {}", socket_hint(path, user)),
            Why::NotAllowed { command, .. } if self.sudo => format!("in sudoers there: `{}`", sudoers(user, command)),
            Why::Missing | Why::NotAllowed { .. } | Why::Program(_) => RUNNING_HINT.to_owned(),
            Why::Shell(_) if self.refused.is_some() => {
                format!("{}; sshd there must allow AllowStreamLocalForwarding", socket_hint(path, user))
            }
            Why::Shell(_) | Why::TooLarge => String::new(),
        }
    }
}

impl Error for NotRelayed {}

impl fmt::Display for NotRelayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, user, host, .. } = self;
        let cannot = format!("{user} cannot open {path} on {host}");
        match (&self.why, &self.refused) {
            (Why::Hidden(dir), _) => write!(f, "{cannot}: it may not look into {dir}"),
            (Why::Denied(mode), _) => write!(f, "{cannot}: it may not write to it ({mode})"),
            (Why::Missing, _) => write!(f, "there is no {path} on {host}"),
            (Why::NoSocket, _) => write!(f, "{path} on {host} is no socket"),
            (Why::NoTool, Some(refused)) => {
                write!(f, "sshd on {host} opens no channel to {path} ({refused}), and neither socat nor nc is there")
            }
            (Why::NoTool, None) => write!(f, "{host} has neither socat nor an nc that can open {path}"),
            (Why::NoSudo, _) => write!(f, "{host} has no sudo, which `via = \"sudo\"` asks for"),
            (Why::NotAllowed { said, .. }, _) if self.sudo => {
                write!(f, "sudo on {host} does not let {user} open {path}: {said}")
            }
            (Why::NotAllowed { said, .. } | Why::Program(said), _) => write!(f, "{cannot}: {said}"),
            (Why::Shell(why), Some(refused)) => write!(f, "{cannot}: {refused}; and {why}"),
            (Why::Shell(why), None) => write!(f, "{cannot}: {why}"),
            (Why::TooLarge, _) => write!(f, "its answer is larger than {} MiB", ANSWER_LIMIT >> 20),
        }
    }
}

/// What to look at where the socket is not there or does not answer.
pub const RUNNING_HINT: &str = "is haproxy running, and is this the path of its `stats socket`?";

/// Says what lets `user` use the socket.
pub fn socket_hint(path: &str, user: &str) -> String {
    format!(
        "in haproxy.cfg: `stats socket {path} user {user} mode 660 level admin`, then restart haproxy; \
         or `via = \"sudo\"` in [load_balancer], for an ssh:// address"
    )
}

/// Writes the line of sudoers that allows just this command.
///
/// `,`, `:`, `=` and `\` are escaped (sudoers(5)).
fn sudoers(user: &str, command: &str) -> String {
    let escaped: String =
        command.chars().flat_map(|c| ",:=\\".contains(c).then_some('\\').into_iter().chain([c])).collect();
    format!("{user} ALL=(root) NOPASSWD: {escaped}")
}
