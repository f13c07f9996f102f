//! What goes wrong with a Data Plane API, or cannot be done through it.

use std::error::Error;
use std::fmt;

use super::answers::Deaf;
use super::http::Unanswered;
use crate::balancer::error::{BalancerErrorKind as Kind, BalancerFault};

/// A failure of one Data Plane API.
#[derive(Debug, Clone)]
pub enum ApiFault {
    /// No whole answer came.
    Call(Unanswered),
    /// The API answered with a status other than success.
    Deaf(Deaf),
    /// The API answers, and not to the questions of a Data Plane API.
    NotAnApi,
    /// The answer cannot be read, as the text says.
    Senseless(String),
    /// The API lists no servers of this backend, which HAProxy has.
    NoServers(String),
    /// The API misreads the check of a member, which ended so.
    Misread(String),
    /// The member has an agent, which the API cannot silence.
    Agent,
    /// The member has connections, which the API cannot end.
    Sessions,
    /// The API took `maint` and did not set it; the member's status.
    NotInMaint(String),
}

const SOCKET_HINT: &str = "write the address of HAProxy's socket in `at`: it can";

impl Error for ApiFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Call(unanswered) => Some(unanswered),
            _ => None,
        }
    }
}

impl fmt::Display for ApiFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(unanswered) => unanswered.fmt(f),
            Self::Deaf(deaf) => deaf.fmt(f),
            Self::NotAnApi => write!(f, "it answers to neither /v3/info nor /v2/info, as a Data Plane API would"),
            Self::Senseless(text) => f.write_str(text),
            Self::NoServers(backend) => write!(f, "it says nothing of the servers of {backend}"),
            Self::Misread(said) => {
                write!(f, "its check says {said}, which the Data Plane API misreads: its health could not be followed")
            }
            Self::Agent => write!(
                f,
                "it has an agent, whose next `ready` would end a drain, and the Data Plane API cannot silence it"
            ),
            Self::Sessions => write!(f, "it has connections left, and the Data Plane API cannot end them"),
            Self::NotInMaint(status) => {
                write!(f, "the Data Plane API took `maint` and set nothing: it is {status}")
            }
        }
    }
}

impl BalancerFault for ApiFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Call(_) | Self::NoServers(_) => Kind::Unreachable,
            Self::Deaf(deaf) if deaf.status >= 500 && deaf.may_pass() => Kind::Unreachable,
            Self::Deaf(deaf) if deaf.status == 404 => Kind::Unknown,
            Self::NotInMaint(_) => Kind::Unproven,
            _ => Kind::Refused,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Call(unanswered) => unanswered.hint().to_owned(),
            Self::Deaf(deaf) => deaf.hint().to_owned(),
            Self::NotAnApi => "is this its address, with everything that stands before /v3?".to_owned(),
            Self::Misread(_) | Self::Agent | Self::Sessions => SOCKET_HINT.to_owned(),
            Self::NotInMaint(_) => {
                "it takes a server that is `disabled` in haproxy.cfg, and drained, for one in maint: write the address of \
                 HAProxy's socket in `at`, or take `disabled` out of its line"
                    .to_owned()
            }
            Self::Senseless(_) | Self::NoServers(_) => String::new(),
        }
    }
}
