//! One exec that waits for scripts.
//!
//! A run's short scripts cost a server one login, not one each.
//!
//! The scripts and all that they share are one text ([`Kept`]). The nonces of those that change something stand in the command
//! line; what differs from one script to the next, its parameters and the environment, arrives on standard input, three lines
//! a script.

use std::sync::Arc;

use bytes::Bytes;

use super::call::{AfterLoss, Call};
use super::kept::Kept;
use super::wire::Wired;
use crate::answer::Nonce;

/// How many scripts that change something one exec runs at most.
///
/// A script that comes after them gets an exec of its own.
const NONCES: usize = 48;

/// Scripts of one site in one exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    kept: Arc<Kept>,
    /// The text is sent with it, or the server is to have it.
    whole: bool,
    /// Nonces not yet given to a script.
    ///
    /// All of them stand in the command line, by which a lost script is found.
    nonces: Vec<Nonce>,
}

impl Feed {
    /// Prepares one that brings its text.
    pub fn whole(kept: Arc<Kept>) -> Self {
        Self { kept, whole: true, nonces: (0..NONCES).map(|_| Nonce::random()).collect() }
    }

    /// Prepares one that counts on the text which the server keeps.
    ///
    /// It ends with status 72 where the server keeps none.
    pub fn counting(kept: Arc<Kept>) -> Self {
        Self { whole: false, ..Self::whole(kept) }
    }

    /// Tells whether it brings its text.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The text that it runs.
    pub fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// The command line and what standard input begins with; `None`: it cannot count on a kept text.
    pub fn wired(&self) -> Option<Wired> {
        self.kept.standing(&self.nonces, self.whole)
    }

    /// The input that makes it run a script, and the nonce by which that answers.
    ///
    /// `None`: it cannot run this one.
    pub fn ask(&mut self, call: &Call) -> Option<(Bytes, Nonce)> {
        let params = self.kept.shared(call)?;
        let nonce = match call.after_loss() {
            // No later script asks what became of it.
            AfterLoss::Again | AfterLoss::Fail => Nonce::random(),
            AfterLoss::Ask => self.nonces.pop()?,
        };
        let moment = call.text_of("at").unwrap_or_default();
        let (name, exports) = (call.script.name(), call.exports());
        Some((Bytes::from(format!("{name} {} {moment}\n{params}\n{exports}\n", nonce.0)), nonce))
    }
}
