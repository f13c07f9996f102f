//! `[load_balancer]`: defaults, and whether the stack can be drained at all without leaving nobody to serve.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeTable;

use super::{BATCH, haproxy, word};
use crate::config::problem::Problems;
use crate::config::raw::{Found, Section};
use crate::config::words::quoted;
use crate::config::{
    Aws, BalancerKind, BatchSize, Least, LoadBalancer, OnDrainTimeout, Server, SteeringCommands, Strategy, values,
};

/// How the file's servers would be walked.
pub struct Walk<'a> {
    /// All servers.
    pub servers: &'a [Server],
    /// `[app] strategy`.
    pub strategy: Option<Found<Strategy>>,
    /// The web server template's strategy.
    pub template: Option<Strategy>,
    /// `[app] batch`.
    pub batch: Option<Found<Vec<BatchSize>>>,
}

/// The keys that belong to some kinds only.
pub const OF_KIND: [(&str, &[&str]); 4] = [
    ("haproxy", &["at", "backends", "via", "user", "password", "ca_file"]),
    ("elb", &["target_groups", "region", "profile", "min_drain", "poll"]),
    ("elb-classic", &["names", "region", "profile", "min_drain", "poll"]),
    ("command", &["drain", "status", "restore", "run_on"]),
];

/// Resolves the balancer; reports what no drain could ever satisfy.
pub fn balancer(merged: &DeTable<'_>, walk: &Walk<'_>, problems: &mut Problems<'_>) -> Option<LoadBalancer> {
    let section = Section::one(merged, "load_balancer")?;
    let word_of_kind = section.text("kind")?.value;
    foreign_keys(&section, problems);
    let kind = match word_of_kind {
        "haproxy" => haproxy::kind(&section, Section::one(merged, "secrets").as_ref(), problems),
        word => kind(word, &section, problems),
    };
    let aws = matches!(kind, BalancerKind::Elb { .. } | BalancerKind::ElbClassic { .. });
    let min_in_service = section.least("min_in_service");
    members(walk.servers, &Section::many(merged, "servers"), &kind, problems);
    capacity(&section, walk, min_in_service, problems);
    let seconds = |key: &str, default: u64| section.duration(key).map_or(Duration::from_secs(default), |d| d.value);
    let endings =
        [("proceed", OnDrainTimeout::Proceed), ("kill", OnDrainTimeout::Kill), ("fail", OnDrainTimeout::Fail)];
    let ending = word(Some(&section), "on_drain_timeout", &endings);
    if let Some(found) =
        ending.filter(|e| e.value == OnDrainTimeout::Kill && !matches!(kind, BalancerKind::Haproxy { .. }))
    {
        let what =
            format!("`on_drain_timeout` cannot be \"kill\" with kind = \"{word_of_kind}\", which ends no connections");
        problems.at(found.at, what, "write \"proceed\" or \"fail\"");
    }
    if let Some(found) = ending {
        haproxy::ending(&kind, found, problems);
    }
    Some(LoadBalancer {
        kind,
        // A target group's own delay is 300 s where nobody changed it, and less than that proves nothing.
        drain_timeout: seconds("drain_timeout", if aws { 330 } else { 30 }),
        on_drain_timeout: ending.map_or(OnDrainTimeout::Proceed, |e| e.value),
        wait_after_drain: seconds("wait_after_drain", 0),
        wait_after_restore: seconds("wait_after_restore", 0),
        restore_timeout: seconds("restore_timeout", if aws { 600 } else { 120 }),
        min_healthy_time: seconds("min_healthy_time", 0),
        min_in_service: min_in_service.map_or(Least::Count(1), |n| n.value),
        capacity_timeout: seconds("capacity_timeout", 30),
    })
}

