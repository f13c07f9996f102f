//! A server as a run lists it in its locks: by its name and by its address. Pure.

use serde::{Deserialize, Serialize};

use crate::name::ServerName;

/// A server as the run knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunServer {
    /// Its name in the run's file.
    pub name: ServerName,
    /// Its login, address and port, as ssh's configuration has them.
    pub at: String,
    /// Its names in the balancer; empty where it is in none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lb: Vec<String>,
    /// Its batch, from 0; `None`: only its lock is taken, or an earlier version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
}

impl RunServer {
    /// The address without the login, in lower case.
    fn address(&self) -> String {
        self.at.rsplit_once('@').map_or(self.at.as_str(), |(_, address)| address).to_lowercase()
    }

    fn host(&self) -> String {
        let address = self.address();
        address.rsplit_once(':').map_or(address.clone(), |(host, _)| host.to_owned())
    }

    /// Tells whether both are one server, as far as names and addresses tell.
    pub fn is(&self, other: &Self) -> bool {
        self.address() == other.address() || (self.name == other.name && self.host() == other.host())
    }
}
