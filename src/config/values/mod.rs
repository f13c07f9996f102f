//! What one value may look like. Knows no keys, no tables and no other values.

mod duration;
mod path;
mod status;
mod text;

pub use duration::parse_duration;
pub use path::{deploy_to, shared_path, url_path};
pub use status::parse_statuses;
pub use text::{command, haproxy_name, header, host_header, line, name, role, user, variable};
