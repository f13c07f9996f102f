//! To be written.

/// To be written.
#[derive(Default)]
pub struct Keys {}
