//! What a person should read of the servers and of the file before a run, and that stops nothing.
//!
//! Pure. Plans tell what is about the run; `check` and `status` tell all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::source::Address;
use crate::config::{BalancerAddress, BalancerKind, Config, Health, Probe, Scheme, Server};
use crate::event::{Blocker, Cause, Failure, Finding, Refusal, StepName, Weakness};
use crate::facts::{Facts, PortHolder, ServerFacts};
use crate::name::{ReleaseId, ServerName};

/// How each server's health check ended that was asked; the error is the answer.
pub type Answers = BTreeMap<ServerName, Result<(), String>>;

/// All that `check` tells of these servers, beside what the plan tells.
pub fn all(config: &Config, facts: &Facts, servers: &[&Server], answers: &Answers) -> Vec<Finding> {
    let mut findings = Vec::new();
    let web: Vec<(&Server, &ServerFacts)> =
        servers.iter().filter(|s| s.is_web()).filter_map(|s| Some((*s, facts.servers.get(&s.name)?))).collect();
    for (server, found) in &web {
        let answer = answers.get(&server.name);
        findings.extend(unseen(config, &server.name, found, answer.is_some_and(Result::is_ok)));
        if let (Some(Err(why)), Some(release)) = (answer, &found.current)
            && (config.web.proof.none || config.web.proof.lazy || !found.processes.is_empty())
        {
            let (of, release, why) = (server.name.clone(), release.clone(), why.clone());
            findings.push(Finding::RunsUnhealthy { of, release, why });
        }
        findings.extend(hidden(&server.name, found));
    }
    for server in servers {
        let Some(found) = facts.servers.get(&server.name) else { continue };
        findings.extend(leftovers(&server.name, found));
        findings.extend(exposed(&server.name, found));
        findings.extend(readable(&server.name, found));
    }
    findings.extend(plain_passwords(config));
    findings.extend(pid_in_release(config));
    findings.extend(advised(config, &web));
    findings
}

/// Something listens where the web server is to answer, and no process of the web server is found.
///
/// A process that works in a release of the stack is no finding: it makes a run impossible.
pub fn unseen(config: &Config, of: &ServerName, found: &ServerFacts, answered: bool) -> Option<Finding> {
    // systemd itself holds the socket of a unit that a request starts.
    let expected = |listener: &PortHolder| is_ours(listener) || listener.name == "systemd";
    if config.web.proof.none || !found.processes.is_empty() || found.listener.as_ref().is_some_and(expected) {
        return None;
    }
    // A lazy web server has no process until it is asked: that it was asked first tells nothing.
    if found.listener.is_none() && (!answered || config.web.proof.lazy) {
        return None;
    }
    let who = found.listener.as_ref().map(listens).unwrap_or_default();
    Some(Finding::Unseen { of: of.clone(), who, answered })
}

/// Names the servers of a run that only get the release.
pub fn not_restarted(servers: &[&Server]) -> Option<Finding> {
    let on: Vec<ServerName> = servers.iter().filter(|s| !s.is_web()).map(|s| s.name.clone()).collect();
    (!on.is_empty()).then_some(Finding::NotRestarted { on })
}

/// Names servers whose running processes could not be found any more, once `current` leads elsewhere.
pub fn pid_lost(config: &Config, facts: &Facts, servers: &[&Server]) -> Vec<Blocker> {
    let Some(Finding::PidInRelease { key, path }) = pid_in_release(config).into_iter().next() else {
        return Vec::new();
    };
    let runs =
        |s: &&&Server| facts.servers.get(&s.name).is_some_and(|f| f.current.is_some() && !f.processes.is_empty());
    let lost = servers.iter().filter(|s| s.is_web()).filter(runs).map(|server| {
        let detail = format!(
            "{key} = \"{path}\" in [web] lies in the release: after the switch what runs is not found, and holds the port; name \
             it below shared/, or link its directory with dirs in [shared], and restart by hand once"
        );
        let cause = Cause::Refused { code: Refusal::CannotRestart, detail };
        let failure = Failure { cause, command: None, tail: Vec::new() };
        Blocker { server: Some(server.name.clone()), step: StepName::Restart, failure }
    });
    lost.collect()
}

/// Names the directories of another tool that a run takes over, each with its servers.
pub fn adopted(facts: &Facts) -> Vec<Finding> {
    let mut all: BTreeMap<(&str, &ReleaseId), Vec<ServerName>> = BTreeMap::new();
    for (server, found) in &facts.servers {
        if let Some(adopted) = &found.adopts {
            all.entry((&adopted.name, &adopted.id)).or_default().push(server.clone());
        }
    }
    let told =
        |((name, id), on): ((&str, &ReleaseId), _)| Finding::Adopts { on, name: name.into(), release: id.clone() };
    all.into_iter().map(told).collect()
}

