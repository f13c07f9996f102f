//! What the run was asked to do: `pitcrew.toml` and a profile, resolved to one value.
//!
//! [`tables`] has a file a table: its keys, its value, its defaults. [`check`] holds the file against their keys,
//! [`profile`] lays a profile over it, [`resolve`] makes one value of it, [`select`] picks servers, [`sample`] writes the
//! commented file. [`load()`] runs them in that order. Synchronous and pure: text and a few paths come in, a [`Config`] or
//! the list of all [`Problem`]s goes out.

mod address;
mod bad;
mod check;
pub mod hosts;
mod input;
mod key;
mod load;
pub mod problem;
mod profile;
mod resolve;
pub mod sample;
mod schema;
mod section;
pub mod select;
mod settings;
mod share;
pub mod tables;
mod url;
pub mod values;
mod words;
mod written;

pub use crate::policy::{OnFailure, Prepare, Strategy};
pub use crate::ssh::options::{ConfigFile, HostKeyChecking, Ssh};
pub use address::{BalancerAddress, SshHost, parse_address};
pub use bad::Bad;
pub use input::{Input, Templates};
pub use load::load;
pub use problem::Problem;
pub use settings::Config;
pub use share::{BatchSize, Least, parse_batch};
pub use tables::app::App;
pub use tables::build::BuildPlace;
pub use tables::health::{Health, HttpProbe, Named, Probe};
pub use tables::hooks::{Hook, HookPlace, HookPoint, HookStep, parse_hook_point};
pub use tables::load_balancer::{
    ApiLogin, Aws, BalancerKind, HaproxyAccess, LoadBalancer, OnDrainTimeout, SteeringCommands, Via,
};
pub use tables::migrate::{Migrate, MigrateWhen};
pub use tables::secrets::SecretSource;
pub use tables::servers::Server;
pub use tables::shared::Shared;
pub use tables::source::{self, Source, SourceKind};
pub use tables::timeouts::Timeouts;
pub use url::{ApiUrl, ApiVersion, Scheme};
