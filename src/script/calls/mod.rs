//! What each remote script is given: one function a script makes a [`Call`](super::Call).
//!
//! The functions take typed values.
//!
//! Owns the scripts' parameters. Codes with which scripts refuse stand at each function.

pub mod ask;
pub mod command;
pub mod delivery;
pub mod lock;
pub mod record;
pub mod site;
pub mod web;

pub use ask::{all_of, ask, identity, locating, measuring, probe};
pub use command::{Dir, check, command};
pub use delivery::{Base, Format, Fresh, Linked, Mirrored, Wanted, download, fetch, link, listing, transfer};
pub use lock::{AsPlanned, aside, freeze, keep, lock, look, note, renew, takeover, unlock};
pub use record::{Behind, Mark, history, mark, prune, remove};
pub use site::Site;
pub use web::{glance, log, prove, restart, stop, switch};
