//! Which instance or address a server is to AWS, by the server's own account.
//!
//! Owns asking servers, once each. What a target group makes of the answer is not decided here.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

pub use super::written::LbId;
use super::written::is_instance;
use crate::answer::Answer;
use crate::balancer::around::Around;
use crate::balancer::error::{BalancerError, BalancerErrorKind as Kind, BalancerFault};
use crate::event::Cause;
use crate::remote::{Ear, Execution, Host};
use crate::script::calls;
use crate::ssh;
use crate::wording::cause::reason;

/// The metadata service, which tells an instance what it is.
const METADATA: &str = "http://169.254.169.254/latest";
/// The file by which the firmware of newer instances tells their id.
const FIRMWARE: &str = "/sys/devices/virtual/dmi/id/board_asset_tag";
/// The limit on one question to the metadata service, which is one hop away.
const QUESTION: Duration = Duration::from_secs(3);
/// The limit on asking one server, once it is connected.
const LIMIT: Duration = Duration::from_secs(20);

/// Why it is not known which instance a server is.
#[derive(Debug, Clone)]
pub enum IdentityFault {
    /// The name is no server of the stack.
    NotOfStack,
    /// There is no connection to ask the server by.
    NoLink,
    /// The server could not be asked.
    NotAsked(Cause),
    /// The server tells no instance id, for this reason.
    NoInstance(String),
    /// The server tells another id than the file.
    Mistaken {
        /// What the file says.
        written: String,
        /// What the server says.
        own: String,
    },
}

impl Error for IdentityFault {}

impl fmt::Display for IdentityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOfStack => write!(f, "it is no server of the stack"),
            Self::NoLink => write!(f, "there is no connection to ask it by who it is"),
            Self::NotAsked(cause) => write!(f, "cannot ask it who it is to AWS: {}", reason(cause)),
            Self::NoInstance(why) if why.is_empty() => {
                write!(f, "cannot tell which instance it is: it tells no instance id")
            }
            Self::NoInstance(why) => write!(f, "cannot tell which instance it is: {why}"),
            Self::Mistaken { written, own } => {
                write!(f, "the file says that it is {written}, and it says that it is {own}")
            }
        }
    }
}

impl BalancerFault for IdentityFault {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAsked(Cause::Connect { .. } | Cause::Lost { .. }) => Kind::Unreachable,
            Self::NotOfStack => Kind::Unknown,
            _ => Kind::Refused,
        }
    }

    fn hint(&self) -> String {
        let text = match self {
            Self::NotOfStack => "",
            Self::NoLink | Self::NotAsked(_) | Self::NoInstance(_) => {
                "write `lb = \"i-…\"` (or its address) in [[servers]]"
            }
            Self::Mistaken { .. } => "correct `lb` in [[servers]]",
        };
        text.to_owned()
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Its instance id.
    pub instance: Option<String>,
    /// Why it tells none.
    pub why: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Claims {
    fn of(answers: &[Answer]) -> Self {
        let mut claims = Self::default();
        for answer in answers {
            match answer.key.as_str() {
                "instance" if is_instance(&answer.value) => claims.instance = Some(answer.value.clone()),
                "address" => claims.addresses.extend(answer.value.parse::<IpAddr>().ok().filter(|a| !a.is_loopback())),
                "why" => claims.why.clone_from(&answer.value),
                _ => {}
            }
        }
        claims
    }
}

/// The servers behind a balancer, by their name there.
pub struct Identities {
    at: String,
    servers: BTreeMap<String, Known>,
}

struct Known {
    written: LbId,
    link: Option<Arc<ssh::Link>>,
    told: OnceCell<Claims>,
}

impl Identities {
    /// Takes the stack's servers; asks none.
    pub fn new(at: &str, around: &Around) -> Self {
        let names = around.servers.iter().flat_map(|server| server.lb.iter().map(move |name| (server, name)));
        let known = names.map(|(server, name)| {
            let link = around.links.get(&server.name).cloned();
            (name.clone(), Known { written: LbId::read(name), link, told: OnceCell::new() })
        });
        Self { at: at.to_owned(), servers: known.collect() }
    }

    /// What `lb` says.
    pub fn written(&self, lb_name: &str) -> LbId {
        self.servers.get(lb_name).map_or(LbId::Name, |known| known.written.clone())
    }

    /// Asks these servers at once which instance they are; a server that has answered is not asked again.
    pub async fn ask(&self, lb_names: &[&str]) -> BTreeMap<String, Result<Claims, BalancerError>> {
        let asked = lb_names.iter().map(|name| async {
            let told = match self.servers.get(*name) {
                Some(known) => known.told.get_or_try_init(|| self.question(name, known)).await.cloned(),
                None => Err(self.error(name, IdentityFault::NotOfStack)),
            };
            ((*name).to_owned(), told)
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn question(&self, lb_name: &str, known: &Known) -> Result<Claims, BalancerError> {
        let Some(link) = &known.link else {
            return Err(self.error(lb_name, IdentityFault::NoLink));
        };
        let stop = CancellationToken::new();
        let call = calls::identity(METADATA, FIRMWARE, QUESTION);
        let execution = Execution::new(call, Some(LIMIT), &stop);
        match Host::new(link.clone()).run(&execution, Ear::Off).await {
            Ok(answers) => Ok(Claims::of(&answers)),
            Err(failure) => Err(self.error(lb_name, IdentityFault::NotAsked(failure.cause))),
        }
    }

    /// Returns the instance that a server says it is.
    ///
    /// # Errors
    /// When it tells none.
    pub fn instance(&self, lb_name: &str, claims: &Claims) -> Result<String, BalancerError> {
        claims.instance.clone().ok_or_else(|| self.error(lb_name, IdentityFault::NoInstance(claims.why.clone())))
    }

    fn error(&self, lb_name: &str, fault: IdentityFault) -> BalancerError {
        BalancerError::new(&self.at, Some(lb_name.to_owned()), fault)
    }
}

#[cfg(test)]
mod tests;
