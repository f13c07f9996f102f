//! What a step does, and its name in events.
//!
//! It owns no order: that is the plan's.

use crate::config::HookPlace;
use crate::event::StepName;
use crate::name::ReleaseId;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Has a connection to the server.
    Connect,
    /// Takes the server's lock.
    Lock,
    /// Sends the release and unpacks it.
    Transfer,
    /// Links shared directories and files.
    Link,
    /// Runs the build commands.
    Build,
    /// Runs the migrations.
    Migrate,
    /// Takes the server out of every balancer.
    Drain,
    /// Points `current` to another release.
    Switch {
        /// From what.
        from: Option<ReleaseId>,
        /// To what.
        to: ReleaseId,
    },
    /// Restarts the web server and proves that it did.
    Restart,
    /// Asks for health, and proves that the processes are the new ones.
    Check,
    /// Puts the server back as it was found.
    Restore,
    /// Removes old releases.
    Prune,
    /// Releases the lock.
    Unlock,
    /// Runs a hook of the configuration.
    Hook {
        /// Its index in the file.
        index: usize,
        /// Where.
        on: HookPlace,
    },
}

impl Act {
    /// The step's name in events.
    pub fn name(&self) -> StepName {
        match self {
            Self::Connect => StepName::Connect,
            Self::Lock => StepName::Lock,
            Self::Transfer => StepName::Transfer,
            Self::Link => StepName::Link,
            Self::Build => StepName::Build,
            Self::Migrate => StepName::Migrate,
            Self::Drain => StepName::Drain,
            Self::Switch { .. } => StepName::Switch,
            Self::Restart => StepName::Restart,
            Self::Check => StepName::Check,
            Self::Restore => StepName::Restore,
            Self::Prune => StepName::Prune,
            Self::Unlock => StepName::Unlock,
            Self::Hook { .. } => StepName::Hook,
        }
    }
}
