//! Why a destination could not be reached.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::io_fault::IoFault;
use super::lost::Lost;
use super::refused::NotOpen;

/// How sshd answers an address that it holds back.
const PENALISED: &str = "Not allowed at this time";

/// Why a destination could not be reached: name, route, silence, or handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// The destination as people type it.
    pub place: String,
    /// What went wrong.
    pub why: Obstacle,
}

/// What is in the way of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The name cannot be resolved.
    Name(Unresolved),
    /// No address answers: each address, if there are several, with its failure.
    Addresses(Vec<(Option<IpAddr>, Silence)>),
    /// The host on the way, by its name, cannot reach it.
    Through(String, NoStream),
    /// A `ProxyCommand` cannot be started.
    NoProxy {
        /// The command.
        command: String,
        /// What the system says.
        source: IoFault,
    },
    /// The socket cannot be set up.
    Socket(IoFault),
    /// The handshake failed.
    Handshake {
        /// Why the connection ended.
        source: Lost,
        /// The `ProxyCommand` that carried it.
        proxy: Option<ProxyCommand>,
    },
    /// The handshake took too long.
    NoHandshake {
        /// The limit.
        limit: Duration,
        /// What the `ProxyCommand` said.
        said: Option<String>,
    },
    /// The server did not answer to authentication within this limit.
    NoAnswer(Duration),
    /// The server asks for this key again and again.
    Locked(PathBuf),
}

/// A `ProxyCommand` that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCommand {
    /// The command.
    pub command: String,
    /// Its last words on standard error.
    pub said: Option<String>,
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The resolver failed.
    Io(IoFault),
    /// The resolver did not answer within this limit.
    Silent(Duration),
    /// It has no address.
    NoAddress,
    /// It has no address of the configured family.
    OtherFamily,
}

/// Why an address does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// The network refused.
    Io(IoFault),
    /// There was no answer within this share of the limit.
    Silent(Duration),
}

/// Why a host on the way opened no stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoStream {
    /// It refused.
    NotOpen(NotOpen),
    /// It did not answer within this limit.
    Silent(Duration),
}

impl Unreachable {
    /// Says what to do next; may be empty.
    pub fn hint(&self) -> String {
        match &self.why {
            Obstacle::Name(_) => "Check the host's name and DNS.",
            Obstacle::Addresses(_) => "Check the address, the port, and the firewalls between.",
            Obstacle::Through(..) => {
                "Check the address and port as the jump host sees them, and AllowTcpForwarding there."
            }
            Obstacle::NoProxy { .. } => "Correct ProxyCommand.",
            Obstacle::Handshake { source: Lost::NothingShared(offers), .. } => return offers.hint(),
            Obstacle::Handshake { proxy: Some(ProxyCommand { command, .. }), .. } => {
                return format!("Run `{command}` by hand: a line that begins with SSH-2.0 must appear.");
            }
            Obstacle::Handshake { source: Lost::Answered(text), .. } if text.starts_with(PENALISED) => {
                "sshd holds this address back for logins that failed (PerSourcePenalties): wait some minutes, then mend what failed; \
                 PerSourcePenaltyExemptList in its sshd_config exempts an address."
            }
            Obstacle::Handshake { source: Lost::Answered(_), proxy: None } => {
                "Another program than sshd listens there: check the address and the port."
            }
            Obstacle::Handshake { proxy: None, .. } => {
                "Check that sshd listens there, and whether MaxStartups or a firewall turns connections away."
            }
            Obstacle::NoHandshake { .. } => "Check that sshd listens on that port, or raise connect_timeout.",
            Obstacle::NoAnswer(_) => "Look at the server's sshd log: PAM or a name server may be slow there; or raise auth_timeout.",
            Obstacle::Socket(_) | Obstacle::Locked(_) => "",
        }
        .to_owned()
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to {}: {}", self.place, self.why)
    }
}

impl std::error::Error for Unreachable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Obstacle::Name(e) => Some(e),
            Obstacle::Addresses(all) => all.first().map(|(_, e)| e as _),
            Obstacle::Through(_, e) => Some(e),
            Obstacle::NoProxy { source, .. } | Obstacle::Socket(source) => Some(source),
            Obstacle::Handshake { source, .. } => Some(source),
            Obstacle::NoHandshake { .. } | Obstacle::NoAnswer(_) | Obstacle::Locked(_) => None,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(why) => write!(f, "its name cannot be resolved: {why}"),
            Self::Addresses(all) => {
                for (i, (address, why)) in all.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "; " })?;
                    match address {
                        Some(address) => write!(f, "{address}: {why}")?,
                        None => why.fmt(f)?,
                    }
                }
                Ok(())
            }
            Self::Through(host, why) => write!(f, "{host} cannot reach it: {why}"),
            Self::NoProxy { command, source } => {
                write!(f, "its ProxyCommand `{command}` cannot be started: {source}")
            }
            Self::Socket(e) => e.fmt(f),
            Self::Handshake { source, proxy: None } => source.fmt(f),
            Self::Handshake { source, proxy: Some(proxy) } => match &proxy.said {
                Some(said) => write!(f, "{source}; its ProxyCommand said: {said}"),
                None => write!(f, "{source}; its ProxyCommand said nothing"),
            },
            Self::NoHandshake { limit, said } => {
                let limit = limit.as_secs_f32();
                write!(f, "it accepted the connection, but no SSH handshake was made within {limit} s")?;
                said.as_ref().map_or(Ok(()), |said| write!(f, "; its ProxyCommand said: {said}"))
            }
            Self::NoAnswer(limit) => write!(f, "no answer to authentication within {} s", limit.as_secs_f32()),
            Self::Locked(path) => write!(f, "{} stays locked", path.display()),
        }
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Self::NoAddress => f.write_str("it has no address"),
            Self::OtherFamily => f.write_str("it has no address of the AddressFamily"),
        }
    }
}

impl std::error::Error for Unresolved {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Silent(share) => write!(f, "no answer within {:.1} s", share.as_secs_f32()),
        }
    }
}

impl std::error::Error for Silence {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::Silent(_) => None,
        }
    }
}

impl fmt::Display for NoStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen(why) => why.fmt(f),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
        }
    }
}

impl std::error::Error for NoStream {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotOpen(why) => Some(why),
            Self::Silent(_) => None,
        }
    }
}
