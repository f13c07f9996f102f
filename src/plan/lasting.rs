//! How long a walk waits for the balancer, whatever else it does: told before the run, since nobody expects an hour.
//!
//! Owns the sum and its words. What each place takes is told by the adapter ([`MemberFacts::out_takes`] and `back_takes`).

use std::time::Duration;

use crate::balancer::{Admin, MemberFacts};
use crate::config::{LoadBalancer, Server};
use crate::name::ServerName;

/// A walk that waits for less is not worth a word.
const WORTH: Duration = Duration::from_secs(20);

/// Says how long a walk over these batches is expected to wait for the balancer; `None`: not worth a word.
pub fn told(
    balancer: &LoadBalancer,
    members: &[MemberFacts],
    servers: &[&Server],
    batches: &[Vec<ServerName>],
) -> Option<String> {
    let of = |name: &ServerName| {
        let lb = servers.iter().find(|s| s.name == *name && s.is_web()).map(|s| s.lb.as_str())?;
        let places = || members.iter().filter(|m| m.member == lb && m.admin == Admin::Ready);
        places().next()?;
        let longest = |takes: fn(&MemberFacts) -> u64| Duration::from_secs(places().map(takes).max().unwrap_or(0));
        Some((longest(|m| m.out_takes), longest(|m| m.back_takes)))
    };
    let (mut all, mut most_out, mut most_back) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for batch in batches {
        let takes: Vec<(Duration, Duration)> = batch.iter().filter_map(of).collect();
        let (Some(out), Some(back)) = (takes.iter().map(|t| t.0).max(), takes.iter().map(|t| t.1).max()) else {
            continue;
        };
        // A drain that takes longer is not waited for.
        let out = out.min(balancer.drain_timeout) + balancer.wait_after_drain;
        let back = back + balancer.min_healthy_time + balancer.wait_after_restore;
        (most_out, most_back) = (most_out.max(out), most_back.max(back));
        all += out + back;
    }
    if all < WORTH {
        return None;
    }
    let (out, back, all) = (shown(most_out), shown(most_back), shown(all));
    Some(format!(
        "the balancer needs up to {out} to take a server out and about {back} to put it back, {all} in this whole run; \
         its own delays and the waits in [load_balancer] make it so"
    ))
}

fn shown(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::walk::tests::config;
    use crate::config::BalancerKind;

    fn server(name: &str) -> Server {
        let host = name.to_owned();
        let roles = vec!["web".to_owned()];
        Server { name: ServerName(host.clone()), lb: host.clone(), host, user: None, port: None, roles, line: 1 }
    }

    fn member(name: &str, out_takes: u64, back_takes: u64) -> MemberFacts {
        MemberFacts { member: name.into(), out_takes, back_takes, ..MemberFacts::default() }
    }

    #[test]
    fn batches_add_up_and_servers_of_one_batch_do_not() {
        let balancer = LoadBalancer {
            drain_timeout: Duration::from_secs(330),
            ..config(BalancerKind::Haproxy { at: Vec::new(), backends: Vec::new() })
        };
        let all = ["a", "b", "c"].map(server);
        let servers: Vec<&Server> = all.iter().collect();
        let names = |names: &[&str]| -> Vec<ServerName> { names.iter().map(|n| ServerName((*n).into())).collect() };
        // One server in two groups waits for the slower.
        let members = [member("a", 300, 60), member("a", 20, 210), member("b", 300, 60), member("c", 300, 60)];
        let walk = [names(&["a"]), names(&["b"]), names(&["c"])];
        let text = told(&balancer, &members, &servers, &walk).unwrap();
        // 510 + 360 + 360 s
        assert!(text.contains("up to 5 min") && text.contains("about 4 min") && text.contains("21 min"), "{text}");
        let text = told(&balancer, &members, &servers, &[names(&["a", "b", "c"])]).unwrap();
        assert!(text.contains("9 min in this"), "{text}");
        let hasty = LoadBalancer { drain_timeout: Duration::from_secs(10), ..balancer.clone() };
        let text = told(&hasty, &members[2..3], &servers, &[names(&["b"])]).unwrap();
        assert!(text.contains("up to 10 s") && text.contains("70 s in this"), "{text}");
        assert_eq!(told(&balancer, &[member("a", 0, 0)], &servers, &walk), None);
        let waits = LoadBalancer { wait_after_drain: Duration::from_secs(30), ..balancer };
        let text = told(&waits, &[member("a", 0, 0)], &servers, &walk).unwrap();
        assert!(text.contains("up to 30 s"), "{text}");
        let out = MemberFacts { admin: Admin::Maint, ..member("a", 300, 60) };
        assert_eq!(told(&waits, &[out], &servers, &walk), None, "it is not drained");
    }
}
