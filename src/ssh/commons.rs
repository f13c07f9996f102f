//! What all connections of a run share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use super::ask::Ask;
use super::keys::Keys;

/// Limit on opening a channel and starting a command.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(30);
/// Key exchanges at once: there connections cost processor time.
const EXCHANGING: usize = 64;

/// What all connections of a run share.
pub struct Commons {
    /// Limit on opening a channel and starting a command.
    pub channel_timeout: Duration,
    /// Permits for key exchanges.
    pub exchanging: Arc<Semaphore>,
    /// Asks the person; without a terminal it answers `None` at once.
    pub ask: Arc<dyn Ask>,
    /// The keys that were read, so that each passphrase is asked for once.
    pub keys: Keys,
    /// Held for one question to the person, or one touch of a security key.
    pub person: Mutex<()>,
    /// The shell that runs a `ProxyCommand`.
    pub shell: Option<String>,
}

impl Commons {
    /// Makes them; `shell` is the environment's `SHELL`.
    pub fn new(ask: Arc<dyn Ask>, shell: Option<String>) -> Self {
        Self {
            channel_timeout: CHANNEL_TIMEOUT,
            exchanging: Arc::new(Semaphore::new(EXCHANGING)),
            ask,
            keys: Keys::default(),
            person: Mutex::default(),
            shell,
        }
    }
}
