//! A file a table: its keys, the value that it resolves to, its defaults, and what contradicts itself in it.

pub mod app;
pub mod build;
pub mod env;
pub mod health;
pub mod hooks;
pub mod load_balancer;
pub mod migrate;
pub mod secrets;
pub mod servers;
pub mod shared;
pub mod source;
pub mod ssh;
pub mod timeouts;
pub mod web;
