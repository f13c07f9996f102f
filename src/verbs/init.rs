//! `pitcrew init`: writes the commented configuration file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

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
        let name = directory(file).map_or_else(|| EXAMPLE.to_owned(), |directory| cleaned(&directory));
        let sample = config::sample::sample(web_server, &template);
        let text: String = sample.lines().map(|line| named(line, &name) + "\n").collect();
        open.write_all(text.as_bytes()).map_err(|e| Error::usage(format!("cannot write {}: {e}", file.display())))?;
        if !global.quiet {
            out::notice(&format!(
                "wrote {}: put your servers in, then `pitcrew check` and `pitcrew deploy --dry-run`",
                file.display()
            ));
        }
        Ok(0)
    }
}

/// The stack's name in the sample.
const EXAMPLE: &str = "shop";

/// Returns the name of the directory that the file is in.
fn directory(file: &Path) -> Option<String> {
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(parent.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned())
}

/// Makes a stack's name of a directory's: fit for paths and backends without quotes.
fn cleaned(directory: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c.to_ascii_lowercase() } else { '-' };
    let name: String = directory.chars().map(plain).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    let name = parts.join("-");
    let name = name.trim_matches('.');
    if name.is_empty() { EXAMPLE.to_owned() } else { name.to_owned() }
}

/// Writes a line of the sample with the stack's name; its comment stays in its column.
fn named(line: &str, name: &str) -> String {
    let renamed = |text: &str| text.replace(EXAMPLE, name);
    match line.split_once(" # ") {
        Some((keys, comment)) if keys.contains(EXAMPLE) => {
            format!("{:<width$} # {}", renamed(keys.trim_end()), renamed(comment), width = keys.chars().count())
        }
        _ => renamed(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_names_the_stack() {
        for (directory, name) in [
            ("blog", "blog"),
            ("My Shop (new)", "my-shop-new"),
            (".hidden", "hidden"),
            ("läden", "l-den"),
            ("---", "shop"),
        ] {
            assert_eq!(cleaned(directory), name);
        }
        assert_eq!(named("name = \"shop\"      # names it", "newsroom"), "name = \"newsroom\"  # names it");
        assert_eq!(named("root = \"/srv/shop\" # \"~/shop\"", "newsroom"), "root = \"/srv/newsroom\" # \"~/newsroom\"");
        assert_eq!(named("# app.deploy_to = \"/srv/shop-staging\"", "a"), "# app.deploy_to = \"/srv/a-staging\"");
    }
}
