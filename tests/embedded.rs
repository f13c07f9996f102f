//! The program and its parts against servers: the embedded fleet, the scripts under real shells, single real daemons.

mod apps;
mod command_real;
mod deploy;
mod fetching;
mod fleet_self;
mod haproxy;
#[expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
mod hostile;
#[path = "fetching/hosts.rs"]
mod hosts;
#[expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod port;
mod pushing;
mod remote_scripts;
#[cfg(feature = "elb")]
#[path = "aws/responder.rs"]
#[expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
mod responder;
#[path = "remote/server.rs"]
mod server;
mod ssh;
mod standing;
mod web_templates;