/// Names servers of a run with nothing to do whose web server does not run.
///
/// One that waits for a request runs nothing until then; of one that is hidden nothing is known.
pub fn not_running(config: &Config, facts: &Facts, servers: &[&Server]) -> Vec<Finding> {
    let proof = &config.web.proof;
    let web = servers.iter().filter(|s| s.is_web() && !proof.none && !proof.lazy);
    let dead = |f: &ServerFacts| !f.no_proc && f.processes.is_empty() && f.listener.is_none();
    let dead = web.filter(|s| facts.servers.get(&s.name).is_some_and(dead));
    dead.map(|s| Finding::NotRunning { of: s.name.clone() }).collect()
}

/// Names servers whose web server runs where `[web]` does not look: a start would find its port taken.
pub fn runs_unseen(config: &Config, facts: &Facts, servers: &[&Server]) -> Vec<Blocker> {
    let web = servers.iter().filter(|s| s.is_web() && !config.web.proof.none);
    let seen = web.filter_map(|server| {
        let found = facts.servers.get(&server.name)?;
        let listener = found.listener.as_ref().filter(|l| found.processes.is_empty() && is_ours(l))?;
        let cause = Cause::Refused { code: Refusal::RunsUnseen, detail: listens(listener) };
        let failure = Failure { cause, command: None, tail: Vec::new() };
        Some(Blocker { server: Some(server.name.clone()), step: StepName::Restart, failure })
    });
    seen.collect()
}

/// Names the processes of the web server that the login may not look into.
pub fn hidden(of: &ServerName, found: &ServerFacts) -> Option<Finding> {
    let hidden: Vec<(u32, &String)> =
        found.processes.iter().filter_map(|process| Some((process.pid, process.hidden.as_ref()?))).collect();
    let pids: Vec<u32> = hidden.iter().map(|(pid, _)| *pid).collect();
    let mut users: Vec<String> = hidden.into_iter().map(|(_, user)| user.clone()).collect();
    users.sort();
    users.dedup();
    (!pids.is_empty()).then(|| Finding::Hidden { of: of.clone(), login: found.user.clone(), users, pids })
}

/// Names what old releases left behind on a server.
pub fn leftovers(of: &ServerName, found: &ServerFacts) -> Option<Finding> {
    (!found.left.is_empty()).then(|| Finding::Leftovers { of: of.clone(), paths: found.left.clone() })
}

/// Names the directories of a server in which others may write.
fn exposed(of: &ServerName, found: &ServerFacts) -> impl Iterator<Item = Finding> {
    found.exposed.iter().map(|one| Finding::Exposed { of: of.clone(), path: one.path.clone(), to: one.to.clone() })
}

/// Names the secret files of a server that every user there may read.
fn readable(of: &ServerName, found: &ServerFacts) -> impl Iterator<Item = Finding> {
    found.readable.iter().map(|path| Finding::Readable { of: of.clone(), path: path.clone() })
}

/// Names the settings whose password would cross the network as it is.
fn plain_passwords(config: &Config) -> Vec<Finding> {
    let mut plain = Vec::new();
    if let Some(BalancerKind::Haproxy { at, access, .. }) = config.balancer.as_ref().map(|lb| &lb.kind)
        && access.login.is_some()
    {
        let apis = at.iter().filter_map(|address| match address {
            BalancerAddress::Api(url) if url.scheme == Scheme::Http => Some(url.host.clone()),
            _ => None,
        });
        plain.extend(apis.map(|host| ("[load_balancer]", host)));
    }
    if let Some(repository) = &config.source.repository
        // A name alone is a token, as git hosts give them out.
        && (repository.password.is_some() || repository.user.as_ref().is_some_and(|user| user != "git"))
    {
        plain.extend(plain_host(&repository.url).map(|(_, host)| ("[source]", host)));
    }
    if let Some(Address::Written(url)) = config.source.download.as_ref().map(|download| &download.from)
        && let Some((true, host)) = plain_host(&url.0)
    {
        plain.push(("[source]", host));
    }
    plain.retain(|(_, host)| !is_loopback(host));
    plain.into_iter().map(|(setting, host)| Finding::PlainPassword { setting: setting.to_owned(), host }).collect()
}

