//! `pitcrew init`.

use std::fs::OpenOptions;
use std::io::Write;

use crate::cli::Global;
use crate::config;
use crate::error::Error;
use crate::web::Template;

/// Writes a commented file, and never over one that exists.
///
/// # Errors
/// When no template has that name, or the file exists or cannot be written.
pub fn run(global: &Global, web_server: &str) -> Result<u8, Error> {
    let template = Template::builtin(web_server).ok_or_else(|| {
        Error::usage(format!("no web server template is called `{web_server}`"))
            .hint(format!("the templates are {}", crate::web::builtin_names().join(", ")))
    })?;
    let file = &global.config;
    let mut open = OpenOptions::new().write(true).create_new(true).open(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::usage(format!("{} exists already", file.display()))
            .hint("move it away, or name another with `-c FILE`"),
        _ => Error::usage(format!("cannot write {}: {e}", file.display())),
    })?;
    open.write_all(config::sample::sample(web_server, &template).as_bytes())
        .map_err(|e| Error::usage(format!("cannot write {}: {e}", file.display())))?;
    if !global.quiet {
        super::out::notice(&format!(
            "wrote {}: put your servers in, then `pitcrew check` and `pitcrew deploy --dry-run`",
            file.display()
        ));
    }
    Ok(0)
}
