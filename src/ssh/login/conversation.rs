//! The state of one attempt to log in, and what the server said so far.

use std::path::PathBuf;
use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::{MethodKind, MethodSet};

use super::patience::Patience;
use crate::ssh::commons::Commons;
use crate::ssh::end::End;
use crate::ssh::error::ConnectError;
use crate::ssh::gate::Turn;
use crate::ssh::not_accepted::{NotAccepted, Skip, Skipped};
use crate::ssh::peer::Peer;
use crate::ssh::target::Target;

/// The result of authentication.
pub(in crate::ssh) enum Outcome {
    /// The server accepted the login.
    Accepted,
    /// The server would accept this key, or might. Its passphrase is needed first.
    Locked(PathBuf),
    /// The server accepted nothing.
    Failed(ConnectError),
    /// The server did not answer within this limit.
    Silent(Duration),
}

/// The connection to log in on.
pub(in crate::ssh) struct Connection<'a> {
    pub(in crate::ssh) handle: &'a mut Handle<Peer>,
    pub(in crate::ssh) end: &'a End,
    pub(in crate::ssh) target: &'a Target,
    pub(in crate::ssh) commons: &'a Commons,
}

/// One attempt to log in.
pub(super) struct Conversation<'a> {
    pub(super) handle: &'a mut Handle<Peer>,
    pub(super) end: &'a End,
    pub(super) target: &'a Target,
    pub(super) commons: &'a Commons,
    pub(super) patience: &'a Patience,
    /// The turn at handshakes, given back while a person is asked.
    pub(super) turn: Turn,
    /// The methods that the server accepts next, once it has said so.
    methods: Option<MethodSet>,
    offered: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
    /// Whether the server accepted a part and demanded more.
    partial: bool,
}

/// The result of one method.
pub(super) enum Went {
    /// The attempt is over.
    Done(Outcome),
    /// The server accepted a part, and demands more.
    Further,
    /// The server accepted nothing.
    No,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(connection: Connection<'a>, patience: &'a Patience, turn: Turn) -> Self {
        let Connection { handle, end, target, commons } = connection;
        Self {
            handle,
            end,
            target,
            commons,
            patience,
            turn,
            methods: None,
            offered: Vec::new(),
            skipped: Vec::new(),
            partial: false,
        }
    }

    /// Tells whether the connection has ended.
    pub(super) fn is_over(&self) -> bool {
        self.end.get().is_some()
    }

    /// Tells whether the server has said which methods it accepts.
    pub(super) fn knows_methods(&self) -> bool {
        self.methods.is_some()
    }

    /// Tells whether the server said that it accepts a method.
    pub(super) fn accepts(&self, method: MethodKind) -> bool {
        self.methods.as_ref().is_some_and(|m| m.contains(&method))
    }

    /// Tells whether the server said that it does not accept a method.
    pub(super) fn refuses(&self, method: MethodKind) -> bool {
        self.methods.as_ref().is_some_and(|m| !m.contains(&method))
    }

    /// Notes an answer of the server.
    pub(super) fn answered(&mut self, result: AuthResult) -> Went {
        match result {
            AuthResult::Success => Went::Done(Outcome::Accepted),
            AuthResult::Failure { remaining_methods, partial_success } => {
                // The library also reports an empty list when the connection is gone.
                if !remaining_methods.is_empty() || self.methods.is_none() {
                    self.methods = Some(remaining_methods);
                }
                self.partial |= partial_success;
                if partial_success { Went::Further } else { Went::No }
            }
        }
    }

    /// Notes what was offered, once.
    pub(super) fn offered(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.offered.contains(&what) {
            self.offered.push(what);
        }
    }

    /// Notes what was not offered, and why.
    pub(super) fn skip(&mut self, what: impl Into<String>, why: Skip) {
        self.skipped.push(Skipped { what: what.into(), why });
    }

    /// Makes the error of an attempt that failed.
    pub(super) fn failure(self) -> ConnectError {
        ConnectError::NotAccepted(Box::new(NotAccepted {
            place: self.target.place(),
            user: self.target.user.clone(),
            host: self.target.host.clone(),
            offered: self.offered,
            skipped: self.skipped,
            partial: self.partial,
            methods: self.methods.iter().flat_map(|m| m.iter()).map(<&str>::from).collect(),
            lost: self.end.get(),
        }))
    }
}
