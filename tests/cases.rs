//! Cases that need nothing but this machine's files and git: configurations, plans, reports, sources, the house's rules.

mod configs;
mod fuzz;
mod house;
mod masking;
mod plans;
mod report;
mod source;
mod unpacking;
