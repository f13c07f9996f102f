//! `[load_balancer]` of the kinds `elb` and `elb-classic`.

use std::time::Duration;

use super::kind::KindOfBalancer;
use super::types::{Aws, BalancerKind};
use crate::config::problem::Problems;
use crate::config::section::Section;

/// Target groups of application and network load balancers.
pub(super) const ELB: KindOfBalancer = KindOfBalancer {
    keys: &["target_groups", "region", "profile", "min_drain", "poll"],
    resolve: |section, _, problems| {
        let hint = "add target_groups = [\"arn:…\"], one for each group";
        BalancerKind::Elb { target_groups: names(section, "target_groups", hint, problems), aws: aws(section) }
    },
    ends_connections: false,
    // A target group's own delay is 300 s by default, and a shorter wait proves nothing.
    limits: (330, 600),
};

/// Classic load balancers.
pub(super) const CLASSIC: KindOfBalancer = KindOfBalancer {
    keys: &["names", "region", "profile", "min_drain", "poll"],
    resolve: |section, _, problems| {
        let hint = "add names = [\"shop-elb\"], as AWS lists them";
        BalancerKind::ElbClassic { names: names(section, "names", hint, problems), aws: aws(section) }
    },
    ..ELB
};

fn names(section: &Section<'_>, key: &str, hint: &str, problems: &mut Problems<'_>) -> Vec<String> {
    section.list(key, hint, problems).iter().map(|t| t.value.to_owned()).collect()
}

/// Resolves the keys of both kinds.
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
