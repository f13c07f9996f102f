//! What goes wrong with classic load balancers and their instances.

use std::error::Error;
use std::fmt;

use crate::balancer::error::{BalancerErrorKind as Kind, BalancerFault};

/// How errors and records name this kind of balancer.
pub const AT: &str = "elb-classic";

/// A fault of the configuration against what AWS tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassicFault {
    /// AWS knows no such balancer.
    NoBalancer,
    /// `lb` names an address or a port, which this kind of balancer does not know.
    Port,
    /// None of the balancers has the instance, and the server does not confirm the id.
    Unregistered {
        /// The instance's id.
        id: String,
        /// Why the id is not believed, as the text says.
        why: String,
        /// The server could not be asked; it may answer a moment later.
        unreachable: bool,
    },
    /// What is recorded of the server names no instance.
    Record,
}

impl Error for ClassicFault {}

impl fmt::Display for ClassicFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBalancer => write!(f, "AWS knows no such classic load balancer"),
            Self::Port => write!(f, "a classic load balancer knows instances, and no ports"),
            Self::Unregistered { id, why, .. } => {
                write!(f, "{id} is in none of the load balancers, and it does not confirm the id: {why}")
            }
            Self::Record => write!(f, "what is recorded of it names no instance"),
        }
    }
}

impl BalancerFault for ClassicFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Unregistered { unreachable: true, .. } => Kind::Unreachable,
            Self::NoBalancer | Self::Unregistered { .. } => Kind::Unknown,
            Self::Port | Self::Record => Kind::Refused,
        }
    }

    fn hint(&self) -> String {
        let text = match self {
            Self::NoBalancer => "correct `names`",
            Self::Port => "write `lb = \"i-…\"` in [[servers]], or leave it out",
            Self::Unregistered { .. } => {
                "correct `lb` in [[servers]], or register it with `aws elb register-instances-with-load-balancer`"
            }
            Self::Record => "register it by hand, with `aws elb register-instances-with-load-balancer`",
        };
        text.to_owned()
    }
}
