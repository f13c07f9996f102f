//! The words for events: causes, locks, plans, steps and warnings.
//!
//! It owns sentences about single things, and decides nothing; which of them a reader sees, and where, is `report`'s.

pub mod cause;
pub mod finding;
pub mod lock;
pub mod plan;
pub mod refusal;
pub mod step;
pub mod warning;
