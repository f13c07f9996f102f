//! One HAProxy instance: what it reports of the stack's backends, and changes to it.
//!
//! Lanes that look at the same time share one reading. It decides nothing about what to change.

use std::sync::Arc;
use std::time::Duration;

use super::api::{self, Api};
use super::fault::HaproxyFault;
use super::limits::Tries;
use super::member::BackendMember;
use super::protocol::{self, ServerChange};
use super::socket::Socket;
use super::table::{Neighbour, Table, of_backend, others_in_service};
use crate::balancer::error::{BalancerError, BalancerFault};
use crate::balancer::facts::MemberFacts;
use crate::balancer::reading::SharedReading;

/// The ways into one instance: each reads the backends and makes changes.
pub enum Way {
    /// Its Runtime API.
    Socket(Socket),
    /// Its Data Plane API.
    Api(Box<Api>),
}

/// One HAProxy instance.
pub struct Node {
    way: Way,
    backends: Vec<String>,
    tables: SharedReading<Table>,
}

impl Node {
    /// Makes an instance with these backends; connects to nothing.
    pub fn new(way: Way, backends: Vec<String>) -> Self {
        Self { way, backends, tables: SharedReading::default() }
    }

    /// Shortens the limit on one call.
    pub fn limit(&mut self, limit: Duration) {
        match &mut self.way {
            Way::Socket(socket) => socket.limit(limit),
            Way::Api(api) => api.limit(limit),
        }
    }

    /// The instance's address as configured.
    pub fn at(&self) -> &str {
        match &self.way {
            Way::Socket(socket) => socket.at(),
            Way::Api(api) => api.at(),
        }
    }

    /// Reads the backends, or returns a reading that began at most `age` ago and after the last change.
    pub async fn look(&self, age: Duration) -> Result<Arc<Table>, BalancerError> {
        self.tables.get(age, self.read()).await
    }

    /// Reads the backends with one try, and makes sure that they can be changed this way.
    pub async fn inspect(&self) -> Result<(Table, Vec<Neighbour>), BalancerError> {
        self.each_valid()?;
        match &self.way {
            Way::Socket(socket) => socket.inspect(&self.backends).await,
            Way::Api(api) => api.inspect(&self.backends).await,
        }
    }

    /// Reads an instance that cannot be changed this way.
    ///
    /// A socket may show what it does not allow to be changed. An API that refuses the login shows nothing.
    pub async fn look_only(&self) -> Option<Arc<Table>> {
        match &self.way {
            Way::Socket(_) => self.look(Duration::ZERO).await.ok(),
            Way::Api(_) => None,
        }
    }

    async fn read(&self) -> Result<Table, BalancerError> {
        self.each_valid()?;
        match &self.way {
            Way::Socket(socket) => socket.read(&self.backends, Tries::Retry).await,
            Way::Api(api) => api.read(&self.backends, Tries::Retry).await,
        }
    }

    /// Makes changes to `server`, in order. All are sent; the first refusal is the error.
    pub async fn change(&self, server: &str, changes: &[(ServerChange, &str)]) -> Result<(), BalancerError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.valid(server)?;
        let done = match &self.way {
            Way::Socket(socket) => socket.change(server, changes).await,
            Way::Api(api) => api.change(server, changes).await,
        };
        self.tables.changed();
        done
    }

    /// Lists the backends of a reading that have a server, with the server there.
    ///
    /// # Errors
    /// When none has it.
    pub fn places<'t>(
        &self,
        table: &'t Table,
        server: &str,
    ) -> Result<Vec<(&'t str, &'t BackendMember)>, BalancerError> {
        let found = |(backend, members): &'t (String, Vec<BackendMember>)| {
            members.iter().find(|m| m.name == server).map(|member| (backend.as_str(), member))
        };
        let places: Vec<(&str, &BackendMember)> = table.iter().filter_map(found).collect();
        match table.first().filter(|_| places.is_empty()) {
            Some((backend, _)) => self.member(table, backend, server).map(|_| places),
            None => Ok(places),
        }
    }

    /// Finds a server in a reading.
    pub fn member<'t>(
        &self,
        table: &'t Table,
        backend: &str,
        server: &str,
    ) -> Result<&'t BackendMember, BalancerError> {
        let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
        members.iter().find(|m| m.name == server).ok_or_else(|| {
            let names = members.iter().map(|m| m.name.clone()).collect();
            let fault = HaproxyFault::NoServer { backend: backend.to_owned(), server: server.to_owned(), names };
            self.error(backend, server, fault)
        })
    }

    /// Says all there is to know about a server of a reading.
    pub fn facts(&self, table: &Table, backend: &str, server: &str) -> Result<MemberFacts, BalancerError> {
        let member = self.member(table, backend, server)?;
        if let Way::Api(_) = self.way
            && let Some(why) = api::hindrance(member)
        {
            return Err(self.error(backend, server, why));
        }
        Ok(MemberFacts {
            at: self.at().to_owned(),
            backend: backend.to_owned(),
            member: server.to_owned(),
            admin: member.admin(),
            in_service: member.in_service(),
            status: member.status.clone(),
            address: member.address.clone(),
            port: member.port,
            sessions: Some(member.sessions),
            others_in_service: others_in_service(table, backend, server),
            size: of_backend(table, backend),
            bits: member.bits,
            agent: member.agent_enabled(),
            since: member.since,
            ..MemberFacts::default()
        })
    }

    /// Refuses names that HAProxy cannot have.
    fn valid(&self, name: &str) -> Result<(), BalancerError> {
        protocol::name(name).map_err(|e| BalancerError::new(self.at(), None, HaproxyFault::BadName(e)))
    }

    fn each_valid(&self) -> Result<(), BalancerError> {
        self.backends.iter().try_for_each(|backend| self.valid(backend))
    }

    /// Makes an error about a server here.
    pub fn error(&self, backend: &str, server: &str, fault: impl BalancerFault) -> BalancerError {
        BalancerError::new(self.at(), Some(format!("{backend}/{server}")), fault)
    }
}
