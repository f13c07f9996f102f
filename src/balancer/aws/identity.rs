//! Who a server is to AWS: an instance id, an address, a port; from the file, or from the server itself.
//!
//! Owns reading `lb` and asking servers, once each. What a target group makes of it is not decided here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::balancer::{Around, BalancerError};
use crate::engine::remote::{Execution, execute};
use crate::event::Cause;
use crate::remote::{Answer, calls};
use crate::ssh;

/// Where an instance asks for what it is.
const METADATA: &str = "http://169.254.169.254/latest";
/// Where the firmware of newer instances says it.
const FIRMWARE: &str = "/sys/devices/virtual/dmi/id/board_asset_tag";
/// Limit on one question to the metadata service, which is one hop away.
const QUESTION: Duration = Duration::from_secs(3);
/// Limit on asking one server, once it is connected.
const LIMIT: Duration = Duration::from_secs(20);
/// What to write where nobody can tell.
const HINT: &str = "write `lb = \"i-…\"` (or its address) in [[servers]]";

/// What `lb` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// `i-…`, or `i-…:8080`.
    Instance(String, Option<u16>),
    /// `10.0.0.4`, `10.0.0.4:8080`, `[::1]:8080`.
    Address(IpAddr, Option<u16>),
    /// Nothing of that: the server is asked.
    Name,
}

impl Written {
    /// Reads it.
    pub fn read(text: &str) -> Self {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::Address(address.ip(), Some(address.port()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Address(address, None);
        }
        let (id, port) = match text.split_once(':') {
            Some((id, port)) => match port.parse() {
                Ok(port) => (id, Some(port)),
                Err(_) => return Self::Name,
            },
            None => (text, None),
        };
        if is_instance(id) { Self::Instance(id.to_owned(), port) } else { Self::Name }
    }
}

/// Tells whether this is an instance's id, as AWS writes it.
pub fn is_instance(text: &str) -> bool {
    text.strip_prefix("i-")
        .is_some_and(|hex| (1..=32).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Its instance id.
    pub instance: Option<String>,
    /// Why it tells none.
    pub why: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Told {
    fn of(answers: &[Answer]) -> Self {
        let mut told = Self::default();
        for answer in answers {
            match answer.key.as_str() {
                "instance" if is_instance(&answer.value) => told.instance = Some(answer.value.clone()),
                "address" => told.addresses.extend(answer.value.parse::<IpAddr>().ok().filter(|a| !a.is_loopback())),
                "why" => told.why.clone_from(&answer.value),
                _ => {}
            }
        }
        told
    }
}

/// The servers behind a balancer, by their name there.
pub struct Identities {
    at: String,
    servers: BTreeMap<String, Known>,
}

struct Known {
    written: Written,
    link: Option<Arc<ssh::Link>>,
    told: OnceCell<Told>,
}

impl Identities {
    /// Makes it of the stack's servers; asks nobody.
    pub fn new(at: &str, around: &Around) -> Self {
        let known = around.servers.iter().map(|server| {
            let link = around.links.get(&server.name).cloned();
            (server.lb.clone(), Known { written: Written::read(&server.lb), link, told: OnceCell::new() })
        });
        Self { at: at.to_owned(), servers: known.collect() }
    }

    /// What `lb` says.
    pub fn written(&self, lb_name: &str) -> Written {
        self.servers.get(lb_name).map_or(Written::Name, |known| known.written.clone())
    }

    /// Asks all of these servers who they are, at once; a server that has answered is not asked again.
    pub async fn ask(&self, lb_names: &[&str]) -> BTreeMap<String, Result<Told, BalancerError>> {
        let asked = lb_names.iter().map(|name| async {
            let told = match self.servers.get(*name) {
                Some(known) => known.told.get_or_try_init(|| self.question(name, known)).await.cloned(),
                None => Err(self.error(name, "it is no server of the stack".to_owned(), "")),
            };
            ((*name).to_owned(), told)
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn question(&self, lb_name: &str, known: &Known) -> Result<Told, BalancerError> {
        let Some(link) = &known.link else {
            return Err(self.error(lb_name, "there is no connection to ask it by who it is".to_owned(), HINT));
        };
        let stop = CancellationToken::new();
        let call = calls::identity(METADATA, FIRMWARE, QUESTION);
        let limit = Some(LIMIT);
        let execution =
            Execution { call, payload: None, limit, quiet: Duration::ZERO, command: None, kept: None, stop: &stop };
        match execute(link, execution, None).await {
            Ok(answers) => Ok(Told::of(&answers)),
            Err(failure) => {
                let detail =
                    format!("cannot ask it who it is to AWS: {}", crate::report::cause::reason(&failure.cause));
                let unreachable = matches!(failure.cause, Cause::Connect { .. } | Cause::Lost { .. });
                Err(BalancerError { unreachable, ..self.error(lb_name, detail, HINT) })
            }
        }
    }

    /// Says that a server does not tell what is needed of it.
    pub fn untold(&self, lb_name: &str, told: &Told) -> BalancerError {
        let why = if told.why.is_empty() { "it tells no instance id" } else { told.why.as_str() };
        self.error(lb_name, format!("cannot tell which instance it is: {why}"), HINT)
    }

    fn error(&self, lb_name: &str, detail: String, hint: &str) -> BalancerError {
        BalancerError {
            at: self.at.clone(),
            member: Some(lb_name.to_owned()),
            detail,
            hint: hint.to_owned(),
            ..BalancerError::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lb_is_read() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        for (text, expected) in [
            ("i-0abc123", Written::Instance("i-0abc123".into(), None)),
            ("i-0abc123:8080", Written::Instance("i-0abc123".into(), Some(8080))),
            ("10.0.0.4", Written::Address(ip("10.0.0.4"), None)),
            ("10.0.0.4:80", Written::Address(ip("10.0.0.4"), Some(80))),
            ("fd00::4", Written::Address(ip("fd00::4"), None)),
            ("[fd00::4]:80", Written::Address(ip("fd00::4"), Some(80))),
            ("web1", Written::Name),
            ("i-", Written::Name),
            ("i-xyz", Written::Name),
            ("i-0abc:99999", Written::Name),
            ("i-0abc:", Written::Name),
        ] {
            assert_eq!(Written::read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_a_server_tells_is_taken_only_where_it_can_be_true() {
        let answer = |key: &str, value: &str| Answer { key: key.into(), value: value.into() };
        let told = Told::of(&[
            answer("instance", "i-0a; rm"),
            answer("address", "127.0.0.1"),
            answer("address", "10.0.0.4"),
            answer("address", "nonsense"),
            answer("why", "no answer"),
        ]);
        assert_eq!(
            told,
            Told { instance: None, why: "no answer".into(), addresses: vec!["10.0.0.4".parse().unwrap()] }
        );
        assert_eq!(Told::of(&[answer("instance", "i-0a1")]).instance.as_deref(), Some("i-0a1"));
    }
}
