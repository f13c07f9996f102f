//! Decides which host keys are trusted.

use std::path::PathBuf;

use super::reading::{Deciding, Sources, bad, key, unexpanded, word};
use crate::ssh::config::{ConfigError, SettingOrigin, Takes, Tokens, split, tilde};
use crate::ssh::options::HostKeyChecking;

/// The known hosts files, in order.
pub(super) struct Files {
    pub(super) all: Vec<PathBuf>,
    /// The number of them that are the user's; they come first.
    pub(super) own: usize,
    /// Whether new keys are recorded under hashed names.
    pub(super) hashed: bool,
}

/// Decides the known hosts files.
pub(super) fn known_hosts(all: &mut Deciding<'_>, tokens: &Tokens<'_>) -> Result<Files, ConfigError> {
    let Sources { toml, says, local, .. } = all.sources;
    let hashed = all.flag(key("HashKnownHosts", "hashknownhosts"))?.unwrap_or(false);
    if !toml.known_hosts.is_empty() {
        let files = toml.known_hosts.iter().map(|p| tilde(&p.to_string_lossy(), &local.home));
        let files: Vec<PathBuf> = files.collect();
        for file in &files {
            all.note("UserKnownHostsFile", file.display().to_string(), SettingOrigin::Toml("known_hosts"));
        }
        let own = files.len();
        return Ok(Files { all: files, own, hashed });
    }
    let mut files = if says.first("userknownhostsfile").is_some() {
        all.paths(key("UserKnownHostsFile", "userknownhostsfile"), tokens)?
    } else {
        let usual = ["known_hosts", "known_hosts2"].map(|name| local.home.join(".ssh").join(name));
        all.note("UserKnownHostsFile", joined(&usual), SettingOrigin::Default);
        usual.to_vec()
    };
    let own = files.len();
    if says.first("globalknownhostsfile").is_some() {
        files.extend(all.paths(key("GlobalKnownHostsFile", "globalknownhostsfile"), tokens)?);
    } else {
        let usual = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from);
        all.note("GlobalKnownHostsFile", joined(&usual), SettingOrigin::Default);
        files.extend(usual);
    }
    Ok(Files { all: files, own, hashed })
}

/// Decides the command that prints further keys of a host, with its arguments.
pub(super) fn keys_command(all: &mut Deciding<'_>, tokens: &Tokens<'_>) -> Result<Vec<String>, ConfigError> {
    const NAME: &str = "KnownHostsCommand";
    // Where pitcrew.toml names the files, that holds.
    if !all.sources.toml.known_hosts.is_empty() {
        return Ok(Vec::new());
    }
    let Some(written) = all.written(key(NAME, "knownhostscommand")) else { return Ok(Vec::new()) };
    let words = split(&written.words.concat()).unwrap_or_default();
    match words.as_slice() {
        [one] if one.eq_ignore_ascii_case("none") => Ok(Vec::new()),
        [program, ..] if program.starts_with('/') => {
            let expanded = words.iter().map(|word| tokens.expand(word, Takes::Keys)).collect::<Result<_, _>>();
            expanded.map_err(|why| unexpanded(&written.from, NAME, why))
        }
        _ => Err(bad(written, NAME, "the absolute path of a program", None)),
    }
}

/// Decides what happens when a key is unknown.
pub(super) fn checking(all: &mut Deciding<'_>) -> Result<HostKeyChecking, ConfigError> {
    const NAME: &str = "StrictHostKeyChecking";
    if let Some(checking) = all.sources.toml.host_key_checking {
        let word = if checking == HostKeyChecking::Strict { "yes" } else { "accept-new" };
        all.note(NAME, word, SettingOrigin::Toml("host_key_checking"));
        return Ok(checking);
    }
    let Some(written) = all.written(key(NAME, "stricthostkeychecking")) else {
        all.note(NAME, "yes", SettingOrigin::Default);
        return Ok(HostKeyChecking::Strict);
    };
    match word(written).as_str() {
        // While many servers connect at once, pitcrew asks no question: it refuses an unknown key and says what to do.
        "yes" | "true" | "ask" => Ok(HostKeyChecking::Strict),
        // A changed key is refused all the same: the release and its secrets would go to the machine that holds it.
        "accept-new" | "no" | "false" | "off" => Ok(HostKeyChecking::AcceptNew),
        other => Err(bad(written, NAME, "yes, ask, accept-new or no", Some(other))),
    }
}

/// Decides whether a host at a loopback address may show any key: tunnels make one host of many ports.
pub(super) fn trusts_localhost(all: &mut Deciding<'_>) -> Result<bool, ConfigError> {
    let flag = all.flag(key("NoHostAuthenticationForLocalhost", "nohostauthenticationforlocalhost"))?;
    // Where pitcrew.toml says how keys are checked, that holds; an alias is looked up, as in ssh.
    let asked = all.sources.toml.host_key_checking.is_none() && all.sources.says.first("hostkeyalias").is_none();
    Ok(asked && flag.unwrap_or(false))
}

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
}
