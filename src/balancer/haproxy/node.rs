//! One HAProxy instance: what it reports of the stack's backends, and changes to it.
//!
//! Lanes that look at the same time share one reading. It decides nothing about what to change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Client, Patience};
use super::member::Member;
use super::protocol::{self, Change};
use crate::balancer::{BalancerError, MemberFacts};

/// What one instance reports: each backend of the stack with its members.
pub type Table = Vec<(String, Vec<Member>)>;

/// One HAProxy instance.
pub struct Node {
    client: Client,
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
    pub fn new(client: Client, backends: Vec<String>) -> Self {
        Self { client, backends, changes: AtomicU64::new(0), seen: Mutex::new(None) }
    }

    /// Shortens the limit on one call.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { client: self.client.within(limit), ..self }
    }

    /// The instance's address as configured.
    pub fn at(&self) -> &str {
        self.client.at()
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
        let table = Arc::new(self.read(Patience::Retry).await?);
        *seen = Some(Seen { began, changes, table: table.clone() });
        Ok(table)
    }

    async fn read(&self, patience: Patience) -> Result<Table, BalancerError> {
        let mut commands = Vec::new();
        for backend in &self.backends {
            self.valid(backend)?;
            commands.push(protocol::show_state(backend));
            commands.push(protocol::show_stat(backend));
        }
        let answers = self.client.ask(&commands, patience).await?;
        let mut table = Vec::new();
        for (backend, answer) in self.backends.iter().zip(answers.chunks_exact(2)) {
            let [state, stat] = answer else { continue };
            if protocol::no_backend(state) || protocol::no_backend(stat) {
                return Err(self.no_backend(backend).await);
            }
            let members = protocol::members(backend, state, stat).map_err(|e| self.client.error(None, e, ""))?;
            table.push((backend.clone(), members));
        }
        Ok(table)
    }

    /// Reads the backends once, without patience, and makes sure that the socket allows changes.
    pub async fn inspect(&self) -> Result<Table, BalancerError> {
        let level = self.client.ask(&[protocol::SHOW_LEVEL.to_owned()], Patience::Once).await?;
        let level = level.first().map(|l| l.trim()).unwrap_or_default();
        // Any other text comes from an HAProxy that does not know the question.
        if matches!(level, "user" | "operator") {
            let detail = format!("its socket grants only the level {level}, and draining needs admin");
            return Err(self.client.error(None, detail, protocol::LEVEL_HINT));
        }
        self.read(Patience::Once).await
    }

    /// Makes changes to `server`, in order. All are sent; the first refusal is the error.
    pub async fn change(&self, server: &str, changes: &[(Change, &str)]) -> Result<(), BalancerError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.valid(server)?;
        let commands: Vec<String> = changes.iter().map(|(change, backend)| change.command(backend, server)).collect();
        let answers = self.client.ask(&commands, Patience::Retry).await;
        self.changes.fetch_add(1, Ordering::SeqCst);
        for ((_, backend), answer) in changes.iter().zip(answers?) {
            if let Some((detail, hint)) = protocol::refusal(&answer) {
                return Err(self.client.error(Some(format!("{backend}/{server}")), detail, &hint));
            }
        }
        Ok(())
    }

    /// Finds a server in a reading.
    pub fn member<'t>(&self, table: &'t Table, backend: &str, server: &str) -> Result<&'t Member, BalancerError> {
        let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
        members.iter().find(|m| m.name == server).ok_or_else(|| {
            let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
            let detail = format!("the backend {backend} has no server {server}");
            let hint = format!("{}; set `lb` in [[servers]] to its name there", nearest(server, &names));
            self.client.error(Some(format!("{backend}/{server}")), detail, &hint)
        })
    }

    /// Says all there is to know about a server of a reading.
    pub fn facts(&self, table: &Table, backend: &str, server: &str) -> Result<MemberFacts, BalancerError> {
        let member = self.member(table, backend, server)?;
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
        protocol::name(name).map_err(|e| self.client.error(None, format!("cannot ask for {e}"), hint))
    }

    async fn no_backend(&self, backend: &str) -> BalancerError {
        let listed = self.client.ask(&[protocol::SHOW_BACKENDS.to_owned()], Patience::Once).await;
        let names = listed.ok().and_then(|a| a.first().map(|s| protocol::backends(s))).unwrap_or_default();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = format!("{}; set `backends` in [load_balancer]", nearest(backend, &names));
        self.client.error(Some(backend.to_owned()), format!("it has no backend {backend}"), &hint)
    }

    /// Makes an error about a server here.
    pub fn error(&self, backend: &str, server: &str, detail: String, hint: &str) -> BalancerError {
        self.client.error(Some(format!("{backend}/{server}")), detail, hint)
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
fn nearest(name: &str, names: &[&str]) -> String {
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
