//! pitcrew deploys an application over SSH to servers that carry no agent.
//!
//! ```text
//! pitcrew.toml + flags ──► Config ─┐
//!                                  ├─► Plan ──► engine ──► events ──► reporters
//! servers, balancers ──► Facts ────┘
//! ```
//!
//! Ask first ([`facts`]), then decide ([`plan`]), then act ([`engine`]). The modules:
//!
//! - [`config`]: the file, a profile and flags, resolved to one value; pure.
//! - [`web`]: web server templates; pure.
//! - [`facts`]: what was true before the run; pure.
//! - [`lease`]: what a held lock says of its holder; pure.
//! - [`plan`]: what will be done, and how it is taken back; pure.
//! - [`engine`]: does it, and reports through [`event`]s.
//! - [`outcome`]: a run's state as a fold over its events, and what it amounts to.
//! - [`text`], [`wording`]: text fit for people, and the words for events; pure.
//! - [`report`]: turns events into text, JSON and logs.
//! - [`ssh`], [`balancer`], [`source`], [`health`], [`remote`], [`machine`]: the outside world.
//! - [`demo`]: a fleet in this process, which the tests use too.
//! - [`verbs`], [`cli`]: wiring.

pub mod answer;
pub mod balancer;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod engine;
pub mod error;
pub mod event;
pub mod facts;
pub mod health;
mod http;
pub mod lease;
pub mod name;
pub mod out;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod process;
pub mod release;
pub mod remote;
pub mod report;
pub mod script;
pub mod source;
pub mod ssh;
pub mod stack;
pub mod sync;
pub mod text;
pub mod verbs;
pub mod web;
pub mod wording;

pub use process::machine;
