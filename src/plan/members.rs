//! Whether members are the servers that the file takes them for, and what else sends those traffic.
//!
//! Pure. A member whose address is another server's is refused. What cannot be known is never refused: addresses are
//! translated, hosts have several, and private networks use the same ones.

use std::net::IpAddr;

use crate::balancer::{Admin, MemberFacts};
use crate::config::{BalancerKind, Config, Server};
use crate::event::{Blocker, Cause, Finding, StepName, Warning};
use crate::facts::Facts;

/// The members of a server, each with its address where that means the same everywhere.
fn own<'a>(
    server: &'a Server,
    members: &'a [MemberFacts],
) -> impl Iterator<Item = (&'a MemberFacts, Option<IpAddr>)> + 'a {
    let own = members.iter().filter(|m| server.is_web() && server.is_member(&m.member));
    own.map(|member| {
        let address = member.address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        // The balancer's own loopback says nothing of a server.
        let loopback =
            |ip: &IpAddr| *ip == IpAddr::from([127, 0, 0, 1]) || *ip == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        (member, address.filter(|ip| !loopback(ip) && !ip.is_unspecified()))
    })
}

fn checks(config: &Config) -> bool {
    let kind = config.balancer.as_ref().map(|balancer| &balancer.kind);
    matches!(kind, Some(BalancerKind::Haproxy { access, .. }) if !access.unchecked)
}

/// The server whose address this is, unless it is `server`'s own or that of several.
fn owner<'a>(config: &'a Config, facts: &Facts, server: &Server, address: IpAddr) -> Option<&'a Server> {
    let has = |s: &Server| facts.servers.get(&s.name).is_some_and(|found| found.addresses.contains(&address));
    if has(server) {
        return None;
    }
    let mut others = config.servers.iter().filter(|s| s.name != server.name && has(s));
    others.next().filter(|_| others.next().is_none())
}

fn listed(addresses: &[IpAddr]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for address in addresses.iter().map(IpAddr::to_string) {
        if !shown.contains(&address) {
            shown.push(address);
        }
    }
    shown.join(", ")
}

/// Refuses those of these servers whose member's address is that of another server.
pub fn mistaken(config: &Config, facts: &Facts, members: &[MemberFacts], servers: &[&Server]) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for server in servers.iter().filter(|_| checks(config)) {
        let Some(found) = facts.servers.get(&server.name) else { continue };
        for (member, address) in own(server, members) {
            let Some((address, other)) = address.and_then(|a| Some((a, owner(config, facts, server, a)?))) else {
                continue;
            };
            let detail = format!(
                "it is {address} there, an address of {}, and not of {}, which has {}",
                other.name,
                server.name,
                listed(&found.addresses)
            );
            let there = |m: &&MemberFacts| (&m.at, &m.backend) == (&member.at, &member.backend);
            let fits = |m: &&MemberFacts| m.address.parse().is_ok_and(|ip: IpAddr| found.addresses.contains(&ip));
            let right =
                members.iter().filter(there).find(fits).map(|m| format!(" (its address is that of {})", m.label()));
            let hint = format!(
                "set `lb` of {} in [[servers]] to its own name there{}, or correct haproxy.cfg; where addresses are \
                 translated, set check_addresses = false in [load_balancer]",
                server.name,
                right.unwrap_or_default()
            );
            let cause = Cause::Balancer { at: member.at.clone(), member: Some(member.label()), detail, hint };
            blockers.push(Blocker { server: Some(server.name.clone()), step: StepName::Drain, failure: cause.into() });
        }
    }
    blockers
}

/// Names members that serve nothing before the run although nothing has taken them out.
///
/// Before its first release a server's checks fail, and nothing is wrong with that.
pub fn down(servers: &[&Server], facts: &Facts) -> Vec<Finding> {
    let served = |s: &&&Server| facts.servers.get(&s.name).is_some_and(|found| found.current.is_some());
    let of = |server: &Server, m: &MemberFacts| Finding::DownBefore {
        of: server.name.clone(),
        member: format!("{} on {}", m.label(), m.at),
        status: m.status.clone(),
    };
    let all = servers.iter().filter(served).flat_map(|server| {
        let own = own(server, &facts.members).map(|(member, _)| member);
        own.filter(|m| m.admin == Admin::Ready && !m.in_service).map(|m| of(server, m))
    });
    all.collect()
}

/// Names members whose address is no server's.
///
/// They may be another host, or their addresses are translated on the way.
pub fn strange(config: &Config, facts: &Facts) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for server in config.servers.iter().filter(|_| checks(config)) {
        let Some(found) = facts.servers.get(&server.name).filter(|f| !f.addresses.is_empty()) else { continue };
        for (member, address) in own(server, &facts.members) {
            let Some(address) = address.filter(|a| !found.addresses.contains(a)) else { continue };
            if owner(config, facts, server, address).is_none() {
                warnings.push(Warning::StrangeAddress {
                    of: server.name.clone(),
                    member: format!("{} on {}", member.label(), member.at),
                    address: address.to_string(),
                    own: listed(&found.addresses),
                });
            }
        }
    }
    warnings
}

/// Names what else sends the servers the stack's traffic, and is never drained.
pub fn elsewhere<'a>(servers: impl Iterator<Item = &'a Server>, members: &[MemberFacts]) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    for server in servers {
        for (member, _) in own(server, members).filter(|(member, _)| !member.also.is_empty()) {
            let of = server.name.clone();
            let warning = Warning::AlsoSentTo { of, at: member.at.clone(), places: member.also.clone() };
            // In two backends with the same neighbours it is said once.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// Says of servers that some of the backends have, and others do not, which those are.
pub fn partial(config: &Config, members: &[MemberFacts]) -> Vec<Warning> {
    let Some(BalancerKind::Haproxy { backends, .. }) = config.balancer.as_ref().map(|b| &b.kind) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    for server in &config.servers {
        let mut ats: Vec<&str> = own(server, members).map(|(m, _)| m.at.as_str()).collect();
        ats.dedup();
        for at in ats {
            let has = |b: &&String| own(server, members).any(|(m, _)| m.at == at && m.backend == **b);
            let (has, lacks): (Vec<String>, Vec<String>) = backends.iter().cloned().partition(|b| has(&b));
            if !lacks.is_empty() {
                warnings.push(Warning::InSomeBackends { of: server.name.clone(), at: at.to_owned(), has, lacks });
            }
        }
    }
    warnings
}
