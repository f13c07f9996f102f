//! Servers that fetch for themselves, under every shell a server's `sh` may be: from git repositories, over ssh and with a
//! password; and archives, with every tool that may be there.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "fetching/archive.rs"]
mod archive;
#[path = "fetching/git.rs"]
mod git;
#[allow(dead_code, reason = "what is slow is another test's")]
#[path = "fetching/hosts.rs"]
mod hosts;
#[path = "remote/server.rs"]
mod server;

use pitcrew::remote::calls;
use server::{Server, owner};

/// Takes the lock, without which nothing is fetched.
fn locked(server: &Server) {
    server.run(&calls::lock(&server.site(), &owner())).ok();
}
