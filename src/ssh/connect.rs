//! Makes a connection: the way there, the handshake with its retries, and authentication.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use super::commons::Commons;
use super::error::ConnectError;
use super::handshake::{Shaken, handshake};
use super::login::{Connection, Outcome, authenticate};
use super::session::Session;
use super::target::{Target, Transport};
use super::unreachable::Obstacle;

/// Attempts when a server is busy (sshd's `MaxStartups`) or a name server failed.
const ATTEMPTS: u32 = 6;

/// Connects and authenticates.
pub(super) async fn connect(target: &Target, commons: &Arc<Commons>) -> Result<Arc<Session>, ConnectError> {
    let unreachable = |why| ConnectError::unreachable(target.place(), why);
    // Each passphrase costs one more connection: none is held while a person types.
    let mut asked = 0;
    loop {
        let Shaken { mut handle, made, turn } = shaken(target, commons).await?;
        let connection = Connection { handle: &mut handle, end: &made.end, target, commons };
        let outcome = authenticate(connection, turn).await;
        if let Outcome::Silent(limit) = outcome {
            made.cut.cancel();
            return Err(unreachable(Obstacle::NoAnswer(limit)));
        }
        let session = Session::new(handle, made, commons.channel_timeout);
        match outcome {
            Outcome::Accepted => return Ok(Arc::new(session)),
            Outcome::Failed(e) => {
                session.close().await;
                return Err(e);
            }
            Outcome::Locked(path) => {
                session.close().await;
                asked += 1;
                if asked > target.settings.identities.len() {
                    return Err(unreachable(Obstacle::Locked(path)));
                }
                commons.keys.unlock(&path, commons.ask.clone(), &commons.person).await;
            }
            Outcome::Silent(_) => {}
        }
    }
}

/// Makes the handshake, and tries again while the server looks busy.
async fn shaken(target: &Target, commons: &Commons) -> Result<Shaken, ConnectError> {
    let mut deadline = None;
    let mut attempt = 1;
    loop {
        let passage = match &target.via {
            Transport::Through(carrier) => Some(carrier.place().await.map_err(|e| ConnectError::Through {
                place: target.place(),
                by: carrier.target().name.clone(),
                source: Box::new(e),
            })?),
            Transport::Direct | Transport::Command(_) => None,
        };
        // Waiting for the host on the way does not count.
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + target.settings.connect_timeout);
        let failure = match handshake(target, commons, passage).await {
            Ok(shaken) => return Ok(shaken),
            Err(failure) => failure,
        };
        // Random, so that connections which were refused together do not return together.
        let pause = Duration::from_millis(rand::rng().random_range(150..450)) * attempt;
        if !failure.is_passing || attempt >= ATTEMPTS || Instant::now() + pause >= deadline {
            return Err(failure.error);
        }
        attempt += 1;
        sleep(pause).await;
    }
}