/// Returns whether a URL without encryption has a login, and its host.
fn plain_host(url: &str) -> Option<(bool, String)> {
    let authority = url.strip_prefix("http://")?.split('/').next()?;
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => host,
    };
    Some((!login.is_empty(), host.to_owned()))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn is_ours(listener: &PortHolder) -> bool {
    listener.release.is_some() || listener.removed
}

fn listens(listener: &PortHolder) -> String {
    let PortHolder { port, user, pid, name, release, removed } = listener;
    let who = match pid {
        Some(pid) => format!("process {pid} ({name}) of {user}"),
        None => format!("a process of {user}, which the login may not look into,"),
    };
    let place = match (release, removed) {
        (Some(release), _) => format!(" and works in release {release}"),
        (None, true) => " and works in a release that was removed".to_owned(),
        (None, false) if pid.is_some() => " and works outside deploy_to".to_owned(),
        (None, false) => String::new(),
    };
    format!("{who} listens on port {port}{place}")
}

/// Pid files below `current` that no directory of `[shared]` keeps from one release to the next.
fn pid_in_release(config: &Config) -> Vec<Finding> {
    let below = |path: &str| {
        let path = path.strip_prefix(config.app.deploy_to.trim_end_matches('/')).unwrap_or(path);
        path.trim_start_matches('/').strip_prefix("current/").map(str::to_owned)
    };
    let is_shared = |path: &str| config.shared.dirs.iter().any(|dir| path.starts_with(&format!("{dir}/")));
    let pid_files = config.web.parameters.iter().filter(|(key, _)| key.starts_with("pid"));
    let lost = pid_files.filter(|(_, path)| below(path).is_some_and(|below| !is_shared(&below)));
    lost.map(|(key, path)| Finding::PidInRelease { key: key.clone(), path: path.clone() }).collect()
}

