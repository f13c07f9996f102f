//! The SSH client against servers that misbehave (`faults`) and against OpenSSH (`real`).
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod advice;
mod agreement;
pub mod daemon;
mod faults;
mod generator;
mod lending;
mod login;
mod real;
mod routes;
mod support;
mod trust;
