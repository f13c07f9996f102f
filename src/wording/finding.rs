//! The words for what was found on servers and in the file, the same in `check`, `status` and plans.

use crate::event::{Finding, Weakness, Writers};
use crate::name::ServerName;
use crate::text::clean::clean;
use crate::text::units::names;

/// Says what was found.
pub fn sentence(finding: &Finding) -> String {
    match finding {
        Finding::SerialByFact { on, why } => seen("serial is the default here", why, on),
        Finding::StopsAnswering { on, why } => {
            seen("a restart stops answering, and parallel restarts all servers at once", why, on)
        }
        Finding::WebServer { on, why } => format!("{} ({})", clean(why), listed(on)),
        Finding::PidInRelease { key, path } => format!(
            "{key} = \"{}\" in [web] lies in the release: after the switch the running processes are not found any more; \
             name it below shared/, or link its directory with dirs in [shared]",
            clean(path)
        ),
        Finding::ReleaseAdvised { because } => format!(
            "let the answer name its release, and set `release` in [health] (a header, or \"body\"): {}",
            weakness(*because)
        ),
        Finding::Adopts { on, name, release } => format!(
            "`current` leads to releases/{}, which another tool has made: a run takes it over as release {release}, the way back ({})",
            clean(name),
            listed(on)
        ),
        Finding::NotRestarted { on } => format!(
            "nothing is restarted or checked on {}: without the role `web` a server only gets the release",
            listed(on)
        ),
        Finding::PlainPassword { setting, host } => format!(
            "the password of {setting} goes to {} by http://, where all on the way can read it: write https://, or reach it \
             by a loopback address or through SSH",
            clean(host)
        ),
        Finding::MigrationsUnrun { directory } => {
            format!("the source has {}, and there is no [migrate]: no migration is run", clean(directory))
        }
        Finding::Unseen { of, .. }
        | Finding::RunsUnhealthy { of, .. }
        | Finding::NotRunning { of }
        | Finding::DownBefore { of, .. }
        | Finding::Leftovers { of, .. }
        | Finding::Exposed { of, .. }
        | Finding::Readable { of, .. }
        | Finding::Hidden { of, .. } => format!("{of}: {}", fragment(finding)),
    }
}

/// Says it of a server that is named beside it.
pub fn fragment(finding: &Finding) -> String {
    match finding {
        Finding::Unseen { who, answered, .. } => unseen(who, *answered),
        Finding::RunsUnhealthy { release, why, .. } => {
            format!(
                "release {release}, which runs, fails its health check: {}; a run's way back would end there",
                clean(why)
            )
        }
        Finding::NotRunning { .. } => {
            "its web server does not run, though the release is there; `pitcrew deploy` without --if-changed starts it"
                .into()
        }
        Finding::DownBefore { member, status, .. } if status.starts_with("UP") || status == "no check" => {
            format!("{} is {} and gets no traffic: its weight is 0", clean(member), clean(status))
        }
        Finding::DownBefore { member, status, .. } => format!(
            "{} is {} already, and nothing has taken it out: a run that does not bring it up takes the new release back",
            clean(member),
            clean(status)
        ),
        Finding::Leftovers { paths, .. } => {
            let paths: Vec<String> = paths.iter().map(|path| clean(path)).collect();
            format!("the login cannot remove {} in deploy_to: remove it as the user that owns it", names(&paths, 3))
        }
        Finding::Exposed { path, to, .. } => exposed(path, to),
        Finding::Readable { path, .. } => format!(
            "every user there may read {}, which holds secrets as its name tells: take the right away (chmod o-r)",
            clean(path)
        ),
        Finding::Hidden { login, users, pids, .. } => hidden(login, users, pids),
        other => sentence(other),
    }
}

fn exposed(path: &str, to: &Writers) -> String {
    let place = if path == "." { "deploy_to".to_owned() } else { format!("{} in deploy_to", clean(path)) };
    match to {
        Writers::Everyone => format!(
            "every user there may write in {place}, and what lies there runs as the login: take the right away (chmod o-w)"
        ),
        Writers::Owner(uid) => format!(
            "{place} belongs to user {uid}, who is neither the login nor root, and what lies there runs as the login"
        ),
    }
}

/// Ends a sentence with what was seen, and on which servers.
fn seen(what: &str, why: &str, on: &[ServerName]) -> String {
    format!("{what}: {} ({})", clean(why), listed(on))
}

fn listed(servers: &[ServerName]) -> String {
    let servers: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
    names(&servers, 5)
}

fn unseen(who: &str, answered: bool) -> String {
    let answer = if answered { "its health check is answered, and no" } else { "no" };
    let who = if who.is_empty() { String::new() } else { format!("; {}", clean(who)) };
    format!("{answer} process of the web server is where [web] says{who}")
}

fn weakness(because: Weakness) -> &'static str {
    match because {
        Weakness::NoProcesses => "this web server has no processes that would prove which release it serves",
        Weakness::Systemd => "systemd tells that a unit runs, and nothing of what it has loaded",
        Weakness::Command => "of a command only the exit status is seen; a request to the application shows more",
        Weakness::Hidden => "the login may not look into some of the web server's processes",
        Weakness::NothingFound => "no process of the web server is found",
    }
}

fn hidden(login: &str, users: &[String], pids: &[u32]) -> String {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let some = match pids.as_slice() {
        [one] => format!("process {one}"),
        many => format!("processes {}", names(many, 3)),
    };
    let users: Vec<String> = users.iter().map(|user| clean(user)).collect();
    format!(
        "{} may not look into the web server's {some}, of {}: which release runs there only an answer can tell",
        clean(login),
        names(&users, 3)
    )
}
