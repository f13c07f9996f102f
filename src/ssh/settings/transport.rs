//! Decides how to connect: limits, keepalives, addresses, algorithms.

use std::time::Duration;

use super::reading::{Deciding, bad, key, word};
use super::values::Family;
use crate::ssh::algorithms::{Lists, Wish, unspoken};
use crate::ssh::config::{ConfigError, SettingOrigin};

/// Default limit on TCP and on the handshake, each.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Default limit on authentication: PAM and dead name servers take their time. sshd itself waits 120 s.
pub(super) const AUTH_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence after which a keepalive is sent.
///
/// A shorter one can be configured; a longer one would let a dead connection delay a run.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);
/// Unanswered keepalives after which a connection is lost.
pub(super) const KEEPALIVES: usize = 3;
/// The most that can be configured, for the same reason.
pub(super) const MOST_KEEPALIVES: usize = 10;

/// Decides the limit on TCP and on the handshake.
pub(super) fn connect_timeout(all: &mut Deciding<'_>) -> Result<Duration, ConfigError> {
    const NAME: &str = "ConnectTimeout";
    let (limit, from) = match all.sources.toml.connect_timeout {
        Some(limit) => (limit, SettingOrigin::Toml("connect_timeout")),
        None => match all.duration(key(NAME, "connecttimeout"))? {
            Some(limit) => return Ok(limit),
            None => (CONNECT_TIMEOUT, SettingOrigin::Default),
        },
    };
    all.note(NAME, format!("{} s", limit.as_secs_f32()), from);
    Ok(limit)
}

/// Decides the limit on authentication: `ConnectTimeout` does not limit it in ssh either.
pub(super) fn auth_timeout(all: &mut Deciding<'_>) -> Duration {
    let toml = all.sources.toml.auth_timeout.map(|limit| (limit, SettingOrigin::Toml("auth_timeout")));
    let (limit, from) = toml.unwrap_or((AUTH_TIMEOUT, SettingOrigin::Default));
    all.note("auth_timeout", format!("{} s", limit.as_secs_f32()), from);
    limit
}

/// Decides the silence after which a keepalive is sent.
pub(super) fn keepalive(all: &mut Deciding<'_>) -> Result<Duration, ConfigError> {
    let wanted = all.duration(key("ServerAliveInterval", "serveraliveinterval"))?;
    Ok(wanted.map_or(KEEPALIVE, |wanted| wanted.min(KEEPALIVE)))
}

/// Decides the number of unanswered keepalives after which the connection is lost.
pub(super) fn keepalives(all: &mut Deciding<'_>) -> Result<usize, ConfigError> {
    let wanted = all.number(key("ServerAliveCountMax", "serveralivecountmax"))?;
    Ok(wanted.map_or(KEEPALIVES, |n| n.clamp(1, MOST_KEEPALIVES)))
}

/// Decides which addresses are tried.
pub(super) fn family(all: &mut Deciding<'_>) -> Result<Family, ConfigError> {
    const NAME: &str = "AddressFamily";
    let Some(written) = all.written(key(NAME, "addressfamily")) else { return Ok(Family::Any) };
    match word(written).as_str() {
        "any" => Ok(Family::Any),
        "inet" => Ok(Family::Four),
        "inet6" => Ok(Family::Six),
        other => Err(bad(written, NAME, "any, inet or inet6", Some(other))),
    }
}

/// Decides which algorithms are offered, and tells which of the names never are.
pub(super) fn algorithms(all: &mut Deciding<'_>) -> Result<Lists, ConfigError> {
    let mut wish = |name, keyword, kind| {
        let written = all.sources.says.first(keyword)?;
        let text = written.words.concat();
        let told = match unspoken(kind, &text) {
            names if names.is_empty() => text.clone(),
            names => format!("{text} (not offered: {})", names.join(", ")),
        };
        all.note(name, told, written.from.clone());
        Some(Wish { name, text, from: written.from.clone() })
    };
    Lists::new([
        wish("KexAlgorithms", "kexalgorithms", "kex"),
        wish("Ciphers", "ciphers", "cipher"),
        wish("MACs", "macs", "mac"),
        wish("HostKeyAlgorithms", "hostkeyalgorithms", "key"),
    ])
}