/// Resolves what belongs to one kind only.
fn kind(word: &str, section: &Section<'_>, problems: &mut Problems<'_>) -> BalancerKind {
    let text = |key: &str| section.text(key).map(|t| t.value.to_owned());
    let texts = |key: &str, hint: &str, problems: &mut Problems<'_>| -> Vec<String> {
        list(section, key, hint, problems).iter().map(|t| t.value.to_owned()).collect()
    };
    match word {
        "elb" => BalancerKind::Elb {
            target_groups: texts("target_groups", "add target_groups = [\"arn:…\"], one for each group", problems),
            aws: aws(section),
        },
        "elb-classic" => BalancerKind::ElbClassic {
            names: texts("names", "add names = [\"shop-elb\"], as AWS lists them", problems),
            aws: aws(section),
        },
        _ => {
            let mut needed = |key: &str| {
                if section.wrote(key).is_none() {
                    let what = format!("`{key}` is missing in {}", section.title);
                    problems.at(section.at, what, format!("add {key} = \"lb-ctl {key}\", a command"));
                }
                text(key).unwrap_or_default()
            };
            BalancerKind::Command(SteeringCommands {
                drain: needed("drain"),
                status: needed("status"),
                restore: needed("restore"),
                run_on: section.text("run_on").and_then(|t| values::parse_run_on(t.value).ok()).flatten(),
            })
        }
    }
}

/// Resolves the keys of both of AWS's kinds.
fn aws(section: &Section<'_>) -> Aws {
    let text = |key: &str| section.text(key).map(|t| t.value.to_owned());
    Aws {
        region: text("region"),
        profile: text("profile"),
        min_drain: section.duration("min_drain").map(|d| d.value),
        // An account's allowance is shared by all who ask.
        poll: section.duration("poll").map_or(Duration::from_secs(5), |d| d.value),
    }
}

fn foreign_keys(section: &Section<'_>, problems: &mut Problems<'_>) {
    let Some(kind) = section.text("kind") else { return };
    let own = OF_KIND.iter().find(|(name, _)| *name == kind.value).map_or(&[][..], |(_, keys)| *keys);
    let mut reported = Vec::new();
    for key in OF_KIND.iter().flat_map(|(_, keys)| *keys) {
        let Some(at) = section.wrote(key).filter(|_| !own.contains(key) && !reported.contains(key)) else { continue };
        reported.push(*key);
        let kinds: Vec<&str> = OF_KIND.iter().filter(|(_, keys)| keys.contains(key)).map(|(name, _)| *name).collect();
        problems.at(
            at,
            format!("`{key}` in {} has no meaning with kind = \"{}\"", section.title, kind.value),
            format!("it belongs to kind = \"{}\"", kinds.join("\" or \"")),
        );
    }
}

/// Reads a list that must name something, and nothing twice.
pub fn list<'a>(section: &Section<'a>, key: &str, hint: &str, problems: &mut Problems<'_>) -> Vec<Found<&'a str>> {
    let Some(wrote) = section.wrote(key) else {
        problems.at(section.at, format!("`{key}` is missing in {}", section.title), hint);
        return Vec::new();
    };
    let Some(items) = section.texts(key) else { return Vec::new() };
    if items.is_empty() {
        problems.at(wrote, format!("`{key}` in {} is empty", section.title), hint);
    }
    for (i, item) in items.iter().enumerate() {
        if items.iter().take(i).any(|earlier| earlier.value == item.value) {
            let what = format!("{} is there twice in `{key}` of {}", quoted(item.value), section.title);
            problems.at(item.at, what, "keep one of the two");
        }
    }
    items
}

