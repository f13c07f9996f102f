//! What was found on servers before a run that a person should read, as data.
//!
//! It owns what `check`, `status` and plans tell of servers and of the file; the sentences are `wording`'s.

use serde::{Deserialize, Serialize};

use crate::name::ServerName;

/// Something that was found and stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The default is serial here, since a restart stops answering for a while.
    SerialByFact {
        /// The servers that say so.
        on: Vec<ServerName>,
        /// What was seen there.
        why: String,
    },
    /// All servers are restarted at once, and each stops answering for a while.
    StopsAnswering {
        /// The servers that say so.
        on: Vec<ServerName>,
        /// What was seen there.
        why: String,
    },
    /// The web server's template tells something that should be read.
    WebServer {
        /// The servers that say so.
        on: Vec<ServerName>,
        /// What was seen there.
        why: String,
    },
    /// The login may not look into processes of the web server.
    Hidden {
        /// The server.
        of: ServerName,
        /// The login.
        login: String,
        /// The users whose processes they are.
        users: Vec<String>,
        /// The processes.
        pids: Vec<u32>,
    },
}

impl Finding {
    /// The texts in it that come from elsewhere.
    pub fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::SerialByFact { why, .. } | Self::StopsAnswering { why, .. } | Self::WebServer { why, .. } => {
                vec![why]
            }
            Self::Hidden { login, users, .. } => std::iter::once(login).chain(users).collect(),
        }
    }

    /// Tells whether `-q` shows it: those that come with every run of a stack are hidden.
    pub fn needs_reading(&self) -> bool {
        match self {
            Self::StopsAnswering { .. } | Self::WebServer { .. } => true,
            Self::SerialByFact { .. } | Self::Hidden { .. } => false,
        }
    }
}
