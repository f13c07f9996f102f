//! One HAProxy through its Data Plane API, an HTTP sidecar by HAProxy Technologies.
//!
//! [`dataplane`] is what a caller asks of it, [`answers`] its paths and its answers, [`http`] how they travel.

pub mod answers;
pub mod dataplane;
pub mod fault;
pub mod http;
mod json;

pub use dataplane::{Api, hindrance};
pub use http::ApiAccess;
