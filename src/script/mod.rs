//! The shell that runs on servers: scripts, their parameters, their quoting, and their answers.
//!
//! Every line of it lies in `templates/remote/*.sh`. This module assembles and parses; it sends nothing.
//!
//! One step is one exec. The command line is `sh -c '…' pitcrew-STEP stdin NONCE`, at most 1,000 bytes. The script arrives as the
//! first line of standard input ([`quote::encode`]), which `sh` decodes and evaluates, and the environment as the second
//! ([`Call::head`]), so they are in no command line and no process list; what follows is the script's payload.

pub mod call;
pub mod calls;
pub mod kept;
pub mod kind;
pub mod owner;
pub mod quote;
pub mod standing;
pub mod wire;

pub use call::{AfterLoss, Call, Param};
pub use kind::Script;
pub use owner::Owner;
pub use wire::Wired;
