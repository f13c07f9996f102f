//! Child processes of this machine, and what this machine says of itself.
//!
//! Owns how a process is started here, its limit, and its end together with everything that it started. What is run and
//! what its output means is the caller's. SSH starts its own: it knows nothing of this program.

pub mod child;
pub mod family;
pub mod local;
pub mod machine;
