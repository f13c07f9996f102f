//! The program from outside, against the embedded fleet: order, barriers, unwinding, exit codes.
//!
//! What happened is read from the servers' and the balancer's own log, never from what the program says of itself.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod asking;
mod by_hand;
mod checking;
mod codes;
mod early;
#[cfg(feature = "elb")]
mod elb;
mod hooks;
mod identity;
mod lb;
mod locking;
mod logins;
mod lost;
mod many;
mod moto;
mod order;
mod output;
mod policies;
mod pushing;
mod reaching;
mod recover;
mod rounds;
mod silence;
mod sources;
pub mod stack;
mod stopping;
mod unbuilt;
mod unwinding;
