//! The administrative states of a balancer's member, as HAProxy's `set server … state` has them.

/// What the balancer was told to do with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// It receives traffic.
    Ready,
    /// It receives no new traffic; sessions that exist go on.
    Drain,
    /// It receives none at all.
    Maint,
}