/// Advises an answer that names its release, where the rest proves less.
fn advised(config: &Config, web: &[(&Server, &ServerFacts)]) -> Option<Finding> {
    if web.is_empty() || config.health.as_ref().is_some_and(Health::names_release) {
        return None;
    }
    let running = || web.iter().filter(|(_, found)| found.current.is_some());
    let command = config.health.as_ref().is_some_and(|health| matches!(health.probe, Probe::Command(_)));
    let because = if config.web.proof.none {
        Weakness::NoProcesses
    } else if web.iter().any(|(_, found)| found.processes.iter().any(|p| p.hidden.is_some())) {
        Weakness::Hidden
    } else if running().any(|(_, found)| found.processes.is_empty()) {
        Weakness::NothingFound
    } else if config.web.name == "systemd" {
        Weakness::Systemd
    } else if command {
        Weakness::Command
    } else {
        return None;
    };
    Some(Finding::ReleaseAdvised { because })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, load};
    use crate::facts::ProcessFacts;
    use crate::web::Template;

    fn config(web_server: &str, more: &str) -> Config {
        let text = format!(
            "[app]\nname = \"shop\"\ndeploy_to = \"/srv/shop\"\nweb_server = \"{web_server}\"\n[[servers]]\nhost = \"web1\"\n{more}\n"
        );
        let template = |name: &str| Ok(Template::builtin(name).unwrap());
        let file = std::path::Path::new("pitcrew.toml");
        load(&Input { text: &text, file, base: "/".into(), profile: None, template: &template }).unwrap()
    }

    fn found(config: &Config, server: ServerFacts, answer: Option<Result<(), String>>) -> Vec<Finding> {
        let name = config.servers[0].name.clone();
        let answers = answer.map(|answer| (name.clone(), answer)).into_iter().collect();
        let mut facts = Facts::default();
        facts.servers.insert(name, server);
        all(config, &facts, &config.servers.iter().collect::<Vec<_>>(), &answers)
    }

    fn serving() -> ServerFacts {
        let current = ReleaseId::parse("20260101000000");
        let process = ProcessFacts { pid: 7, release: current.clone(), ..ProcessFacts::default() };
        ServerFacts { current, processes: vec![process], user: "deploy".into(), ..ServerFacts::default() }
    }

    #[test]
    fn a_server_as_it_should_be_is_no_finding() {
        assert_eq!(found(&config("unicorn", "[health]\nport = 80"), serving(), Some(Ok(()))), []);
    }

    #[test]
    fn what_answers_though_nothing_runs_is_told_and_what_runs_and_does_not_answer() {
        let idle = || ServerFacts { processes: Vec::new(), ..serving() };
        let config = config("unicorn", "[health]\nport = 80\nrelease = \"X-Release\"");
        assert_eq!(found(&config, idle(), Some(Err("refused".into()))), []);
        let unseen =
            |who: &str, answered| vec![Finding::Unseen { of: ServerName("web1".into()), who: who.into(), answered }];
        assert_eq!(found(&config, idle(), Some(Ok(()))), unseen("", true));
        let listener = PortHolder::read("80 www-data");
        let who = "a process of www-data, which the login may not look into, listens on port 80";
        assert_eq!(found(&config, ServerFacts { listener, ..idle() }, None), unseen(who, false));
        let sick = found(&config, serving(), Some(Err("500".into())));
        assert!(matches!(sick.as_slice(), [Finding::RunsUnhealthy { why, .. }] if why == "500"), "{sick:?}");
    }

    #[test]
    fn a_pid_file_in_the_release_is_told_unless_its_directory_is_shared() {
        for (path, shared, told) in [
            ("current/tmp/pids/unicorn.pid", "", true),
            ("/srv/shop/current/tmp/pids/unicorn.pid", "", true),
            ("current/tmp/pids/unicorn.pid", "[shared]\ndirs = [\"tmp/pids\"]", false),
            ("shared/tmp/pids/unicorn.pid", "", false),
            ("/run/current/unicorn.pid", "", false),
        ] {
            let config = config("unicorn", &format!("[health]\nport = 80\n[web]\npid_file = \"{path}\"\n{shared}"));
            let found = found(&config, serving(), None);
            assert_eq!(matches!(found.as_slice(), [Finding::PidInRelease { .. }]), told, "{path} {shared}: {found:?}");
        }
    }

    #[test]
    fn a_password_that_crosses_the_network_as_it_is_is_told() {
        let git = |url: &str| format!("[source]\nkind = \"git\"\nrepo = \"{url}\"");
        let archive =
            |url: &str| format!("[source]\nkind = \"archive\"\nurl = \"{url}\"\nsha256 = \"{}\"", "a".repeat(64));
        let api = |url: &str| {
            format!(
                "[load_balancer]\nkind = \"haproxy\"\nat = [\"{url}\"]\nbackends = [\"web\"]\nuser = \"u\"\npassword = \"LB\"\n[secrets]\nLB = {{ env = \"LB\" }}"
            )
        };
        for (table, to) in [
            (git("http://me:pass@git.lan:8080/x.git"), Some("git.lan")),
            (git("http://token@[fd00::1]/x.git"), Some("[fd00::1]")),
            (git("http://git@git.lan/x.git"), None),
            (git("http://git.lan/x.git"), None),
            (git("https://me:pass@git.lan/x.git"), None),
            (git("http://me:pass@localhost/x.git"), None),
            (archive("http://me:pass@files.lan/a.tgz"), Some("files.lan")),
            (archive("http://files.lan/me@a.tgz"), None),
            (api("http://lb1:5555"), Some("lb1")),
            (api("http://127.0.0.1:5555"), None),
            (api("https://lb1:5555"), None),
        ] {
            let found = found(&config("unicorn", &format!("[health]\nport = 80\n{table}")), serving(), Some(Ok(())));
            let hosts: Vec<_> = found
                .iter()
                .map(|finding| match finding {
                    Finding::PlainPassword { host, .. } => host.as_str(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(hosts, to.into_iter().collect::<Vec<_>>(), "{table}");
        }
    }

    #[test]
    fn an_answer_that_names_its_release_is_advised_where_the_rest_proves_less() {
        let advised = |web: &str, more: &str, server| {
            found(&config(web, more), server, None).into_iter().find_map(|finding| match finding {
                Finding::ReleaseAdvised { because } => Some(because),
                _ => None,
            })
        };
        let health = "[health]\nport = 80";
        let unit = "[web]\nunit = \"shop\"\n[health]\nport = 80";
        let secret = ProcessFacts { pid: 7, hidden: Some("www-data".into()), ..ProcessFacts::default() };
        let hidden = || ServerFacts { processes: vec![secret.clone()], ..serving() };
        assert_eq!(advised("unicorn", health, serving()), None);
        assert_eq!(advised("static", health, serving()), Some(Weakness::NoProcesses));
        assert_eq!(advised("systemd", unit, serving()), Some(Weakness::Systemd));
        assert_eq!(advised("unicorn", health, hidden()), Some(Weakness::Hidden));
        assert_eq!(advised("unicorn", "[health]\ncommand = \"true\"", serving()), Some(Weakness::Command));
        let idle = ServerFacts { processes: Vec::new(), ..serving() };
        assert_eq!(advised("unicorn", health, idle), Some(Weakness::NothingFound));
        let named = "[health]\nport = 80\nrelease = \"body\"";
        assert_eq!(advised("static", named, serving()), None);
        assert_eq!(advised("unicorn", named, hidden()), None);
    }
}
