//! What a configuration is made from.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use crate::web;

/// Finds a web server template by its name or path, as the file has it.
pub type Templates<'a> = dyn Fn(&str) -> Result<web::Template, Vec<Problem>> + 'a;

/// What a configuration is made from.
pub struct Input<'a> {
    /// The file's contents.
    pub text: &'a str,
    /// The file, as given; for messages.
    pub file: &'a Path,
    /// The directory that relative local paths start from.
    pub base: PathBuf,
    /// The profile to lay over the file.
    pub profile: Option<&'a str>,
    /// Finds web server templates.
    pub template: &'a Templates<'a>,
}
