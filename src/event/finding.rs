//! What was found on servers before a run that a person should read, as data.
//!
//! It owns what `check`, `status` and plans tell of servers and of the file; the sentences are `wording`'s.

use serde::{Deserialize, Serialize};

use crate::name::{ReleaseId, ServerName};

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
    /// Something answers where the web server is to answer, and no process of the web server is found.
    Unseen {
        /// The server.
        of: ServerName,
        /// What listens on the port of the health check, as a fragment; empty: not known.
        who: String,
        /// The health check was asked, and answered well.
        answered: bool,
    },
    /// The release that runs fails its health check: a run's way back would end there.
    RunsUnhealthy {
        /// The server.
        of: ServerName,
        /// The release.
        release: ReleaseId,
        /// The answer.
        why: String,
    },
    /// The server runs the revision that was asked for, and its web server does not run.
    NotRunning {
        /// The server.
        of: ServerName,
    },
    /// A member gets no traffic, and it is no operator's doing: its checks fail, or its weight is 0.
    DownBefore {
        /// The server.
        of: ServerName,
        /// `backend/server on ADDRESS`.
        member: String,
        /// Its status.
        status: String,
    },
    /// `current` leads to a directory that another tool has named; it becomes a release, and the way back.
    Adopts {
        /// The servers.
        on: Vec<ServerName>,
        /// Its name below `releases`.
        name: String,
        /// The release.
        release: ReleaseId,
    },
    /// Servers without the role `web` get the release, and nothing of theirs is restarted or checked.
    NotRestarted {
        /// The servers.
        on: Vec<ServerName>,
    },
    /// A pid file lies in the release, so that the next release does not find the old processes.
    PidInRelease {
        /// The parameter of `[web]`.
        key: String,
        /// Its value.
        path: String,
    },
    /// What old releases left behind could not be removed, or cannot be.
    Leftovers {
        /// The server.
        of: ServerName,
        /// Their places below `deploy_to`.
        paths: Vec<String>,
    },
    /// A directory that the login's own code comes from may be written by others.
    Exposed {
        /// The server.
        of: ServerName,
        /// The directory below `deploy_to`; `.`: that itself.
        path: String,
        /// By whom.
        to: Writers,
    },
    /// A shared file that holds secrets may be read by every user of the server.
    Readable {
        /// The server.
        of: ServerName,
        /// The file below `deploy_to`.
        path: String,
    },
    /// A password of the file crosses the network as it is.
    PlainPassword {
        /// The setting whose password it is.
        setting: String,
        /// The host that it is sent to.
        host: String,
    },
    /// The answer of the health check should name its release: nothing else proves as much here.
    ReleaseAdvised {
        /// Why the rest proves less.
        because: Weakness,
    },
    /// The source has migrations, and the file has no `[migrate]`.
    MigrationsUnrun {
        /// The directory in the source.
        directory: String,
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

/// Who may write where only the login and root should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writers {
    /// Every user.
    Everyone,
    /// The user whose directory it is, by number.
    Owner(u32),
}

/// Why processes prove less than an answer that names its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weakness {
    /// The web server has no processes to prove.
    NoProcesses,
    /// systemd's word is what there is, and it says nothing of what is loaded.
    Systemd,
    /// A command judges, and only its exit status is seen.
    Command,
    /// The login may not look into some processes.
    Hidden,
    /// No process of the web server was found.
    NothingFound,
}

impl Finding {
    /// The texts in it that come from elsewhere.
    pub fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::SerialByFact { why, .. } | Self::StopsAnswering { why, .. } | Self::WebServer { why, .. } => {
                vec![why]
            }
            Self::Unseen { who: text, .. }
            | Self::RunsUnhealthy { why: text, .. }
            | Self::PidInRelease { path: text, .. }
            | Self::Adopts { name: text, .. }
            | Self::Exposed { path: text, .. }
            | Self::Readable { path: text, .. }
            | Self::PlainPassword { host: text, .. }
            | Self::MigrationsUnrun { directory: text } => vec![text],
            Self::DownBefore { member, status, .. } => vec![member, status],
            Self::Leftovers { paths, .. } => paths.iter_mut().collect(),
            Self::ReleaseAdvised { .. } | Self::NotRunning { .. } | Self::NotRestarted { .. } => Vec::new(),
            Self::Hidden { login, users, .. } => std::iter::once(login).chain(users).collect(),
        }
    }

    /// Tells whether `-q` shows it: those that come with every run of a stack are hidden.
    pub fn needs_reading(&self) -> bool {
        match self {
            Self::StopsAnswering { .. }
            | Self::WebServer { .. }
            | Self::Unseen { .. }
            | Self::RunsUnhealthy { .. }
            | Self::NotRunning { .. }
            | Self::DownBefore { .. }
            | Self::Adopts { .. }
            | Self::PidInRelease { .. }
            | Self::Leftovers { .. }
            | Self::Exposed { .. }
            | Self::Readable { .. }
            | Self::PlainPassword { .. } => true,
            Self::SerialByFact { .. }
            | Self::Hidden { .. }
            | Self::NotRestarted { .. }
            | Self::ReleaseAdvised { .. }
            | Self::MigrationsUnrun { .. } => false,
        }
    }
}
