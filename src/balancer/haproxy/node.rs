//! One HAProxy instance: what it reports of the stack's backends, and changes to it.
//!
//! Lanes that look at the same time share one reading. It decides nothing about what to change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Patience;
use super::api::{self, Api};
use super::member::Member;
use super::protocol::{self, Change};
use super::socket::Socket;
use crate::balancer::{BalancerError, MemberFacts};

/// What one instance reports: each backend of the stack with its members.
pub type Table = Vec<(String, Vec<Member>)>;

/// The ways into one instance: each reads the backends and makes changes. Which of the two it is, nobody else asks.
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
    /// How many changes have been made; a reading begun before the last one is stale.
    changes: AtomicU64,
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    began: Instant,
    changes: u64,
    table: Arc<Table>,
}

impl Node {
    /// Makes one for these backends.
    pub fn new(way: Way, backends: Vec<String>) -> Self {
        Self { way, backends, changes: AtomicU64::new(0), seen: Mutex::new(None) }
    }

    /// Shortens the limit on one call.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        let way = match self.way {
            Way::Socket(socket) => Way::Socket(socket.within(limit)),
            Way::Api(api) => Way::Api(Box::new(api.within(limit))),
        };
        Self { way, ..self }
    }

    /// The instance's address as configured.
    pub fn at(&self) -> &str {
        match &self.way {
            Way::Socket(socket) => socket.at(),
            Way::Api(api) => api.at(),
        }
    }

    /// Reads the backends, or returns a reading that began no longer than `age` ago and after the last change.
    pub async fn look(&self, age: Duration) -> Result<Arc<Table>, BalancerError> {
        let asked = Instant::now();
        // Whoever waits here asked before the next reading begins, and may use it.
        let mut seen = self.seen.lock().await;
        let changes = self.changes.load(Ordering::SeqCst);
        if let Some(seen) = seen.as_ref()
            && seen.changes == changes
            && seen.began + age >= asked
        {
            return Ok(seen.table.clone());
        }
        let began = Instant::now();
        let table = Arc::new(self.read().await?);
        *seen = Some(Seen { began, changes, table: table.clone() });
        Ok(table)
    }

    /// Reads the backends once, without patience, and makes sure that they can be changed this way.
    pub async fn inspect(&self) -> Result<Table, BalancerError> {
        self.each_valid()?;
        match &self.way {
            Way::Socket(socket) => socket.inspect(&self.backends).await,
            Way::Api(api) => api.inspect(&self.backends).await,
        }
    }

    /// Reads an instance that cannot be changed this way: a socket may show what it lets nobody change. Whom an API refuses is
    /// not let in by asking again.
    pub async fn look_only(&self) -> Option<Arc<Table>> {
        match &self.way {
            Way::Socket(_) => self.look(Duration::ZERO).await.ok(),
            Way::Api(_) => None,
        }
    }

    async fn read(&self) -> Result<Table, BalancerError> {
        self.each_valid()?;
        match &self.way {
            Way::Socket(socket) => socket.read(&self.backends, Patience::Retry).await,
            Way::Api(api) => api.read(&self.backends, Patience::Retry).await,
        }
    }

    /// Makes changes to `server`, in order. All are sent; the first refusal is the error.
    pub async fn change(&self, server: &str, changes: &[(Change, &str)]) -> Result<(), BalancerError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.valid(server)?;
        let done = match &self.way {
            Way::Socket(socket) => socket.change(server, changes).await,
            Way::Api(api) => api.change(server, changes).await,
        };
        self.changes.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// Finds a server in a reading.
    pub fn member<'t>(&self, table: &'t Table, backend: &str, server: &str) -> Result<&'t Member, BalancerError> {
        let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
        members.iter().find(|m| m.name == server).ok_or_else(|| {
            let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
            let detail = format!("the backend {backend} has no server {server}");
            let hint = format!("{}; set `lb` in [[servers]] to its name there", nearest(server, &names));
            self.error(backend, server, detail, &hint)
        })
    }

    /// Says all there is to know about a server of a reading.
    pub fn facts(&self, table: &Table, backend: &str, server: &str) -> Result<MemberFacts, BalancerError> {
        let member = self.member(table, backend, server)?;
        if let Way::Api(_) = self.way
            && let Some(why) = api::hindrance(member)
        {
            return Err(self.error(backend, server, why, api::SOCKET_HINT));
        }
        Ok(MemberFacts {
            at: self.at().to_owned(),
            backend: backend.to_owned(),
            member: server.to_owned(),
            admin: member.admin(),
            in_service: member.in_service(),
            status: member.status.clone(),
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
        let hint = "compare `lb` in [[servers]] and `backends` in [load_balancer] with haproxy.cfg";
        protocol::name(name).map_err(|e| BalancerError::new(self.at(), None, format!("cannot ask for {e}"), hint))
    }

    fn each_valid(&self) -> Result<(), BalancerError> {
        self.backends.iter().try_for_each(|backend| self.valid(backend))
    }

    /// Makes an error about a server here.
    pub fn error(&self, backend: &str, server: &str, detail: String, hint: &str) -> BalancerError {
        BalancerError::new(self.at(), Some(format!("{backend}/{server}")), detail, hint)
    }
}

/// Counts the other members of a backend that serve in normal operation: backup servers do not.
pub fn others_in_service(table: &Table, backend: &str, server: &str) -> usize {
    let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
    members.iter().filter(|m| m.name != server && !m.backup && m.in_service()).count()
}

/// Counts the members of a backend that serve in normal operation.
pub fn of_backend(table: &Table, backend: &str) -> usize {
    let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
    members.iter().filter(|m| !m.backup).count()
}

/// Names what exists, the nearest first.
pub fn nearest(name: &str, names: &[&str]) -> String {
    let mut names = names.to_vec();
    if names.is_empty() {
        return "there is none at all".to_owned();
    }
    names.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
    let more = if names.len() > 5 { ", …" } else { "" };
    format!("there are {}{more}", names.iter().take(5).copied().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bits: u32, backup: bool) -> Member {
        Member { name: name.into(), bits, backup, op_state: 2, weight: 1, ..Member::default() }
    }

    #[test]
    fn others_are_counted_without_backups_and_those_out() {
        let table = vec![
            ("a".to_owned(), vec![member("w1", 0, false), member("w2", 0, false), member("w3", 8, false)]),
            ("b".to_owned(), vec![member("w1", 0, false), member("w2", 0, true)]),
        ];
        assert_eq!(others_in_service(&table, "a", "w1"), 1);
        assert_eq!(others_in_service(&table, "a", "w3"), 2);
        assert_eq!(others_in_service(&table, "b", "w1"), 0);
        assert_eq!(others_in_service(&table, "c", "w1"), 0);
    }

    #[test]
    fn the_nearest_names_come_first() {
        let names = ["db1", "web2", "web1", "cache", "mail", "x"];
        let text = nearest("wbe1", &names);
        assert!(text.starts_with("there are web1, web2,") && text.ends_with(", …"), "{text}");
        assert_eq!(nearest("a", &[]), "there is none at all");
    }
}
