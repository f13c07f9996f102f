//! What one instance reports: each backend of the stack with its members. Pure.

use super::member::BackendMember;

/// What one instance reports: each backend of the stack with its members.
pub type Table = Vec<(String, Vec<BackendMember>)>;

/// A server of any backend of an instance, whether or not the stack drains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its backend.
    pub backend: String,
    /// Its name there.
    pub server: String,
    /// Its address, as HAProxy prints it.
    pub address: String,
    /// Its port, where HAProxy tells.
    pub port: Option<u16>,
    /// It is sent no traffic.
    pub out: bool,
}

/// Finds what else sends a member's host the stack's traffic, by `backend/server`.
///
/// In a backend that the stack drains, that is every other server with its address. Elsewhere it is one with its address
/// and its port, or its name: another port under another name is another application. `own`: the names that the stack drains
/// in its backends.
pub fn beside(of: (&str, &BackendMember), all: &[Neighbour], drained: &Table, own: &[String]) -> Vec<String> {
    let (backend, member) = of;
    let is_drained = |n: &Neighbour| drained.iter().any(|(b, _)| *b == n.backend);
    let same = |n: &&Neighbour| {
        let itself = n.backend == backend && n.server == member.name;
        let named = is_drained(n) && own.contains(&n.server);
        let reaches =
            n.address == member.address && (is_drained(n) || n.port == member.port || n.server == member.name);
        !member.address.is_empty() && !itself && !named && !n.out && reaches
    };
    all.iter().filter(same).map(|n| format!("{}/{}", n.backend, n.server)).collect()
}

/// Counts the other members of a backend that serve in normal operation: backup servers do not.
pub fn others_in_service(table: &Table, backend: &str, server: &str) -> usize {
    let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
    members.iter().filter(|m| m.name != server && !m.backup && m.in_service()).count()
}

/// Counts the members of a backend that serve in normal operation.
///
/// The empty slots of a `server-template` are none.
pub fn of_backend(table: &Table, backend: &str) -> usize {
    let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
    members.iter().filter(|m| !m.backup && !m.is_empty_slot()).count()
}

/// Names what exists, the nearest first.
pub fn nearest(name: &str, names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        return "there is none at all".to_owned();
    }
    names.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
    let more = if names.len() > 5 { ", …" } else { "" };
    format!("there are {}{more}", names.iter().take(5).copied().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bits: u32, backup: bool) -> BackendMember {
        BackendMember { name: name.into(), bits, backup, op_state: 2, weight: 1, ..BackendMember::default() }
    }

    #[test]
    fn others_are_counted_without_backups_and_those_out() {
        let table = vec![
            ("a".to_owned(), vec![member("w1", 0, false), member("w2", 0, false), member("w3", 8, false)]),
            ("b".to_owned(), vec![member("w1", 0, false), member("w2", 0, true)]),
        ];
        assert_eq!(others_in_service(&table, "a", "w1"), 1);
        assert_eq!(others_in_service(&table, "a", "w3"), 2);
        assert_eq!(others_in_service(&table, "b", "w1"), 0);
        assert_eq!(others_in_service(&table, "c", "w1"), 0);
    }

    #[test]
    fn what_else_reaches_a_host_is_told_unless_the_stack_drains_it() {
        let at = |backend: &str, server: &str, address: &str, port: u16| Neighbour {
            backend: backend.into(),
            server: server.into(),
            address: address.into(),
            port: Some(port),
            out: false,
        };
        let web1 = BackendMember { address: "10.0.0.1".into(), port: Some(80), ..member("web1", 0, false) };
        let drained = vec![("shop".to_owned(), vec![web1.clone()]), ("api".to_owned(), vec![web1.clone()])];
        let all = [
            at("shop", "web1", "10.0.0.1", 80),
            at("shop", "web1b", "10.0.0.1", 81),
            at("api", "web1", "10.0.0.1", 80),
            at("admin", "w1", "10.0.0.1", 80),
            at("mail", "w1", "10.0.0.1", 25),
            at("admin", "w2", "10.0.0.2", 80),
            Neighbour { out: true, ..at("old", "w1", "10.0.0.1", 80) },
        ];
        let own = ["web1".to_owned(), "web2".to_owned()];
        assert_eq!(beside(("shop", &web1), &all, &drained, &own), ["shop/web1b", "admin/w1"]);
        // What is not told is no address that two could share.
        let silent = BackendMember { address: String::new(), ..web1 };
        assert_eq!(beside(("shop", &silent), &all, &drained, &own), Vec::<String>::new());
    }

    #[test]
    fn the_nearest_names_come_first() {
        let names = ["db1", "web2", "web1", "cache", "mail", "x"].map(str::to_owned);
        let text = nearest("wbe1", &names);
        assert!(text.starts_with("there are web1, web2,") && text.ends_with(", …"), "{text}");
        assert_eq!(nearest("a", &[]), "there is none at all");
    }
}
