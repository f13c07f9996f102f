//! The servers of a dead run that today's file does not name.
//!
//! Pure. A server is known by its name and by its address: a file may have been changed, or be another profile's.

use super::intent::Intent;
use super::run_server::RunServer;
use crate::facts::Facts;
use crate::name::{RunId, ServerName};

/// A server of a dead run that today's file does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// As the dead run knew it.
    pub was: RunServer,
    /// The address of the server that has its name today.
    pub now: Option<String>,
}

/// Lists the servers of a dead run that `today`'s file names neither by name nor by address.
///
/// A server that still says what the run meant to do to it is known, under whatever name. A name that is another address
/// by now is another server.
pub fn absent(today: &[RunServer], facts: &Facts, run: &RunId) -> Vec<Absent> {
    let of_run = |name: &ServerName| {
        let lock = facts.servers.get(name)?.lock.as_ref()?;
        let ours = lock.run() == run.as_str() || lock.origin() == run.as_str();
        Intent::read(&lock.plan).filter(|_| ours)
    };
    let intents: Vec<Intent> = today.iter().filter_map(|server| of_run(&server.name)).collect();
    let known = |was: &RunServer| {
        intents.iter().any(|intent| intent.server.as_ref() == Some(&was.name)) || today.iter().any(|now| now.is(was))
    };
    let mut absent: Vec<Absent> = Vec::new();
    for was in intents.iter().flat_map(|intent| &intent.servers).filter(|was| !known(was)) {
        if !absent.iter().any(|found| found.was.name == was.name) {
            let now = today.iter().find(|now| now.name == was.name).map(|now| now.at.clone());
            absent.push(Absent { was: was.clone(), now });
        }
    }
    absent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ServerFacts;
    use crate::lease::LockFacts;
    use crate::plan::journal::Wreck;

    fn listed(name: &str, at: &str) -> RunServer {
        RunServer { name: ServerName(name.into()), at: at.into(), lb: vec![name.into()], batch: None }
    }

    /// Facts of servers, by today's name, that a run has locked under another.
    fn locked(run: &str, servers: &[(&str, &str)], all: &[RunServer]) -> Facts {
        let mut facts = Facts::default();
        for (today, then) in servers {
            let name = ServerName((*then).into());
            let plan = Wreck::of_nothing(std::slice::from_ref(&name)).plan;
            let intent = Intent::of(&plan, &name, "ann").among(&plan, all);
            let owner = [("run".to_owned(), run.to_owned())].into();
            let lock = LockFacts { owner, plan: vec![intent.line()], ..LockFacts::default() };
            let found = ServerFacts { lock: Some(lock), ..ServerFacts::default() };
            facts.servers.insert(ServerName((*today).into()), found);
        }
        facts
    }

    fn names(absent: &[Absent]) -> Vec<(&str, Option<&str>)> {
        absent.iter().map(|a| (a.was.name.as_str(), a.now.as_deref())).collect()
    }

    #[test]
    fn a_server_that_the_file_names_no_more_is_absent() {
        let all = [listed("web1", "deploy@10.0.0.1:22"), listed("web2", "deploy@10.0.0.2:22")];
        let facts = locked("run-1", &[("web1", "web1")], &all);
        assert_eq!(names(&absent(&all[..1], &facts, &RunId("run-1".into()))), [("web2", None)]);
        assert_eq!(names(&absent(&all[..1], &facts, &RunId("run-2".into()))), []);
        // Unlocked or out of reach, it is in the file all the same.
        assert_eq!(names(&absent(&all, &facts, &RunId("run-1".into()))), []);
    }

    #[test]
    fn a_server_with_another_name_or_login_is_known_by_its_lock_or_its_address() {
        let all = [listed("web1", "deploy@10.0.0.1:22"), listed("web2", "deploy@10.0.0.2:22")];
        let run = RunId("run-1".into());
        let today = [listed("web1", "deploy@10.0.0.1:22"), listed("app2", "deploy@web2.internal:22")];
        let facts = locked("run-1", &[("web1", "web1"), ("app2", "web2")], &all);
        assert_eq!(names(&absent(&today, &facts, &run)), []);
        let facts = locked("run-1", &[("web1", "web1")], &all);
        let today = [listed("web1", "deploy@10.0.0.1:22"), listed("app2", "root@10.0.0.2:22")];
        assert_eq!(names(&absent(&today, &facts, &run)), []);
    }

    #[test]
    fn a_name_that_is_another_address_now_is_another_server() {
        let all = [listed("web1", "deploy@10.0.0.1:22"), listed("web2", "deploy@10.0.0.2:22")];
        let facts = locked("run-1", &[("web1", "web1")], &all);
        let today = [listed("web1", "deploy@10.0.0.1:22"), listed("web2", "deploy@10.0.0.9:22")];
        let absent = absent(&today, &facts, &RunId("run-1".into()));
        assert_eq!(names(&absent), [("web2", Some("deploy@10.0.0.9:22"))]);
        let moved = [listed("web1", "deploy@10.0.0.1:22"), listed("web2", "ann@10.0.0.2:2222")];
        assert_eq!(names(&super::absent(&moved, &facts, &RunId("run-1".into()))), [], "its port has changed");
    }
}
