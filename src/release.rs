//! The state of a release, as pitcrew writes it beside the release, and releases that others have made.

use crate::name::{ReleaseId, Revision};

/// What is known of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseState {
    /// Transferred, linked or built; never switched to.
    Prepared,
    /// Switched to; not proven.
    Active,
    /// Proven.
    Good,
    /// Switched to, and failed.
    Failed,
    /// Taken back.
    Reverted,
    /// Another tool made it (Capistrano), and something vouches for it: it counts as complete.
    Foreign,
    /// Another tool made it, and nothing says that it was ever finished.
    Unfinished,
}

impl ReleaseState {
    /// The word that stands in the release's state file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
            Self::Foreign => "foreign",
            Self::Unfinished => "unfinished",
        }
    }

    /// Reads that word; a release without a known one is foreign.
    pub fn parse(word: &str) -> Self {
        [Self::Prepared, Self::Active, Self::Good, Self::Failed, Self::Reverted, Self::Unfinished]
            .into_iter()
            .find(|state| state.word() == word)
            .unwrap_or(Self::Foreign)
    }
}

/// A directory below `releases` that another tool has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Its name.
    pub name: String,
    /// The release that a run makes of it.
    pub id: ReleaseId,
    /// The first line of its REVISION file.
    pub revision: Option<Revision>,
}
