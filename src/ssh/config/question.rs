//! The question to an ssh_config: one host, and what is known of it before.

/// A host to look up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// The host as people write it.
    pub host: String,
    /// The user, if it is set elsewhere. It decides what `Match user` means.
    pub user: Option<String>,
    /// The port, if it is set elsewhere.
    pub port: Option<u16>,
}
