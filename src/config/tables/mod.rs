//! A file a table: its keys, its value, its defaults and its contradictions.

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
