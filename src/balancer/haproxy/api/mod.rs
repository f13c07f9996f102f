//! One HAProxy through its Data Plane API, the HTTP sidecar that HAProxy Technologies maintain beside it.
//!
//! [`dataplane`] is what a caller asks of it, [`answers`] its paths and what it says, [`http`] how that travels.

pub mod answers;
pub mod dataplane;
pub mod fault;
pub mod http;
mod json;

pub use dataplane::{Api, hindrance};
pub use http::ApiAccess;
