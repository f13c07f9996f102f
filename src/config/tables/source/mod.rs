//! `[source]`: where a release's files come from.

mod checks;
mod login;
mod resolve;
mod types;

pub use checks::{SHA256, archive_url, sha256};
pub use resolve::{TABLE, source};
pub use types::{Address, Download, Fetcher, Hidden, Password, Repository, Source, SourceKind, may_be_secret};
