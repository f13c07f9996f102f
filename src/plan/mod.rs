//! The plan: what a run will do, as a value.
//!
//! [`build`] is pure and the only place that decides; the engine executes a [`Plan`] and decides nothing but what to
//! take back, and for that it asks [`unwind`]. This file declares the rooms and holds nothing itself.

pub mod absent;
pub mod act;
mod agreed;
pub mod batches;
pub mod build;
pub mod capacity;
pub mod default;
pub mod findings;
pub mod fled;
pub mod intent;
pub mod journal;
pub mod members;
pub mod past;
mod returning;
pub mod run_server;
pub mod shape;
pub mod stages;
pub mod unwind;

pub use act::Act;
pub use shape::{Batch, Lane, Phase, Plan, Stage, Verb};
