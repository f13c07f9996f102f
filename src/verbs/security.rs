//! `pitcrew help security`: whom pitcrew trusts, what it promises, and what it does not.

use clap::Args;

use crate::out;

const TEXT: &str = include_str!("../../templates/security.txt");

/// Says whom pitcrew trusts, what it promises, and what it does not.
#[derive(Debug, Clone, Args)]
#[command(long_about = TEXT)]
pub struct Security {}

impl Security {
    /// Prints the text.
    pub fn run() -> u8 {
        out::result(TEXT);
        0
    }
}
