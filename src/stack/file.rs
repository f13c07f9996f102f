//! The configuration file and a web server template of the user's own, read from disk.

use std::path::Path;

use crate::cli::Global;
use crate::config::{self, Config};
use crate::error::Error;
use crate::web::{self, Template};

/// Reads the configuration.
///
/// # Errors
/// When it cannot be read, or with every mistake in it.
pub fn read(global: &Global) -> Result<Config, Error> {
    let file = &global.config;
    let text = std::fs::read_to_string(file).map_err(|e| {
        Error::usage(format!("cannot read {}: {e}", file.display()))
            .hint("`pitcrew init` writes a commented one; `-c FILE` names another")
    })?;
    let here = std::env::current_dir().map_err(|e| Error::usage(format!("cannot tell the current directory: {e}")))?;
    let base = here.join(file).parent().map_or(here, Path::to_path_buf);
    let template = |wanted: &str| find_template(&base, wanted);
    let input = config::Input {
        text: &text,
        file,
        base: base.clone(),
        profile: global.profile.as_deref(),
        template: &template,
    };
    Ok(config::load(&input)?)
}

/// Finds a web server template: a name of the built-in ones, or a file.
fn find_template(base: &Path, wanted: &str) -> Result<Template, Vec<config::Problem>> {
    if let Some(template) = Template::builtin(wanted) {
        return Ok(template);
    }
    let is_path = wanted.contains('/') || wanted.ends_with(".toml");
    if !is_path {
        let known = web::builtin_names();
        let hint = format!("the templates are {}; a path names a file of your own", known.join(", "));
        return Err(vec![config::Problem::of_flag(format!("no web server template is called `{wanted}`"), hint)]);
    }
    let path = base.join(wanted);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        let hint = "it is looked for beside the configuration file";
        vec![config::Problem::of_flag(format!("cannot read the template {}: {e}", path.display()), hint)]
    })?;
    let name = path.file_stem().map_or_else(|| wanted.to_owned(), |s| s.to_string_lossy().into_owned());
    Template::parse(&name, &text).map_err(|e| {
        let shown = text.lines().nth(e.line.saturating_sub(1)).unwrap_or_default().to_owned();
        vec![config::Problem { file: path.clone(), line: e.line, column: 1, text: shown, what: e.what, hint: e.hint }]
    })
}
