//! `[ssh]`: how servers are reached.

use std::path::PathBuf;

use toml::de::DeTable;

use crate::config::bad::Bad;
use crate::config::hosts;
use crate::config::key::{Form, PORT, SOME_DURATION, Table, ValueKind, key, words};
use crate::config::section::Section;
use crate::config::values;
use crate::ssh::options::{ConfigFile, HostKeyChecking, Ssh};

/// The SSH port.
pub(crate) const SSH_PORT: u16 = 22;

const CHECKING: [(&str, HostKeyChecking); 2] =
    [("strict", HostKeyChecking::Strict), ("accept-new", HostKeyChecking::AcceptNew)];

/// `[ssh]`.
pub const TABLE: Table = Table {
    name: "ssh",
    form: Form::One(&[
        key("user", ValueKind::Text(values::user)),
        key("port", PORT),
        key("identity_file", ValueKind::Texts(values::line)),
        key("known_hosts", ValueKind::Texts(values::line)),
        key("host_key_checking", ValueKind::Choice(&words(&CHECKING))),
        key("config_file", ValueKind::PathOrFalse),
        key("connect_timeout", SOME_DURATION),
        key("auth_timeout", SOME_DURATION),
        key("jump", ValueKind::Text(jump)),
        key("forward_agent", ValueKind::Boolean),
    ]),
};

fn jump(text: &str) -> Result<(), Bad> {
    values::line(text)?;
    if text == "none" {
        return Ok(());
    }
    text.split(',').try_for_each(|one| hosts::parse_one(one.trim()).map(drop))
}

/// Resolves how servers are reached.
pub fn ssh(merged: &DeTable<'_>) -> Ssh {
    let section = Section::one(merged, &TABLE);
    let section = section.as_ref();
    let paths = |key: &str| -> Vec<PathBuf> {
        let texts = section.and_then(|s| s.texts(key)).unwrap_or_default();
        texts.iter().map(|t| PathBuf::from(t.value)).collect()
    };
    let config_file = match section.and_then(|s| s.path_or_false("config_file")) {
        None => ConfigFile::Usual,
        Some(None) => ConfigFile::Off,
        Some(Some(path)) => ConfigFile::Path(PathBuf::from(path)),
    };
    Ssh {
        user: section.and_then(|s| s.text("user")).map(|u| u.value.to_owned()),
        port: section.and_then(|s| s.whole("port")).and_then(|p| p.value.try_into().ok()),
        identity_files: paths("identity_file"),
        known_hosts: paths("known_hosts"),
        host_key_checking: section.and_then(|s| s.word("host_key_checking", &CHECKING)).map(|c| c.value),
        config_file,
        connect_timeout: section.and_then(|s| s.duration("connect_timeout")).map(|d| d.value),
        auth_timeout: section.and_then(|s| s.duration("auth_timeout")).map(|d| d.value),
        jump: section.and_then(|s| s.text("jump")).map(|j| j.value.to_owned()),
        forward_agent: section.and_then(|s| s.boolean("forward_agent")),
    }
}
