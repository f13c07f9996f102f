//! `[load_balancer]` of kind `haproxy`: its addresses, its login, and what they rule out.

use super::kind::KindOfBalancer;
use super::types::{ApiLogin, BalancerKind, HaproxyAccess, OnDrainTimeout, Via};
use crate::config::address::{BalancerAddress, parse_address};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::url::Scheme;
use crate::config::words::quoted;
use crate::config::written::Found;

/// The words of `via`.
pub(super) const VIAS: [(&str, Via); 2] = [("auto", Via::Auto), ("sudo", Via::Sudo)];

/// HAProxy.
pub(super) const KIND: KindOfBalancer = KindOfBalancer {
    keys: &["at", "backends", "via", "user", "password", "ca_file", "check_addresses"],
    resolve: kind,
    ends_connections: true,
    limits: (30, 120),
};

fn kind(section: &Section<'_>, secrets: Option<&Section<'_>>, problems: &mut Problems<'_>) -> BalancerKind {
    let hint = "add at = [\"ssh://lb1.example.com/run/haproxy/admin.sock\"]";
    let at: Vec<BalancerAddress> =
        section.list("at", hint, problems).iter().filter_map(|a| parse_address(a.value).ok()).collect();
    let hint = "add backends = [\"shop\"], as HAProxy's configuration names them";
    let backends = section.list("backends", hint, problems).iter().map(|t| t.value.to_owned()).collect();
    let access = access(section, secrets, &at, problems);
    BalancerKind::Haproxy { at, backends, access }
}

fn access(
    section: &Section<'_>,
    secrets: Option<&Section<'_>>,
    at: &[BalancerAddress],
    problems: &mut Problems<'_>,
) -> HaproxyAccess {
    let is = |wanted: fn(&BalancerAddress) -> bool| at.is_empty() || at.iter().any(wanted);
    let api = at.iter().find(|a| matches!(a, BalancerAddress::Api(_)));
    let via = section.word("via", &VIAS);
    let needs: [(&[&str], bool, &str); 3] = [
        (&["via"], is(|a| matches!(a, BalancerAddress::Ssh { .. })), "an ssh:// address in `at`"),
        (&["user", "password"], is(|a| matches!(a, BalancerAddress::Api(_))), "an https:// address in `at`"),
        (
            &["ca_file"],
            is(|a| matches!(a, BalancerAddress::Api(url) if url.scheme == Scheme::Https)),
            "an https:// address in `at`",
        ),
    ];
    for (keys, met, what) in needs {
        for (key, wrote) in keys.iter().filter(|_| !met).filter_map(|key| Some((key, section.wrote(key)?))) {
            problems.at(wrote, format!("`{key}` in {} has no meaning without {what}", section.title), "leave it out");
        }
    }
    if let Some(api) = api {
        for (key, hint) in [
            ("user", "add user = \"…\", a user of the Data Plane API"),
            ("password", "add password = \"NAME\", the name of one of the [secrets]"),
        ] {
            if section.wrote(key).is_none() {
                let what = format!("`{key}` is missing in {}: {api} asks for a login", section.title);
                problems.at(section.at, what, hint);
            }
        }
        // Said of the table: its own line may show a password.
        if section.text("user").is_some_and(|u| u.value.contains(':')) {
            let what = format!("`user` in {} has a colon in it, after which a login's password begins", section.title);
            problems.at(
                section.at,
                what,
                "write the user alone, and `password = \"NAME\"`, the name of one of the [secrets]",
            );
        }
        if let Some(named) = section.text("password")
            && secrets.is_none_or(|s| s.wrote(named.value).is_none())
        {
            let what = format!("{} in {} is none of the [secrets]", quoted(named.value), section.title);
            let hint =
                format!("`password` names one; add for example {} = {{ env = \"…\" }} to [secrets]", named.value);
            problems.at(named.at, what, hint);
        }
    }
    let text = |key: &str| section.text(key).map(|t| t.value.to_owned());
    HaproxyAccess {
        via: via.map(|v| v.value).unwrap_or_default(),
        unchecked: section.boolean("check_addresses") == Some(false),
        login: text("user").zip(text("password")).map(|(user, secret)| ApiLogin { user, secret }),
        ca_file: text("ca_file").map(Into::into),
    }
}

/// Reports a way of ending connections that one of the ways to HAProxy does not have.
pub fn ending(kind: &BalancerKind, found: Found<OnDrainTimeout>, problems: &mut Problems<'_>) {
    let BalancerKind::Haproxy { at, .. } = kind else { return };
    if let Some(api) = at.iter().find(|a| matches!(a, BalancerAddress::Api(_)))
        && found.value == OnDrainTimeout::Kill
    {
        let what = format!("`on_drain_timeout` cannot be \"kill\" with {api}: the Data Plane API ends no connections");
        problems.at(found.at, what, "write \"proceed\" or \"fail\", or the address of HAProxy's socket in `at`");
    }
}
