//! Child processes of this machine, and what this machine says of itself.
//!
//! Owns how a process is started here, its limits, and its end together with everything that it started. What is run and
//! what its output means is the caller's. `ssh` starts its own processes: it knows nothing of this program.

pub mod command;
pub mod descendants;
pub mod end;
pub mod foreground;
pub mod ignored;
pub mod machine;
mod proc;
pub mod program;
pub mod shell;
