//! What each kind of balancer is to the file: its word, its keys, and what they become.

use super::types::BalancerKind;
use crate::config::problem::Problems;
use crate::config::section::Section;

/// One kind of balancer.
#[derive(Debug, Clone, Copy)]
pub struct KindOfBalancer {
    /// The keys that belong to this kind, or to this and some others.
    pub keys: &'static [&'static str],
    /// Resolves those keys; the second section is `[secrets]`.
    pub resolve: fn(&Section<'_>, Option<&Section<'_>>, &mut Problems<'_>) -> BalancerKind,
    /// It can end a member's connections: `on_drain_timeout = "kill"`.
    pub ends_connections: bool,
    /// Defaults of `drain_timeout` and `restore_timeout`, in seconds.
    pub limits: (u64, u64),
}
