//! Decides where to connect: host, user, port, and the way there.

use super::reading::{Deciding, Sources, key, unexpanded};
use super::values::{Approach, PORT, Part};
use crate::ssh::address::numeric;
use crate::ssh::config::{ConfigError, Mistake, SettingOrigin, Takes, Tokens};
use crate::ssh::hop;

/// Decides the host or address to connect to.
pub(super) fn host(all: &mut Deciding<'_>) -> Result<String, ConfigError> {
    let asked = &all.sources.asked.host;
    let (host, from) = match all.sources.says.first("hostname") {
        Some(written) => {
            let text = written.words.concat();
            // Here `%h` is the host as it was asked for.
            let local = all.sources.local;
            let tokens = Tokens { local, asked, host: asked, port: 0, user: "", alias: None, jump: "" };
            let host = match written.from {
                // What ssh answers is expanded.
                SettingOrigin::Asked => Ok(text),
                _ => tokens.expand(&text, Takes::Host),
            };
            (host.map_err(|why| unexpanded(&written.from, "HostName", why))?, written.from.clone())
        }
        None => (asked.clone(), SettingOrigin::Address),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    // As ssh writes it to look up known hosts: names in lower case.
    let host = numeric(&host).unwrap_or_else(|| host.to_lowercase());
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(ConfigError::setting(&from, Mistake::NoHost(host)));
    }
    all.note("HostName", host.clone(), from);
    Ok(host)
}

/// Decides the login user.
pub(super) fn user(all: &mut Deciding<'_>) -> String {
    let Sources { toml, says, asked, part, local } = all.sources;
    let address = asked.user.clone().map(|user| (user, SettingOrigin::Address));
    let toml = toml.user.clone().map(|user| (user, SettingOrigin::Toml("user")));
    let says = says.first("user").map(|w| (w.words.concat(), w.from.clone()));
    let found = match part {
        Part::Server => address.or(toml).or(says),
        // `user` is about the servers. It holds for the hop too, unless ssh_config names a user for it.
        Part::Hop => address.or(says).or(toml),
    };
    let (user, from) = found.unwrap_or_else(|| (local.user.clone(), SettingOrigin::Default));
    all.note("User", user.clone(), from);
    user
}

/// Decides the port.
pub(super) fn port(all: &mut Deciding<'_>) -> Result<u16, ConfigError> {
    let Sources { toml, says, asked, part, .. } = all.sources;
    let address = asked.port.map(|port| (port, SettingOrigin::Address));
    let toml = toml.port.filter(|_| *part == Part::Server).map(|port| (port, SettingOrigin::Toml("port")));
    let says = || match says.first("port") {
        Some(written) => match written.words.concat().parse() {
            Ok(port @ 1..) => Ok((port, written.from.clone())),
            _ => {
                let mistake = Mistake::Value { name: "Port", must: "a number from 1 to 65535", value: None };
                Err(ConfigError::setting(&written.from, mistake))
            }
        },
        None => Ok((PORT, SettingOrigin::Default)),
    };
    let (port, from) = address.or(toml).map_or_else(says, Ok)?;
    all.note("Port", port.to_string(), from);
    Ok(port)
}

/// Returns the jump hosts as they are written, and the origin.
pub(super) fn jump(sources: &Sources<'_>) -> Option<(String, SettingOrigin)> {
    let toml = sources.toml.jump.as_ref().filter(|_| sources.part == Part::Server);
    let toml = toml.map(|jump| (jump.clone(), SettingOrigin::Toml("jump")));
    toml.or_else(|| sources.says.first("proxyjump").map(|w| (w.words.concat(), w.from.clone())))
}

/// Decides the way.
pub(super) fn route(all: &mut Deciding<'_>, tokens: &Tokens<'_>) -> Result<Approach, ConfigError> {
    if let Some((text, from)) = jump(all.sources) {
        all.note("ProxyJump", text.clone(), from.clone());
        if text.eq_ignore_ascii_case("none") {
            return if matches!(from, SettingOrigin::Toml(_)) { Ok(Approach::Direct) } else { command(all, tokens) };
        }
        let text = text.split('#').next().unwrap_or_default().trim_end();
        let text = tokens.expand(text, Takes::Proxy).map_err(|why| unexpanded(&from, "ProxyJump", why))?;
        let hops = hop::parse(&text).map_err(|why| ConfigError::setting(&from, Mistake::Jump(why)))?;
        // `Host *` with a jump host means the jump host too: it is reached directly.
        let asked = &all.sources.asked.host;
        let itself = hops
            .last()
            .is_some_and(|last| last.host.eq_ignore_ascii_case(asked) && last.port.unwrap_or(PORT) == tokens.port);
        return Ok(if itself { Approach::Direct } else { Approach::Jump(hops) });
    }
    command(all, tokens)
}

/// Decides the `ProxyCommand`.
fn command(all: &mut Deciding<'_>, tokens: &Tokens<'_>) -> Result<Approach, ConfigError> {
    let Some(written) = all.written(key("ProxyCommand", "proxycommand")) else { return Ok(Approach::Direct) };
    let command = written.words.concat();
    if command.eq_ignore_ascii_case("none") {
        return Ok(Approach::Direct);
    }
    if all.flag(key("ProxyUseFdpass", "proxyusefdpass"))?.unwrap_or(false) {
        return Err(ConfigError::setting(&written.from, Mistake::Fdpass));
    }
    let command = tokens.expand(&command, Takes::Proxy);
    command.map(Approach::Command).map_err(|why| unexpanded(&written.from, "ProxyCommand", why))
}
