//! One exec that waits for scripts.
//!
//! A run's short scripts cost a server one login, not one each.
//!
//! The scripts and all that they share are one text ([`Kept`]). The mark of the exec's own nonce stands in the command line, and
//! each script's nonce begins with that nonce; what differs from one script to the next, its parameters and the environment,
//! arrives on standard input, three lines a script.

use std::sync::Arc;

use bytes::Bytes;

use super::call::Call;
use super::kept::Kept;
use super::wire::Wired;
use crate::answer::Nonce;

/// Scripts of one site in one exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    kept: Arc<Kept>,
    /// The text is sent with it, or the server is to have it.
    whole: bool,
    /// The exec's own, by which a lost script is found.
    nonce: Nonce,
    /// How many scripts it was given.
    scripts: u16,
}

impl Feed {
    /// Prepares one that brings its text.
    pub fn whole(kept: Arc<Kept>) -> Self {
        Self { kept, whole: true, nonce: Nonce::random(), scripts: 0 }
    }

    /// Prepares one that counts on the text which the server keeps.
    ///
    /// It answers `unkept` by the exec's own nonce where the server keeps none.
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
        self.kept.standing(&self.nonce, self.whole)
    }

    /// Tells whether this line says that the server keeps no such text.
    pub fn is_unkept(&self, line: &str) -> bool {
        !self.whole && self.nonce.read(line).is_some_and(|answer| answer.key == "unkept")
    }

    /// What all its answers hold.
    pub fn marker(&self) -> String {
        format!("@pitcrew:{}", self.nonce.0)
    }

    /// The input that makes it run a script, and the nonce by which that answers.
    ///
    /// `None`: it cannot run this one.
    pub fn ask(&mut self, call: &Call) -> Option<(Bytes, Nonce)> {
        let params = self.kept.shared(call)?;
        self.scripts = self.scripts.checked_add(1)?;
        let nonce = self.nonce.of_script(self.scripts);
        let moment = call.text_of("at").unwrap_or_default();
        let (name, exports) = (call.script.name(), call.exports());
        Some((Bytes::from(format!("{name} {} {moment}\n{params}\n{exports}\n", nonce.0)), nonce))
    }
}
