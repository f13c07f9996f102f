//! Decides every setting of one connection.

use super::reading::{Deciding, Sources, key};
use super::values::{Part, Settings};
use super::{destination, login, transport, trust};
use crate::ssh::config::{ConfigError, Question, Tokens};
use crate::ssh::options::Ssh;

/// Default number of attempts at a password.
const PROMPTS: usize = 3;

/// Makes the question to ssh_config about an address.
pub(in crate::ssh) fn question(toml: &Ssh, part: Part, asked: &Question) -> Question {
    match part {
        Part::Server => Question {
            host: asked.host.clone(),
            user: asked.user.clone().or_else(|| toml.user.clone()),
            port: asked.port.or(toml.port),
        },
        Part::Hop => asked.clone(),
    }
}

impl Settings {
    /// Decides every setting of a connection.
    ///
    /// # Errors
    /// When a value of ssh_config cannot be used.
    pub(in crate::ssh) fn decide(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let mut all = Deciding { sources, explained: Vec::new() };
        let all = &mut all;
        let host = destination::host(all)?;
        let user = destination::user(all);
        let port = destination::port(all)?;
        let alias = all.says(key("HostKeyAlias", "hostkeyalias")).map(str::to_lowercase);
        let jump = destination::jump(sources).map(|(text, _)| text).unwrap_or_default();
        let tokens = Tokens {
            local: sources.local,
            asked: &sources.asked.host,
            host: &host,
            port,
            user: &user,
            alias: alias.as_deref(),
            jump: if jump.eq_ignore_ascii_case("none") { "" } else { &jump },
        };
        let route = destination::route(all, &tokens)?;
        let identities = login::identities(all, &tokens)?;
        let certificates = all.paths(key("CertificateFile", "certificatefile"), &tokens)?;
        let identities_only = all.flag(key("IdentitiesOnly", "identitiesonly"))?.unwrap_or(false);
        let agent = login::agent(all, &tokens)?;
        let forward = login::forward(all, &tokens, agent.as_deref())?;
        let known_hosts = trust::known_hosts(all, &tokens)?;
        let keys_command = trust::keys_command(all, &tokens)?;
        let revoked = all.paths(key("RevokedHostKeys", "revokedhostkeys"), &tokens)?.into_iter().next();
        let batch = all.flag(key("BatchMode", "batchmode"))?.unwrap_or(false);
        let checking = trust::checking(all)?;
        let trusts_localhost = trust::trusts_localhost(all)?;
        let connect_timeout = transport::connect_timeout(all)?;
        let auth_timeout = transport::auth_timeout(all);
        let keepalive = transport::keepalive(all)?;
        let keepalives = transport::keepalives(all)?;
        let family = transport::family(all)?;
        let bind = all.address(key("BindAddress", "bindaddress"))?;
        let algorithms = transport::algorithms(all)?;
        let methods = login::methods(all, batch)?;
        let prompts = all.number(key("NumberOfPasswordPrompts", "numberofpasswordprompts"))?;
        all.passed_over();
        Ok(Self {
            host,
            port,
            user,
            route,
            identities,
            certificates,
            identities_only,
            agent,
            forward,
            known_hosts: known_hosts.all,
            own_known_hosts: known_hosts.own,
            hashes_names: known_hosts.hashed,
            keys_command,
            trusts_localhost,
            alias,
            revoked,
            checking,
            connect_timeout,
            auth_timeout,
            keepalive,
            keepalives,
            family,
            bind,
            algorithms,
            methods,
            prompts: prompts.unwrap_or(PROMPTS).max(1),
            batch,
            explained: std::mem::take(&mut all.explained),
        })
    }
}
