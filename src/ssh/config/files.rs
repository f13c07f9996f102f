//! The files of an ssh_config: read once, with all that they include. Touches files, asks nobody.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::line::{self, Line};
use super::tokens::tilde;
use super::{Origin, wrong};
use crate::ssh::{ConnectError, ConnectErrorKind};

/// As in ssh (`READCONF_MAX_DEPTH`).
const DEPTH: usize = 16;
/// Largest file in bytes; more is no configuration.
const LARGEST: u64 = 4 << 20;

/// One file, or one that it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) items: Vec<(usize, Item)>,
}

/// What a line does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// What follows is for hosts that match.
    Host(Vec<String>),
    /// Here stand other files.
    Include(Vec<File>),
    /// A setting.
    Set(Line),
}

/// Where files come from, which decides where relative includes lie and whose they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `~/.ssh/config`: nobody else may be able to write it.
    User,
    /// A file that was named.
    Named,
    /// `/etc/ssh/ssh_config`.
    System,
}

/// Reads files and remembers whether ssh itself must be asked about them.
pub(super) struct Reader<'a> {
    pub(super) home: &'a Path,
    /// The first line that only ssh can evaluate.
    pub(super) ask: Option<(Origin, String)>,
}

impl Reader<'_> {
    /// Reads a file; `None`: it does not exist.
    pub(super) fn read(&mut self, path: &Path, place: Place) -> Result<Option<File>, ConnectError> {
        self.open(path, place, place == Place::User, 0)
    }

    fn open(&mut self, path: &Path, place: Place, guarded: bool, depth: usize) -> Result<Option<File>, ConnectError> {
        let failed = |e: String, hint: String| ConnectError {
            kind: ConnectErrorKind::Local,
            detail: format!("cannot read {}: {e}", path.display()),
            hint,
        };
        // The usual way to name no file.
        if path == Path::new("/dev/null") {
            return Ok(Some(File { path: path.to_path_buf(), items: Vec::new() }));
        }
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e.to_string(), "Make it readable, or set config_file in [ssh].".into())),
        };
        // A directory or a pipe would be an error or wait for ever.
        if !meta.is_file() || meta.len() > LARGEST {
            return Err(failed("it is no configuration file".into(), "Correct config_file or the Include.".into()));
        }
        let me = nix::unistd::geteuid().as_raw();
        if guarded && (meta.mode() & 0o022 != 0 || (meta.uid() != 0 && meta.uid() != me)) {
            let what = format!("others can write it (owner {}, mode {:04o})", meta.uid(), meta.mode() & 0o7777);
            return Err(failed(what, format!("As ssh demands, it must be yours: run chmod 600 {}.", path.display())));
        }
        let bytes = std::fs::read(path)
            .map_err(|e| failed(e.to_string(), "Make it readable, or set config_file in [ssh].".into()))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut file = File { path: path.to_path_buf(), items: Vec::new() };
        for (i, text) in text.split('\n').enumerate() {
            let at = Origin::File(path.to_path_buf(), i + 1);
            let line = match line::parse(text) {
                Ok(None) => continue,
                Ok(Some(line)) => line,
                Err(what) => return Err(wrong(&at, &format!("the line {what}"))),
            };
            let item = match line.keyword.as_str() {
                "host" if line.words.iter().any(|w| w.trim_start_matches('!').is_empty()) => {
                    return Err(wrong(&at, "Host has an empty pattern"));
                }
                "host" => Item::Host(line.words),
                "match" => {
                    self.must_ask(&at, "Match");
                    continue;
                }
                "include" => Item::Include(self.include(&line.words, place, &at, depth)?),
                "canonicalizehostname" if !no(&line.words) => {
                    self.must_ask(&at, "CanonicalizeHostname");
                    continue;
                }
                _ => Item::Set(line),
            };
            file.items.push((i + 1, item));
        }
        Ok(Some(file))
    }

    fn must_ask(&mut self, at: &Origin, keyword: &str) {
        self.ask.get_or_insert_with(|| (at.clone(), keyword.to_owned()));
    }

    fn include(
        &mut self,
        patterns: &[String],
        place: Place,
        at: &Origin,
        depth: usize,
    ) -> Result<Vec<File>, ConnectError> {
        if depth >= DEPTH {
            return Err(wrong(at, "Include goes too deep; does a file include itself?"));
        }
        let mut files = Vec::new();
        for pattern in patterns {
            // Newer versions of ssh expand these, older ones do not.
            if pattern.contains("${") || pattern.contains('%') {
                self.must_ask(at, "Include");
                continue;
            }
            let below = match place {
                Place::System => PathBuf::from("/etc/ssh"),
                Place::User | Place::Named => self.home.join(".ssh"),
            };
            let path = below.join(tilde(pattern, self.home));
            let text = path.to_string_lossy();
            let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
            let found = glob::glob_with(&text, options)
                .map_err(|e| wrong(at, &format!("Include has a bad pattern {pattern}: {e}")))?;
            for path in found {
                let path = path.map_err(|e| wrong(at, &format!("Include cannot look for {pattern}: {e}")))?;
                files.extend(self.open(&path, place, true, depth + 1)?);
            }
        }
        Ok(files)
    }
}

fn no(words: &[String]) -> bool {
    words.first().is_some_and(|w| ["no", "false"].iter().any(|no| w.eq_ignore_ascii_case(no)))
}