/// Reports balancer names that HAProxy cannot have, and those that two servers share: draining one would drain both.
fn members(servers: &[Server], sections: &[Section<'_>], kind: &BalancerKind, problems: &mut Problems<'_>) {
    let written: BTreeMap<usize, usize> = sections
        .iter()
        .filter_map(|section| {
            let host = section.text("host")?.at;
            Some((problems.line_of(host), section.text("lb").map_or(host, |lb| lb.at)))
        })
        .collect();
    let mut seen: BTreeMap<&str, &Server> = BTreeMap::new();
    for server in servers.iter().filter(|s| s.is_web()) {
        let at = written.get(&server.line).copied().unwrap_or_default();
        if matches!(kind, BalancerKind::Haproxy { .. })
            && let Err(bad) = values::haproxy_name(&server.lb)
        {
            problems.at(at, format!("`lb` of {} {}", quoted(server.name.as_str()), bad.what), bad.hint);
        }
        if let Some(first) = seen.insert(&server.lb, server) {
            let what = format!(
                "{} and {} are both {} in the balancer",
                quoted(first.name.as_str()),
                quoted(server.name.as_str()),
                quoted(&server.lb)
            );
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

/// Reports batches that would leave fewer servers in service than must be.
fn capacity(section: &Section<'_>, walk: &Walk<'_>, least: Option<Found<Least>>, problems: &mut Problems<'_>) {
    // Without proper servers there is nothing to count; that is reported already.
    if walk.servers.is_empty() || (section.wrote("min_in_service").is_some() && least.is_none()) {
        return;
    }
    let web = walk.servers.iter().filter(|s| s.is_web()).count();
    if web == 0 {
        let what = format!("{} has nothing to drain: no server has the role \"web\"", section.title);
        return problems.at(section.at, what, "add roles = [\"web\"] to the servers behind it, or leave it out");
    }
    let written = least.map_or(Least::Count(1), |n| n.value);
    // The balancer may have more members than the stack has servers, but never fewer.
    let needed = written.of(web);
    let strategy = walk.strategy.map(|s| s.value).or(walk.template);
    let drains = matches!(strategy, Some(Strategy::Serial | Strategy::Rolling));
    if needed >= web && (least.is_some() || drains) {
        let (at, why) = match least {
            Some(found) => (found.at, format!("min_in_service = {written} in {}", section.title)),
            None => (section.at, format!("min_in_service = 1, the default in {},", section.title)),
        };
        let drained = if web == 1 { "the only web server".to_owned() } else { format!("one of {web} web servers") };
        let what = format!("{why} can never hold while {drained} is drained");
        let hint = match web - 1 {
            0 => "write min_in_service = 0 if nobody needs to serve meanwhile, or leave [load_balancer] out".to_owned(),
            most => format!("write {most} or less"),
        };
        return problems.at(at, what, hint);
    }
    let rolling = strategy == Some(Strategy::Rolling);
    let (sizes, at) = match (&walk.batch, walk.strategy) {
        (Some(batch), None) => (batch.value.clone(), batch.at),
        (Some(batch), _) if rolling => (batch.value.clone(), batch.at),
        (None, Some(strategy)) if rolling => (vec![BatchSize::Count(BATCH)], strategy.at),
        _ => return,
    };
    let largest = largest(&sizes, web);
    if largest + needed > web {
        let what = match walk.batch {
            Some(_) => format!("a batch drains {largest} of {} at once", web_servers(web)),
            None => format!("the default batch drains {largest} of {} at once", web_servers(web)),
        };
        let hint = match web.saturating_sub(needed) {
            0 | 1 => "write batch = 1, or strategy = \"serial\"".to_owned(),
            most => format!("write a `batch` of at most {most}, or a lower `min_in_service`"),
        };
        problems.at(at, format!("{what}, and min_in_service = {written} must stay"), hint);
    }
}

fn web_servers(count: usize) -> String {
    if count == 1 { "1 web server".to_owned() } else { format!("{count} web servers") }
}

/// Finds how many servers the largest batch of a walk over `total` servers has; the ramp's last size repeats.
fn largest(sizes: &[BatchSize], total: usize) -> usize {
    let (mut left, mut largest, mut step) = (total, 0, 0);
    while left > 0 {
        let size = match sizes.get(step).or(sizes.last()) {
            Some(BatchSize::Count(count)) => (*count).max(1),
            Some(BatchSize::Percent(percent)) => (total * usize::from(*percent) / 100).max(1),
            None => 1,
        };
        let taken = size.min(left);
        largest = largest.max(taken);
        left -= taken;
        step += 1;
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use BatchSize::{Count, Percent};

    #[test]
    fn the_largest_batch_of_a_walk() {
        for (sizes, total, expected) in [
            (vec![Count(2)], 4, 2),
            (vec![Count(2)], 1, 1),
            (vec![Percent(25)], 4, 1),
            (vec![Percent(25)], 3, 1),
            (vec![Percent(50)], 5, 2),
            (vec![Count(1), Percent(25), Percent(100)], 4, 2),
            (vec![Percent(100)], 4, 4),
            (vec![Count(3), Count(1)], 4, 3),
        ] {
            assert_eq!(largest(&sizes, total), expected, "{sizes:?} of {total}");
        }
    }
}
