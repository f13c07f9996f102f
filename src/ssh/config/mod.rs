//! `~/.ssh/config`, by the rules of ssh_config(5): what it says of one host, and in which line.
//!
//! `ssh_config` evaluates the files for a host, `files` reads them, `line` has the syntax of one line, `tokens` expands
//! values, `keywords` lists what is honoured. `ask` asks `ssh -G` where only ssh can evaluate a file (`Match`, canonical
//! names). [`super::settings`] decides what the values mean.

mod ask;
mod error;
mod files;
mod keywords;
mod line;
mod mistake;
mod origin;
mod question;
mod says;
mod ssh_config;
mod tokens;

pub use self::error::{ConfigError, FileFault, SshFault};
pub(super) use self::keywords::{UNKNOWN, passed_over};
pub use self::line::BadLine;
pub(super) use self::line::split;
pub use self::mistake::Mistake;
pub use self::origin::SettingOrigin;
pub use self::question::Question;
pub use self::says::{Says, WrittenSetting};
pub use self::ssh_config::SshConfig;
pub use self::tokens::{Environment, Local, Unexpanded};
pub(super) use self::tokens::{Takes, Tokens, tilde};

#[cfg(test)]
mod tests;
