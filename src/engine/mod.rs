//! The engine: executes a plan, reports through events, and decides nothing but what to take back.
//!
//! `run` walks stages, batches and phases; `step` does one act: through `call` (scripts), `balance` (balancers), `prove` (restart and
//! health), `transfer` and `fetch` (the release) and `hooks`. `unwind` takes back, and `recover` does so for a run that is dead.
//! `stop` knows of signals; `renew` keeps the locks alive.

pub mod balance;
pub mod call;
pub mod checkup;
pub mod fetch;
pub mod hands;
pub mod hooks;
pub mod last_word;
pub mod leases;
pub mod ledger;
pub mod prove;
pub mod recover;
pub mod renew;
pub mod run;
pub mod running;
pub mod step;
pub mod stop;
pub mod transfer;
pub mod unwind;
pub mod world;

pub use run::run;
pub use running::Running;
pub use stop::Stop;
pub use world::World;

#[cfg(test)]
mod tests;
