//! The calls of an adapter: they take a server out of a balancer and put it back, each with proof.
//!
//! Every call is idempotent and has a deadline. An adapter of few calls implements [`super::walk::Steer`] instead, and
//! `walk` makes an adapter of it.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::error::BalancerError;
use super::facts::{Admin, Drained, Draining, MemberFacts, Snapshot};

/// Hears how a drain goes on.
pub type OnDrain<'a> = &'a mut (dyn FnMut(Draining) + Send + Sync);
/// Hears how a member stands on its way back.
pub type OnRestore<'a> = &'a mut (dyn FnMut(String) + Send + Sync);

/// One kind of balancer. [`super::Balancer`] says what each call does.
pub trait Adapter: Send + Sync {
    /// Lowers the limit on one call.
    fn limit(&mut self, limit: Duration);

    /// Learns what was recorded of places that a balancer may have forgotten.
    fn recall(&self, found: &[MemberFacts]) {
        let _ = found;
    }

    /// Asks about these servers; returns what is known of some beside what is wrong with others.
    fn survey<'a>(&'a self, lb_names: &'a [String]) -> BoxFuture<'a, (Vec<MemberFacts>, Vec<BalancerError>)>;

    /// Takes a server out, and puts it back if that fails.
    fn drain<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnDrain<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Drained, BalancerError>>;

    /// Takes a server out where it is not, and leaves it as far out as it got if that fails.
    fn ensure_out<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnDrain<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<Drained>, BalancerError>>;

    /// Tells whether no balancer sends the server traffic.
    fn still_out<'a>(&'a self, lb_name: &'a str) -> BoxFuture<'a, Result<bool, BalancerError>>;

    /// Puts a server back as it was found.
    fn restore<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnRestore<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), BalancerError>>;

    /// Sets a server's administrative state, without a wait for anything.
    fn set<'a>(&'a self, lb_name: &'a str, to: Admin) -> BoxFuture<'a, Result<(), BalancerError>>;
}
