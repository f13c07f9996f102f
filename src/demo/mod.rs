//! A whole fleet in this process: SSH servers, a web application, a balancer and the traffic through it.
//!
//! `pitcrew demo` shows it and the tests deploy to it. Everything is real but the machines: commands run in real shells,
//! the application is a process of its own, the balancer routes real requests. Nothing of it outlives its [`Fleet`].

pub mod app;
pub mod balancer;
mod exec;
pub mod faults;
mod fleet;
pub mod load;
pub mod log;
mod place;
mod processes;
pub mod server;
mod session;
mod stack;
mod standing;
mod stream;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use faults::{Fault, Faults, Point};
pub use fleet::{Fleet, FleetError, FleetOptions, Reach, WebKind};
pub use log::{Log, Record};
pub use place::place_of;
pub use stack::{Process, Sample, make_release};

/// Locks, whatever happened to whoever held it before: all that is kept so is valid after every statement.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
