//! What a dry run says of the transfer: how much each server would be sent.
//!
//! Asks no server. A tree that was sent from another machine is unknown here.

use std::collections::BTreeMap;

use crate::event::Sent;
use crate::event::Warning;
use crate::facts::Facts;
use crate::name::ServerName;
use crate::source::Package;
use crate::source::delta::Packed;
use crate::text::units;
use crate::wording::step;

/// Says what the servers would be sent; `None` for a source that is always sent whole.
pub async fn foreseen(package: &Package, facts: &Facts, servers: &[ServerName]) -> Option<Warning> {
    package.tree.as_ref()?;
    let whole = Sent { bytes: package.payload.len, whole: package.payload.len, files: None, removed: None };
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for facts in servers.iter().filter_map(|server| facts.servers.get(server)) {
        let packed = if facts.zstd { Packed::Zstd } else { Packed::Gzip };
        let what = match &facts.cache {
            None => step::sent(whole),
            Some(cache) => match package.delta(&cache.tree, packed, async { None }).await {
                Ok(Some(delta)) => step::sent(Sent {
                    bytes: delta.payload.as_ref().map_or(0, |payload| payload.len),
                    files: Some(delta.files),
                    removed: Some(delta.removed),
                    ..whole
                }),
                _ => format!("at most {}", step::sent(whole)),
            },
        };
        *said.entry(what).or_default() += 1;
    }
    let said: Vec<String> = said.iter().map(|(what, n)| format!("{what} to {}", units::count(*n, "server"))).collect();
    (!said.is_empty()).then(|| Warning::WouldSend { what: said.join("; ") })
}
