//! What goes wrong with target groups and their targets.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::balancer::error::{BalancerErrorKind as Kind, BalancerFault};

/// How errors and records name this kind of balancer.
pub const AT: &str = "elb";

/// A fault of the configuration against what AWS tells.
#[derive(Debug, Clone)]
pub enum ElbFault {
    /// A target group is in another region than the rest, or than `region`.
    Regions {
        /// The region of that group.
        other: String,
        /// The region of the rest.
        written: String,
    },
    /// AWS knows no such target group.
    NoGroup,
    /// The targets of the group are of a type that no server can be.
    Type(String),
    /// AWS tells no ARN or no port of the group.
    NoArn,
    /// No target group has the server's target.
    Unregistered {
        /// The instance's id, or the address.
        id: String,
        /// Why the id is not believed, as the text says.
        why: String,
        /// The server could not be asked; it may answer a moment later.
        unreachable: bool,
    },
    /// None of the server's addresses is in the target group.
    NoAddress(Vec<String>),
    /// The server is not in the target group, whose targets have different ports.
    Ports,
    /// No listener uses the target group; its target's status.
    Idle(String),
    /// What is recorded of the target cannot be read.
    Record(Arc<serde_json::Error>),
}

impl Error for ElbFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Record(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

impl fmt::Display for ElbFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regions { other, written } => {
                write!(f, "a target group is in {other}, and others, or `region`, in {written}")
            }
            Self::NoGroup => write!(f, "AWS knows no such target group"),
            Self::Type(other) => {
                write!(f, "targets of this group are of the type {other}, which no server can be")
            }
            Self::NoArn => write!(f, "AWS tells no ARN or no port of it"),
            Self::Unregistered { id, why, .. } => write!(f, "{id} is in none of the target groups, and {why}"),
            Self::NoAddress(ids) if ids.is_empty() => {
                write!(f, "none of its addresses is in the target group: it tells none")
            }
            Self::NoAddress(ids) => write!(f, "none of its addresses is in the target group: {}", ids.join(", ")),
            Self::Ports => write!(f, "it is not in the target group, whose targets have different ports"),
            Self::Idle(status) => write!(f, "it gets no traffic from this target group: {status}"),
            Self::Record(error) => write!(f, "what is recorded of its target cannot be read: {error}"),
        }
    }
}

impl BalancerFault for ElbFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Unregistered { unreachable: true, .. } => Kind::Unreachable,
            Self::NoGroup | Self::Unregistered { .. } | Self::NoAddress(_) | Self::Ports => Kind::Unknown,
            Self::Regions { .. } | Self::Type(_) | Self::NoArn | Self::Idle(_) | Self::Record(_) => Kind::Refused,
        }
    }

    fn hint(&self) -> String {
        let text = match self {
            Self::Regions { .. } => "name groups of one region only, and leave `region` out or correct it",
            Self::NoGroup => "correct `target_groups`",
            Self::Type(_) => "name a group of the type instance or ip",
            Self::NoArn => "",
            Self::Unregistered { .. } => {
                "correct `lb` in [[servers]], or register it with `aws elbv2 register-targets`"
            }
            Self::NoAddress(_) => "write `lb = \"10.0.0.4\"`, the address that is to be a target, in [[servers]]",
            Self::Ports => "write its port into `lb` in [[servers]], as \"i-…:8080\"",
            Self::Idle(_) => {
                "a listener must use the group, in the zone of the target; or take it out of `target_groups`"
            }
            Self::Record(_) => "register it by hand, with `aws elbv2 register-targets`",
        };
        text.to_owned()
    }
}
