//! Authentication: keys and certificates first, then the questions that only a person can answer.
//!
//! `authenticate` tries the methods in order; `publickey` offers keys, `person` asks. `offers` chooses the keys and their
//! order, `signing` signs with them, `patience` is the limit that does not run while a person is asked. `conversation` is
//! the state of one attempt.

mod authenticate;
mod conversation;
mod offers;
mod patience;
mod person;
mod publickey;
mod signing;

pub(super) use self::authenticate::authenticate;
pub(super) use self::conversation::{Connection, Outcome};
