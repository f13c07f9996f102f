//! What `lb` in `[[servers]]` says to AWS: an instance, an address, or nothing that AWS knows.

use std::net::{IpAddr, SocketAddr};

/// What `lb` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LbId {
    /// `i-…`, or `i-…:8080`.
    Instance(String, Option<u16>),
    /// `10.0.0.4`, `10.0.0.4:8080`, `[::1]:8080`.
    Address(IpAddr, Option<u16>),
    /// A name of neither kind: the server is asked.
    Name,
}

impl LbId {
    /// Reads the text of `lb`.
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

/// Tells whether a text is an instance's id, as AWS writes it.
pub fn is_instance(text: &str) -> bool {
    text.strip_prefix("i-")
        .is_some_and(|hex| (1..=32).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}
