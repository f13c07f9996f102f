//! SSH: one connection per server for the whole run, with a limit on everything that waits.
//!
//! [`Network`] decides how each address is reached, [`Link`] is a destination that is connected when needed, and
//! [`Session`] is one live connection, which runs commands and carries streams. This room knows SSH, and nothing of
//! deploys: it imports no other room.

pub mod address;
mod algorithms;
mod ask;
mod bastion;
mod closing;
mod command;
mod commons;
pub mod config;
mod connect;
mod dial;
mod end;
mod error;
mod exec;
mod forward;
mod gate;
mod handshake;
pub mod hop;
mod io_fault;
mod key_fault;
mod keys;
mod keys_command;
pub mod known_hosts;
mod leaving;
pub mod lines;
mod link;
mod login;
mod lost;
mod network;
mod not_accepted;
mod nothing_shared;
mod open_files;
mod opening;
pub mod options;
mod pace;
mod payload;
mod peer;
mod proxy;
mod refused;
mod running;
mod session;
pub mod settings;
mod short_scalar;
mod stream;
mod sync;
mod target;
mod text;
mod tunnel;
mod unreachable;
mod upload;
mod wildcard;
mod wire;

pub use self::algorithms::Lists;
pub use self::ask::Ask;
pub use self::bastion::Bastion;
pub use self::command::{Ended, Exec, Heard, More, Pipe};
pub use self::commons::Commons;
pub use self::error::{ConnectError, ConnectErrorKind, Detour};
pub use self::io_fault::IoFault;
pub use self::key_fault::{CertificateFault, KeyFault};
pub use self::keys::Keys;
pub use self::leaving::{Leaving, Left};
pub use self::link::Link;
pub use self::lost::Lost;
pub use self::network::Network;
pub use self::not_accepted::{NotAccepted, SignFault, Skip, Skipped};
pub use self::open_files::raise_open_files;
pub use self::payload::{Payload, PayloadError};
pub use self::refused::{ChannelRefusal, NotOpen, Refused};
pub use self::session::Session;
pub use self::stream::ByteStream;
pub use self::target::{Carrier, Passage, Target, Transport};
pub use self::unreachable::{NoStream, Obstacle, ProxyCommand, Silence, Unreachable, Unresolved};
