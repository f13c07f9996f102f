//! The run's log on this machine: `events.jsonl` and one readable file per server.
//!
//! It owns the directory's layout, its permissions and how many runs are kept. It never stops a run: it reports the
//! first error and goes on with the files that it can still write.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::json;
use crate::event::{Event, Stamped, StepOutcome, Warning};
use crate::name::{RunId, ServerName};
use crate::outcome::reporter::Reporter;
use crate::outcome::state::State;
use crate::text::clean::clean;
use crate::text::units::seconds as duration;
use crate::wording::{cause, step, warning};

/// The number of runs whose logs are kept.
const KEEP: usize = 50;

/// The most files kept open; beyond that, all are closed and opened again as needed.
const OPEN: usize = 128;

/// Writes the log of one run.
pub struct RunLog {
    directory: PathBuf,
    events: File,
    servers: HashMap<ServerName, File>,
    trouble: Option<String>,
    told: bool,
}

/// Returns where an application's logs go: `$XDG_STATE_HOME/pitcrew/<app>`, or below `~/.local/state`.
///
/// `None`: neither variable holds an absolute path (XDG Base Directory Specification: relative ones are ignored).
pub fn directory(xdg_state_home: Option<&Path>, home: Option<&Path>, app: &str) -> Option<PathBuf> {
    let state = match xdg_state_home.filter(|p| p.is_absolute()) {
        Some(state) => state.to_owned(),
        None => home.filter(|p| p.is_absolute())?.join(".local/state"),
    };
    Some(state.join("pitcrew").join(file_name(app)))
}

impl RunLog {
    /// Makes the log of a run below its application's directory.
    ///
    /// That is `<run id>/` (0700) with an empty `events.jsonl` (0600). `latest` is pointed at it, and the oldest runs'
    /// directories beyond the fiftieth are removed.
    ///
    /// # Errors
    /// When the directory or the file cannot be made.
    pub fn create(app: &Path, run: &RunId) -> io::Result<Self> {
        let name = file_name(run.as_str());
        let directory = app.join(&name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let events = append(&directory.join("events.jsonl"))?;
        let mut log = Self { directory, events, servers: HashMap::new(), trouble: None, told: false };
        if let Err(error) = point_latest(app, &name).and_then(|()| prune(app, &name)) {
            log.note(&error);
        }
        Ok(log)
    }

    /// Returns the run's directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn note(&mut self, error: &io::Error) {
        if !self.told && self.trouble.is_none() {
            self.trouble = Some(error.to_string());
        }
    }

    fn write(&mut self, server: &ServerName, line: &str) {
        let written = self.file(server).and_then(|file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            self.note(&error);
        }
    }

    fn file(&mut self, server: &ServerName) -> io::Result<&mut File> {
        if !self.servers.contains_key(server) {
            if self.servers.len() >= OPEN {
                self.servers.clear();
            }
            let file = append(&self.directory.join(format!("{}.log", file_name(server.as_str()))))?;
            self.servers.insert(server.clone(), file);
        }
        self.servers.get_mut(server).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Reporter for RunLog {
    fn event(&mut self, stamped: &Stamped, _: &State) {
        if let Err(error) = json::write(&mut self.events, stamped) {
            self.note(&error);
        }
        if let Some((server, text)) = entry(&stamped.event) {
            let server = server.clone();
            self.write(&server, &format!("{:.3} {text}\n", stamped.at));
        }
    }

    fn trouble(&mut self) -> Option<Warning> {
        let detail = self.trouble.take()?;
        self.told = true;
        Some(Warning::LogBroken { directory: self.directory.display().to_string(), detail })
    }
}

/// Returns what a server's file says of an event, with the server.
fn entry(event: &Event) -> Option<(&ServerName, String)> {
    Some(match event {
        Event::StepStarted { place } => (&place.server, format!("{} started", place.step)),
        Event::Output { place, stream, line } => (&place.server, format!("{} {stream} {}", place.step, clean(line))),
        Event::StepFinished { place, outcome, seconds, failure, .. } => {
            (&place.server, ended(&place.step.to_string(), *outcome, *seconds, failure.as_deref()))
        }
        Event::UndoStarted { server, step } => (server, format!("undo {step}: {}", step::undo(*step))),
        Event::UndoFinished { server, step, outcome, seconds, failure } => {
            (server, ended(&format!("undo {step}"), *outcome, *seconds, failure.as_deref()))
        }
        Event::Warning { server: Some(server), warning } => (server, format!("warning {}", warning::sentence(warning))),
        _ => return None,
    })
}

fn ended(what: &str, outcome: StepOutcome, seconds: f64, failure: Option<&crate::event::Failure>) -> String {
    let mut said = format!("{what} {outcome} {}", duration(seconds));
    for line in failure.map(cause::lines).unwrap_or_default() {
        said.push_str(&format!("\n    {line}"));
    }
    said
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Makes a name safe for a file: bytes that could climb, hide or confuse a shell become `%XX`.
pub fn file_name(name: &str) -> String {
    let mut safe = String::new();
    for (i, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_@:".contains(&byte) || (byte == b'.' && i > 0);
        if plain {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    // File systems take 255 bytes; the extension and a temporary name need some of them.
    safe.truncate(200);
    if safe.is_empty() { "%".into() } else { safe }
}

/// Points `latest` at a run, by a rename: it points at a run at every moment.
fn point_latest(app: &Path, run: &str) -> io::Result<()> {
    let temporary = app.join(format!(".latest.{run}"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(run, &temporary)?;
    fs::rename(temporary, app.join("latest"))
}

/// Removes the oldest runs; directories without a run's log stay.
fn prune(app: &Path, current: &str) -> io::Result<()> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(app)? {
        let entry = entry?;
        let log = entry.path().join("events.jsonl");
        // Where the file is gone by now, another run pruned it.
        if let (true, Ok(metadata)) = (entry.file_type()?.is_dir(), fs::symlink_metadata(log)) {
            runs.push((metadata.modified()?, entry.file_name()));
        }
    }
    runs.sort();
    let surplus = runs.len().saturating_sub(KEEP);
    for (_, name) in runs.into_iter().take(surplus) {
        if name == *current {
            continue;
        }
        match fs::remove_dir_all(app.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
