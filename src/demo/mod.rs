//! A whole fleet in this process: SSH servers, a web application, a balancer and its traffic.
//!
//! `pitcrew demo` shows it and the tests deploy to it. Everything is real but the machines: commands run in real shells,
//! the application is a process of its own, the balancer routes real requests. Nothing of it outlives its [`Fleet`].

mod admin;
pub mod app;
pub mod balancer;
mod exec;
pub mod faults;
mod fleet;
mod held;
pub mod load;
pub mod log;
mod place;
mod processes;
pub mod server;
mod session;
mod shared;
mod stack;
mod standing;
mod stream;
mod wire;

pub use admin::Admin;
pub use faults::{Fault, Faults, Point};
pub use fleet::{Fleet, FleetError, FleetOptions, Reach, WebKind};
pub use log::{Log, Record};
pub use place::place_of;
pub use stack::{Flaw, Process, Sample, make_release};
