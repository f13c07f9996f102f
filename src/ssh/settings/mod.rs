//! The settings of one connection: pitcrew.toml wins over ssh_config, which wins over the defaults.
//!
//! Each has its origin.
//!
//! `values` has the result, `decide` makes it, `reading` reads single keywords. The others decide one group each: where to
//! connect (`destination`), what to trust (`trust`), how to log in (`login`), how to connect (`transport`). Pure.
//! What ssh_config says comes from [`super::config`].

mod decide;
mod destination;
mod login;
mod reading;
mod transport;
mod trust;
mod values;

pub(super) use self::decide::question;
pub(super) use self::reading::Sources;
pub use self::values::{Approach, Explained, Family, Identity, Method, Part, Settings};

#[cfg(test)]
mod tests;
