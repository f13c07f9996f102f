//! Tries the methods in order, until one is accepted.

use russh::MethodKind;

use super::conversation::{Connection, Conversation, Outcome, Went};
use super::patience::Patience;
use super::publickey::PublicKeys;
use super::{person, publickey};
use crate::ssh::gate::Turn;
use crate::ssh::settings::Method;

/// Logs in on a connection. Gives the turn back while a person is asked.
pub(in crate::ssh) async fn authenticate(connection: Connection<'_>, turn: Turn) -> Outcome {
    let limit = connection.target.settings.auth_timeout;
    let patience = Patience::new(limit);
    let conversation = Conversation::new(connection, &patience, turn);
    tokio::select! {
        outcome = converse(conversation) => outcome,
        () = patience.over() => Outcome::Silent(limit),
    }
}

async fn converse(mut conversation: Conversation<'_>) -> Outcome {
    let mut keys: Option<PublicKeys> = None;
    let mut left = conversation.target.settings.methods.clone();
    // After each part that the server accepts, it may demand a method that it refused before.
    loop {
        let mut further = false;
        for method in left.clone() {
            if conversation.refuses(kind(method)) || conversation.is_over() {
                continue;
            }
            let went = match method {
                Method::PublicKey => publickey::offer(&mut conversation, &mut keys).await,
                Method::Interactive => person::interactive(&mut conversation).await,
                Method::Password => person::password(&mut conversation).await,
            };
            match went {
                Went::Done(outcome) => return outcome,
                Went::Further => {
                    // The other keys may be the second part.
                    if method != Method::PublicKey {
                        left.retain(|m| *m != method);
                    }
                    further = true;
                    break;
                }
                Went::No => {}
            }
        }
        if !further || left.is_empty() {
            return Outcome::Failed(conversation.failure());
        }
    }
}

fn kind(method: Method) -> MethodKind {
    match method {
        Method::PublicKey => MethodKind::PublicKey,
        Method::Interactive => MethodKind::KeyboardInteractive,
        Method::Password => MethodKind::Password,
    }
}
