//! Which servers may be drained.
//!
//! No batch may leave a backend with fewer members in service than `min_in_service`. Pure.

use crate::balancer::{Admin, MemberFacts};
use crate::config::{Config, Server};
use crate::event::{Blocker, Cause, StepName};
use crate::facts::Facts;
use crate::name::ServerName;

/// A batch that would leave a backend too few members in service.
#[derive(Debug, Clone, PartialEq)]
pub struct Lack {
    /// What is wrong.
    pub blocker: Blocker,
    /// Members that were not taken out would be enough if they were healthy: it may pass while one waits.
    pub may_pass: bool,
}

/// Finds the first batch of each backend that cannot be drained.
///
/// A server that is rolled out earlier is in service by then.
pub fn lacks(config: &Config, facts: &Facts, batches: &[Vec<ServerName>]) -> Vec<Lack> {
    let Some(balancer) = &config.balancer else { return Vec::new() };
    let mut pools: Vec<(&str, &str)> = facts.members.iter().map(|m| (m.at.as_str(), m.backend.as_str())).collect();
    pools.sort_unstable();
    pools.dedup();
    let mut all = Vec::new();
    for (at, backend) in pools {
        let pool: Vec<Place<'_>> = config
            .servers
            .iter()
            .filter(|s| s.is_web())
            .flat_map(|server| {
                let own = facts.members.iter().filter(move |m| m.at == at && m.backend == backend);
                own.filter(|m| server.is_member(&m.member)).map(move |member| Place { server, member })
            })
            .collect();
        let lack = (0..batches.len()).find_map(|index| {
            let (earlier, batch) = (batches[..index].concat(), &batches[index]);
            let of = |names: &[ServerName], place: &Place<'_>| names.contains(&place.server.name);
            // A member that serves no requests (a first deploy) takes no capacity with it.
            let first = pool.iter().find(|p| of(batch, p) && p.member.in_service)?.member;
            let up = first.others_in_service + 1;
            let out = pool.iter().filter(|p| of(batch, p) && p.member.in_service).count();
            let comes_up = |p: &&Place<'_>| !p.member.in_service && p.is_to_serve(facts);
            let gained = pool.iter().filter(|p| of(&earlier, p)).filter(comes_up).count();
            let left = up.saturating_sub(out) + gained;
            let least = balancer.min_in_service.of(first.size);
            if left >= least {
                return None;
            }
            let later = |p: &&Place<'_>| !of(batch, p) && !of(&earlier, p);
            let sick =
                pool.iter().filter(later).filter(|p| p.member.admin == Admin::Ready && !p.member.in_service).count();
            let strangers = first.size.saturating_sub(pool.len());
            let strangers_up = up.saturating_sub(pool.iter().filter(|p| p.member.in_service).count());
            let may_pass = left + sick + strangers.saturating_sub(strangers_up) >= least;
            let names: Vec<&str> = batch.iter().map(ServerName::as_str).collect();
            let detail = format!(
                "draining {} would leave {left} of {} members in service, and min_in_service is {}",
                names.join(", "),
                first.size,
                balancer.min_in_service
            );
            let hint = match first.size {
                1 => {
                    "it is the only member, backups not counted: write `min_in_service = 0` in [load_balancer] if no other \
                     needs to serve meanwhile, or backups do"
                }
                _ => "wait for the other members to be up, or deploy with --parallel, which drains no server",
            };
            let cause = Cause::Balancer { at: at.into(), member: Some(backend.into()), detail, hint: hint.into() };
            let blocker = Blocker { server: batch.first().cloned(), step: StepName::Drain, failure: cause.into() };
            Some(Lack { blocker, may_pass })
        });
        all.extend(lack);
    }
    all
}

/// A server's place in a backend.
struct Place<'a> {
    server: &'a Server,
    member: &'a MemberFacts,
}

impl Place<'_> {
    /// Tells whether pitcrew alone keeps it out: once it is deployed to, it serves.
    fn is_to_serve(&self, facts: &Facts) -> bool {
        let before = facts.servers.get(&self.server.name).map(|own| own.before_left(self.member).admin);
        before.unwrap_or(self.member.admin) == Admin::Ready
    }
}
