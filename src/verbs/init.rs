//! `pitcrew init`: writes the commented configuration file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use clap::Args;

use crate::cli::Global;
use crate::config;
use crate::error::Error;
use crate::out;
use crate::web::{Template, builtin_names};

/// Writes a commented pitcrew.toml.
#[derive(Debug, Clone, Args)]
pub struct Init {
    /// The web server: a template's name (unicorn, puma, passenger, …).
    #[arg(default_value = "unicorn")]
    web_server: String,
}

impl Init {
    /// Writes the file, and never over one that exists.
    ///
    /// # Errors
    /// When no template has that name, or the file exists or cannot be written.
    pub fn run(&self, global: &Global) -> Result<u8, Error> {
        let web_server = &self.web_server;
        let template = Template::builtin(web_server).ok_or_else(|| {
            Error::usage(format!("no web server template is called `{web_server}`"))
                .hint(format!("the templates are {}", builtin_names().join(", ")))
        })?;
        let file = &global.config;
        let mut open = OpenOptions::new().write(true).create_new(true).open(file).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => Error::usage(format!("{} exists already", file.display()))
                .hint("move it away, or name another with `-c FILE`"),
            _ => Error::usage(format!("cannot write {}: {e}", file.display())),
        })?;
        open.write_all(config::sample::sample(web_server, &template).as_bytes())
            .map_err(|e| Error::usage(format!("cannot write {}: {e}", file.display())))?;
        if !global.quiet {
            out::notice(&format!(
                "wrote {}: put your servers in, then `pitcrew check` and `pitcrew deploy --dry-run`",
                file.display()
            ));
        }
        Ok(0)
    }
}
