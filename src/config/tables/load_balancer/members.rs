//! The servers' names in the balancer.

use std::collections::BTreeMap;

use super::types::BalancerKind;
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::tables::servers::Server;
use crate::config::values;
use crate::config::words::quoted;

/// Reports balancer names that HAProxy cannot have, and names that two servers share.
///
/// Draining one of two servers that share a name would drain both.
pub(super) fn members(servers: &[Server], sections: &[Section<'_>], kind: &BalancerKind, problems: &mut Problems<'_>) {
    let written: BTreeMap<usize, usize> = sections
        .iter()
        .filter_map(|section| {
            let host = section.text("host")?.at;
            Some((problems.line_of(host), section.texts("lb").and_then(|lb| Some(lb.first()?.at)).unwrap_or(host)))
        })
        .collect();
    let mut seen: BTreeMap<&str, &Server> = BTreeMap::new();
    for server in servers.iter().filter(|s| s.is_web()) {
        let at = written.get(&server.line).copied().unwrap_or_default();
        for name in &server.lb {
            if matches!(kind, BalancerKind::Haproxy { .. })
                && let Err(bad) = values::haproxy_name(name)
            {
                problems.at(at, format!("`lb` of {} {}", quoted(server.name.as_str()), bad.what), bad.hint);
            }
            match seen.insert(name, server) {
                None => {}
                Some(first) if first.name == server.name => {
                    let what = format!("`lb` of {} names {} twice", quoted(server.name.as_str()), quoted(name));
                    problems.at(at, what, "leave one of the two out");
                }
                Some(first) => {
                    let (first, second) = (quoted(first.name.as_str()), quoted(server.name.as_str()));
                    let what = format!("{first} and {second} are both {} in the balancer", quoted(name));
                    problems.at(
                        at,
                        what,
                        match kind {
                            BalancerKind::Haproxy { .. } => {
                                "give each an `lb` of its own, as HAProxy's configuration names them"
                            }
                            _ => "give each an `lb` of its own",
                        },
                    );
                }
            }
        }
    }
}
