//! Every table of `pitcrew.toml`, once.
//!
//! Reading, the search for unknown keys, and the test that the commented sample mentions every key share it.

use super::key::{Form, Table};
use super::tables::{
    app, build, env, health, hooks, load_balancer, migrate, secrets, servers, shared, source, ssh, timeouts, web,
};

/// All tables, in the order of the sample; `[profiles.NAME]` holds any of them again.
pub const TABLES: &[&Table] = &[
    &app::TABLE,
    &web::TABLE,
    &source::TABLE,
    &ssh::TABLE,
    &servers::TABLE,
    &load_balancer::TABLE,
    &health::TABLE,
    &build::TABLE,
    &migrate::TABLE,
    &shared::TABLE,
    &env::TABLE,
    &secrets::TABLE,
    &hooks::TABLE,
    &timeouts::TABLE,
];

/// Finds a table by its name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().copied().find(|t| t.name == name)
}

/// Finds the tables that have a key of that name.
pub fn owners(key: &str) -> impl Iterator<Item = &'static Table> {
    TABLES
        .iter()
        .copied()
        .filter(move |t| !matches!(t.form, Form::Secrets(_)) && t.keys().iter().any(|k| k.name == key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_there_twice() {
        for (i, table) in TABLES.iter().enumerate() {
            assert!(TABLES.iter().skip(i + 1).all(|t| t.name != table.name), "{}", table.name);
            for (j, key) in table.keys().iter().enumerate() {
                assert!(table.keys().iter().skip(j + 1).all(|k| k.name != key.name), "{}.{}", table.name, key.name);
            }
        }
    }
}
