//! The way to AWS: credentials, region, retries, limits, and what its refusals mean.
//!
//! Also owns which instance a server is. Knows nothing of target groups: [`super::elb`] and [`super::elb_classic`] do.

pub mod access;
pub mod identity;
pub mod refusal;
pub mod times;
pub mod written;

pub use access::Access;

#[cfg(test)]
pub mod tests;
