//! The seam of the engine: what a run does outside its own memory, as two traits.
//!
//! [`Hands`] act on servers, [`Balance`] on balancers. A run has the real ones; the engine's tests have recorders that answer
//! from a table.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::balancer::{Balancer, BalancerError, Drained, Draining, MemberFacts, Snapshot};
use crate::event::{Failure, Stream};
use crate::health::{Attempt, HealthQuestion};
use crate::name::ServerName;
use crate::process::command::UserCommand;
use crate::remote::{Ear, Execution, Hosts};
use crate::script::calls::Site;

/// Hears every line of a command on the operator's machine.
pub type Hear<'a> = &'a (dyn Fn(Stream, &str) + Send + Sync);

/// What a run does on servers and on the operator's machine.
pub trait Hands: Send + Sync {
    /// Connects to the server, unless a connection stands.
    fn connect<'a>(&'a self, server: &'a ServerName) -> BoxFuture<'a, Result<(), Failure>>;

    /// Has an exec stand ready on the server, where that is possible.
    fn stand_ready<'a>(&'a self, server: &'a ServerName, site: &'a Site<'a>) -> BoxFuture<'a, ()>;

    /// Runs a script on the server.
    fn run<'a>(
        &'a self,
        server: &'a ServerName,
        execution: &'a Execution<'a>,
        ear: Ear<'a>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Failure>>;

    /// Runs a script on the server beside the one that runs there.
    ///
    /// It does so even where the server allows one session at a time.
    fn run_beside<'a>(
        &'a self,
        server: &'a ServerName,
        execution: &'a Execution<'a>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Failure>>;

    /// Sends the requests of a health check to the server's own loopback.
    fn http<'a>(
        &'a self,
        server: &'a ServerName,
        question: &'a HealthQuestion,
        limit: Duration,
    ) -> BoxFuture<'a, Attempt>;

    /// Tells whether the operator's SSH agent is forwarded to the server.
    fn lends(&self, server: &ServerName) -> bool;

    /// Runs a command on the operator's machine.
    fn here<'a>(
        &'a self,
        command: &'a UserCommand<'a>,
        stop: &'a CancellationToken,
        hear: Hear<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// Ends the connections to all servers.
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl Hands for Hosts {
    fn connect<'a>(&'a self, server: &'a ServerName) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { self.get(server)?.connect().await })
    }

    fn stand_ready<'a>(&'a self, server: &'a ServerName, site: &'a Site<'a>) -> BoxFuture<'a, ()> {
        // Best effort: if this fails, the first step that needs the connection reports why.
        Box::pin(async { drop(Hosts::stand_ready(self, server, site).await) })
    }

    fn run<'a>(
        &'a self,
        server: &'a ServerName,
        execution: &'a Execution<'a>,
        ear: Ear<'a>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Failure>> {
        Box::pin(async move { self.get(server)?.run(execution, ear).await })
    }

    fn run_beside<'a>(
        &'a self,
        server: &'a ServerName,
        execution: &'a Execution<'a>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Failure>> {
        Box::pin(async move { self.get(server)?.run_beside(execution).await })
    }

    fn http<'a>(
        &'a self,
        server: &'a ServerName,
        question: &'a HealthQuestion,
        limit: Duration,
    ) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match self.get(server) {
                Ok(host) => host.http(question, limit).await,
                Err(failure) => {
                    Attempt { error: Some(crate::wording::cause::reason(&failure.cause)), ..Attempt::default() }
                }
            }
        })
    }

    fn lends(&self, server: &ServerName) -> bool {
        self.get(server).is_ok_and(|host| host.link().target().settings.is_to_lend())
    }

    fn here<'a>(
        &'a self,
        command: &'a UserCommand<'a>,
        stop: &'a CancellationToken,
        hear: Hear<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(command.run(stop, hear))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(Hosts::close(self))
    }
}

/// What a run asks of its balancers; [`Balancer`] says what each call promises.
pub trait Balance: Send + Sync {
    /// Asks about these members.
    fn facts<'a>(&'a self, lb_names: &'a [String]) -> BoxFuture<'a, Result<Vec<MemberFacts>, Vec<BalancerError>>>;

    /// Asks about these members, for a moment again where a balancer is out of reach.
    fn facts_soon<'a>(
        &'a self,
        lb_names: &'a [String],
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Vec<MemberFacts>, Vec<BalancerError>>>;

    /// Takes a server out and waits until its connections have ended.
    fn drain<'a>(
        &'a self,
        lb_names: &'a [String],
        found: &'a Snapshot,
        on: &'a mut (dyn FnMut(Draining) + Send + Sync),
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Drained, BalancerError>>;

    /// Takes a server out again where it is not; `None`: it was still out.
    fn ensure_out<'a>(
        &'a self,
        lb_names: &'a [String],
        found: &'a Snapshot,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<Drained>, BalancerError>>;

    /// Puts a server back as it was found.
    fn restore<'a>(
        &'a self,
        lb_names: &'a [String],
        found: &'a Snapshot,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), BalancerError>>;
}

impl Balance for Balancer {
    fn facts<'a>(&'a self, lb_names: &'a [String]) -> BoxFuture<'a, Result<Vec<MemberFacts>, Vec<BalancerError>>> {
        Box::pin(Balancer::facts(self, lb_names))
    }

    fn facts_soon<'a>(
        &'a self,
        lb_names: &'a [String],
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Vec<MemberFacts>, Vec<BalancerError>>> {
        Box::pin(Balancer::facts_soon(self, lb_names, stop))
    }

    fn drain<'a>(
        &'a self,
        lb_names: &'a [String],
        found: &'a Snapshot,
        on: &'a mut (dyn FnMut(Draining) + Send + Sync),
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Drained, BalancerError>> {
        Box::pin(Balancer::drain(self, lb_names, found, on, stop))
    }

    fn ensure_out<'a>(
        &'a self,
        lb_names: &'a [String],
        found: &'a Snapshot,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<Drained>, BalancerError>> {
        Box::pin(async move { Balancer::ensure_out(self, lb_names, found, &mut |_| {}, stop).await })
    }

    fn restore<'a>(
        &'a self,
        lb_names: &'a [String],
        found: &'a Snapshot,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), BalancerError>> {
        Box::pin(async move { Balancer::restore(self, lb_names, found, &mut |_| {}, stop).await })
    }
}
