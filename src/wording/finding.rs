//! The words for what was found on servers and in the file, the same in `check`, `status` and plans.

use crate::event::Finding;
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
        Finding::Hidden { of, .. } => format!("{of}: {}", fragment(finding)),
    }
}

/// Says it of a server that is named beside it.
pub fn fragment(finding: &Finding) -> String {
    match finding {
        Finding::Hidden { login, users, pids, .. } => hidden(login, users, pids),
        other => sentence(other),
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
