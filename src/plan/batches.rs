//! Batches: in which order the servers go, and how many at a time.
//!
//! Every strategy is an arm here and nothing elsewhere.

use crate::config::{BatchSize, Server, Strategy};
use crate::name::ServerName;

/// What decides the order of the walk.
pub struct Walk<'a> {
    /// The servers of the run, in the file's order.
    pub servers: &'a [&'a Server],
    /// The migration server, when migrations run.
    pub migrate_on: Option<&'a ServerName>,
    /// Servers that an earlier run left behind.
    pub behind: &'a [ServerName],
}

/// Splits the servers into batches, in the order in which they are rolled out.
///
/// Web servers are counted by `sizes` (percentages are of all servers of the run, rounded down, at least one; the last
/// size repeats). Servers without the `web` role are never drained and join the first batch.
pub fn split(walk: &Walk<'_>, strategy: Strategy, sizes: &[BatchSize]) -> Vec<Vec<ServerName>> {
    let rank = |s: &Server| match () {
        () if strategy == Strategy::Parallel => 0,
        () if walk.migrate_on == Some(&s.name) => 0,
        () if walk.behind.contains(&s.name) => 1,
        () => 2,
    };
    let mut ordered: Vec<&Server> = walk.servers.to_vec();
    ordered.sort_by_key(|s| rank(s));
    if ordered.is_empty() {
        return Vec::new();
    }
    if strategy == Strategy::Parallel {
        return vec![ordered.iter().map(|s| s.name.clone()).collect()];
    }
    let (web, rest): (Vec<&Server>, Vec<&Server>) = ordered.into_iter().partition(|s| s.is_web());
    let serial = [BatchSize::Count(1)];
    let sizes = if strategy == Strategy::Serial || sizes.is_empty() { &serial[..] } else { sizes };
    let mut batches: Vec<Vec<ServerName>> = Vec::new();
    let mut left = &web[..];
    while !left.is_empty() {
        let size = sizes.get(batches.len()).or(sizes.last()).map_or(1, |s| count(*s, walk.servers.len()));
        let (now, later) = left.split_at(size.min(left.len()));
        batches.push(now.iter().map(|s| s.name.clone()).collect());
        left = later;
    }
    // The migration server leads the first batch even when it takes no web traffic itself.
    let rest = rest.into_iter().map(|s| s.name.clone());
    match batches.first_mut() {
        Some(first) => {
            let (lead, follow): (Vec<_>, Vec<_>) = rest.partition(|name| walk.migrate_on == Some(name));
            first.splice(0..0, lead);
            first.extend(follow);
        }
        None => batches.push(rest.collect()),
    }
    batches
}

/// How many servers a size means in a run of `all` servers: at least one.
fn count(size: BatchSize, all: usize) -> usize {
    match size {
        BatchSize::Count(n) => n.max(1),
        BatchSize::Percent(p) => (all * usize::from(p) / 100).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<Server> {
        text.split_whitespace()
            .map(|word| {
                let (name, role) = word.split_once(':').unwrap_or((word, "web"));
                Server {
                    name: ServerName(name.into()),
                    host: name.into(),
                    user: None,
                    port: None,
                    roles: vec![role.into()],
                    lb: vec![name.into()],
                    line: 1,
                }
            })
            .collect()
    }

    fn walk(text: &str, migrate_on: Option<&str>, behind: &str, strategy: Strategy, sizes: &[BatchSize]) -> String {
        let servers = servers(text);
        let refs: Vec<&Server> = servers.iter().collect();
        let migrate_on = migrate_on.map(|m| ServerName(m.into()));
        let behind: Vec<ServerName> = behind.split_whitespace().map(|b| ServerName(b.into())).collect();
        let walk = Walk { servers: &refs, migrate_on: migrate_on.as_ref(), behind: &behind };
        let batches = split(&walk, strategy, sizes);
        batches
            .iter()
            .map(|b| b.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join(" | ")
    }

    use BatchSize::{Count, Percent};
    use Strategy::{Parallel, Rolling, Serial};

    #[test]
    fn every_strategy_is_a_way_to_cut() {
        assert_eq!(walk("a b c d", None, "", Parallel, &[Count(2)]), "a b c d");
        assert_eq!(walk("a b c d", None, "", Serial, &[Count(2)]), "a | b | c | d");
        assert_eq!(walk("a b c d e", None, "", Rolling, &[Count(2)]), "a b | c d | e");
        assert_eq!(walk("a b c d e f g h", None, "", Rolling, &[Percent(25)]), "a b | c d | e f | g h");
        assert_eq!(walk("a b c", None, "", Rolling, &[Percent(25)]), "a | b | c");
        assert_eq!(
            walk("a b c d e f g h", None, "", Rolling, &[Count(1), Percent(25), Percent(100)]),
            "a | b c | d e f g h"
        );
        assert_eq!(walk("", None, "", Serial, &[]), "");
    }

    #[test]
    fn migration_server_first_then_those_left_behind() {
        assert_eq!(walk("a b c d", Some("c"), "d b", Serial, &[]), "c | b | d | a");
        assert_eq!(walk("a b c d", None, "d", Serial, &[]), "d | a | b | c");
    }

    #[test]
    fn servers_without_traffic_join_the_first_batch() {
        assert_eq!(walk("a b w:worker x:cron", None, "", Serial, &[]), "a w x | b");
        assert_eq!(walk("a b d:db w:worker", Some("d"), "", Serial, &[]), "d a w | b");
        assert_eq!(walk("w:worker x:cron", None, "", Rolling, &[Count(1)]), "w x");
    }
}
