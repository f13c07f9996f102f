//! One HAProxy through its Runtime API: what is asked in one go, and what an answer means.

use std::time::Duration;

use super::client::Client;
use super::fault::HaproxyFault;
use super::limits::Tries;
use super::protocol::{self, ChangeRefusal, ServerChange};
use super::table::{Neighbour, Table};
use crate::balancer::error::BalancerError;

/// A socket that speaks HAProxy's Runtime API.
pub struct Socket {
    client: Client,
}

impl Socket {
    /// Takes the client of one socket.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Shortens the limit on one call.
    pub fn limit(&mut self, limit: Duration) {
        self.client.limit(limit);
    }

    /// Returns the address, as configured.
    pub fn at(&self) -> &str {
        self.client.at()
    }

    /// Reads backends.
    pub async fn read(&self, backends: &[String], tries: Tries) -> Result<Table, BalancerError> {
        let answers = self.client.ask(&questions(backends), tries).await?;
        self.table(backends, &answers, tries).await
    }

    /// Makes a reading of the answers to [`questions`].
    async fn table(&self, backends: &[String], answers: &[String], tries: Tries) -> Result<Table, BalancerError> {
        let mut table = Vec::new();
        let Some((stat, states)) = answers.split_first() else { return Ok(table) };
        for (backend, state) in backends.iter().zip(states) {
            if protocol::no_backend(state) {
                return Err(self.no_backend(backend).await);
            }
            let members = protocol::members(backend, state, stat).map_err(|e| self.senseless(e))?;
            table.push((backend.clone(), members));
        }
        self.add_old(&mut table, tries).await?;
        Ok(table)
    }

    /// Adds the sessions of workers before a reload: no drain ends them, and they are open all the same.
    async fn add_old(&self, table: &mut Table, tries: Tries) -> Result<(), BalancerError> {
        for worker in self.client.old_workers(tries).await? {
            let asked = self.client.ask_old(worker, &[protocol::SHOW_STAT.to_owned()]).await?;
            let Some(stat) = asked.as_ref().and_then(|answers| answers.first()) else { continue };
            // It may know another configuration.
            for (backend, members) in table.iter_mut() {
                let open = protocol::sessions(backend, stat).map_err(|e| self.senseless(e))?;
                for member in members {
                    let more = open.get(&member.name).copied().unwrap_or(0);
                    member.sessions = member.sessions.saturating_add(more);
                }
            }
        }
        Ok(())
    }

    /// Reads backends and their neighbours with one try, and makes sure that the socket allows changes.
    pub async fn inspect(&self, backends: &[String]) -> Result<(Table, Vec<Neighbour>), BalancerError> {
        let mut commands = vec![protocol::SHOW_LEVEL.to_owned(), protocol::SHOW_ALL.to_owned()];
        commands.extend(questions(backends));
        let answers = self.client.ask(&commands, Tries::Once).await?;
        let (level, answers) = answers.split_first().map(|(level, rest)| (level.trim(), rest)).unwrap_or_default();
        let (all, answers) = answers.split_first().map(|(all, rest)| (all.as_str(), rest)).unwrap_or_default();
        // Any other text comes from an HAProxy that does not know the question.
        if matches!(level, "user" | "operator") {
            return Err(self.client.error(None, HaproxyFault::Level(level.to_owned())));
        }
        let neighbours = protocol::neighbours(all);
        Ok((self.table(backends, answers, Tries::Once).await?, neighbours))
    }

    /// Makes changes to `server`, in order. All are sent; the first refusal is the error.
    pub async fn change(&self, server: &str, changes: &[(ServerChange, &str)]) -> Result<(), BalancerError> {
        let commands: Vec<String> = changes.iter().map(|(change, backend)| change.command(backend, server)).collect();
        let answers = self.client.ask(&commands, Tries::Retry).await?;
        self.kill_old(server, changes).await?;
        for ((_, backend), answer) in changes.iter().zip(answers) {
            if let Some(refusal) = ChangeRefusal::read(&answer) {
                let member = Some(format!("{backend}/{server}"));
                return Err(self.client.error(member, HaproxyFault::Refused(refusal)));
            }
        }
        Ok(())
    }

    /// Ends the sessions that workers before a reload have, where sessions are ended.
    async fn kill_old(&self, server: &str, changes: &[(ServerChange, &str)]) -> Result<(), BalancerError> {
        let backends = killed(changes);
        if backends.is_empty() {
            return Ok(());
        }
        for worker in self.client.old_workers(Tries::Retry).await? {
            let listed = self.client.ask_old(worker, &[protocol::SHOW_SESSIONS.to_owned()]).await?.unwrap_or_default();
            let mut kills = Vec::new();
            for (listed, backend) in listed.iter().flat_map(|l| backends.iter().map(move |b| (l, b))) {
                kills.extend(protocol::end_sessions(listed, backend, server));
            }
            // A session that has ended meanwhile is not found, which is just as well.
            self.client.ask_old(worker, &kills).await?;
        }
        Ok(())
    }

    async fn no_backend(&self, backend: &str) -> BalancerError {
        let listed = self.client.ask(&[protocol::SHOW_BACKENDS.to_owned()], Tries::Once).await;
        let names = listed.ok().and_then(|a| a.first().map(|s| protocol::backends(s))).unwrap_or_default();
        let fault = HaproxyFault::NoBackend { backend: backend.to_owned(), names };
        self.client.error(Some(backend.to_owned()), fault)
    }

    fn senseless(&self, what: String) -> BalancerError {
        self.client.error(None, HaproxyFault::Senseless(what))
    }
}

/// What is asked: the statistics, and of each backend its members' states.
fn questions(backends: &[String]) -> Vec<String> {
    let states = backends.iter().map(|backend| protocol::show_state(backend));
    std::iter::once(protocol::SHOW_STAT.to_owned()).chain(states).collect()
}

/// The backends in which sessions are to be ended.
fn killed(changes: &[(ServerChange, &str)]) -> Vec<String> {
    let kills = changes.iter().filter(|(change, _)| *change == ServerChange::KillSessions);
    kills.map(|(_, backend)| (*backend).to_owned()).collect()
}
