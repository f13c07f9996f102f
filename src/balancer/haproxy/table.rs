//! What one instance reports: each backend of the stack with its members. Pure.

use super::member::BackendMember;

/// What one instance reports: each backend of the stack with its members.
pub type Table = Vec<(String, Vec<BackendMember>)>;

/// Counts the other members of a backend that serve in normal operation: backup servers do not.
pub fn others_in_service(table: &Table, backend: &str, server: &str) -> usize {
    let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
    members.iter().filter(|m| m.name != server && !m.backup && m.in_service()).count()
}

/// Counts the members of a backend that serve in normal operation.
pub fn of_backend(table: &Table, backend: &str) -> usize {
    let members = table.iter().find(|(b, _)| b == backend).map(|(_, m)| m.as_slice()).unwrap_or_default();
    members.iter().filter(|m| !m.backup).count()
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
    fn the_nearest_names_come_first() {
        let names = ["db1", "web2", "web1", "cache", "mail", "x"].map(str::to_owned);
        let text = nearest("wbe1", &names);
        assert!(text.starts_with("there are web1, web2,") && text.ends_with(", …"), "{text}");
        assert_eq!(nearest("a", &[]), "there is none at all");
    }
}
