//! Decides how to log in: key files, the agent, and the methods.

use std::path::{Path, PathBuf};

use super::reading::{Deciding, Sources, key, unexpanded};
use super::values::{Identity, Method, Part};
use crate::ssh::config::{ConfigError, SettingOrigin, Tokens, WrittenSetting, tilde};

/// Key files that are offered when none is configured, best first; a missing one is passed over.
const USUAL_KEYS: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];

/// Decides the key files.
pub(super) fn identities(all: &mut Deciding<'_>, tokens: &Tokens<'_>) -> Result<Vec<Identity>, ConfigError> {
    let Sources { toml, says, part, local, .. } = all.sources;
    let mut identities = Vec::new();
    if *part == Part::Hop || toml.identity_files.is_empty() {
        let paths = all.paths(key("IdentityFile", "identityfile"), tokens)?;
        identities.extend(paths.into_iter().map(|path| Identity { path, configured: true, must: false }));
    }
    for path in &toml.identity_files {
        let path = tilde(&path.to_string_lossy(), &local.home);
        all.note("IdentityFile", path.display().to_string(), SettingOrigin::Toml("identity_file"));
        identities.push(Identity { path, configured: true, must: true });
    }
    if identities.is_empty() && says.all("identityfile").is_empty() {
        let dot_ssh = local.home.join(".ssh");
        all.note("IdentityFile", format!("{}/id_*", dot_ssh.display()), SettingOrigin::Default);
        let usual = USUAL_KEYS.map(|name| Identity { path: dot_ssh.join(name), configured: false, must: false });
        identities.extend(usual);
    }
    Ok(identities)
}

/// Decides the agent's socket.
pub(super) fn agent(all: &mut Deciding<'_>, tokens: &Tokens<'_>) -> Result<Option<PathBuf>, ConfigError> {
    let Some(written) = all.written(key("IdentityAgent", "identityagent")) else {
        let socket = variable(all, "SSH_AUTH_SOCK");
        if let Some(socket) = &socket {
            all.note("IdentityAgent", socket.display().to_string(), SettingOrigin::Default);
        }
        return Ok(socket);
    };
    match written.words.concat() {
        none if none.eq_ignore_ascii_case("none") => Ok(None),
        _ => socket(all, "IdentityAgent", written, tokens),
    }
}

/// Decides which agent is lent to the server.
pub(super) fn forward(
    all: &mut Deciding<'_>,
    tokens: &Tokens<'_>,
    agent: Option<&Path>,
) -> Result<Option<PathBuf>, ConfigError> {
    let Sources { toml, part, .. } = all.sources;
    // A host on the way has no use for it.
    if *part == Part::Hop {
        return Ok(None);
    }
    if let Some(forward) = toml.forward_agent {
        all.note("ForwardAgent", if forward { "yes" } else { "no" }, SettingOrigin::Toml("forward_agent"));
        return Ok(agent.filter(|_| forward).map(Path::to_path_buf));
    }
    let Some(written) = all.written(key("ForwardAgent", "forwardagent")) else { return Ok(None) };
    match written.words.concat().as_str() {
        "yes" | "true" => Ok(agent.map(Path::to_path_buf)),
        "no" | "false" => Ok(None),
        _ => socket(all, "ForwardAgent", written, tokens),
    }
}

/// Reads a socket: `SSH_AUTH_SOCK`, `$NAME` or a path.
fn socket(
    all: &Deciding<'_>,
    name: &'static str,
    written: &WrittenSetting,
    tokens: &Tokens<'_>,
) -> Result<Option<PathBuf>, ConfigError> {
    let text = written.words.concat();
    match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
        Some(name) => Ok(variable(all, name)),
        None if text == "SSH_AUTH_SOCK" => Ok(variable(all, &text)),
        // What ssh answers is expanded.
        None if written.from == SettingOrigin::Asked => Ok(Some(text.into())),
        None => tokens.path(&text).map(Some).map_err(|why| unexpanded(&written.from, name, why)),
    }
}

fn variable(all: &Deciding<'_>, name: &str) -> Option<PathBuf> {
    (all.sources.local.env)(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Decides the ways to log in, in order.
pub(super) fn methods(all: &mut Deciding<'_>, batch: bool) -> Result<Vec<Method>, ConfigError> {
    let preferred = all.says(key("PreferredAuthentications", "preferredauthentications"));
    let keys = all.flag(key("PubkeyAuthentication", "pubkeyauthentication"))?.unwrap_or(true);
    let questions = all.flag(key("KbdInteractiveAuthentication", "kbdinteractiveauthentication"))?.unwrap_or(true);
    let passwords = all.flag(key("PasswordAuthentication", "passwordauthentication"))?.unwrap_or(true);
    let is_allowed = |method: &Method| match method {
        Method::PublicKey => keys,
        Method::Interactive => questions && !batch,
        Method::Password => passwords && !batch,
    };
    let names = preferred.unwrap_or("publickey,keyboard-interactive,password");
    let wanted = names.split(',').filter_map(|name| match name {
        "publickey" => Some(Method::PublicKey),
        "keyboard-interactive" => Some(Method::Interactive),
        "password" => Some(Method::Password),
        // pitcrew does not speak the others (gssapi-with-mic, hostbased).
        _ => None,
    });
    Ok(wanted.filter(is_allowed).collect())
}
