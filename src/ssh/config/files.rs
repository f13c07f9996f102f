//! Reads the files of an ssh_config, with the files that they include. Evaluates nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, FileFault};
use super::keywords::takes_one_word;
use super::line::{self, Line};
use super::mistake::Mistake;
use super::origin::SettingOrigin;
use super::tokens::tilde;

/// Deepest `Include`, as in ssh (`READCONF_MAX_DEPTH`).
const DEPTH: usize = 16;
/// Largest file in bytes.
const LARGEST: u64 = 4 << 20;

/// A file, or one that it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) items: Vec<(usize, Item)>,
}

/// The meaning of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// The lines that follow are for hosts that match.
    Host(Vec<String>),
    /// The lines of these files follow.
    Include(Vec<File>),
    /// A setting.
    Set(Line),
}

/// The kind of a file, which decides where its relative includes lie and who must own it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `~/.ssh/config`, which only its user may be able to write.
    User,
    /// A file that pitcrew.toml names.
    Named,
    /// `/etc/ssh/ssh_config`.
    System,
}

/// The first line that only ssh can evaluate.
#[derive(Debug)]
pub(super) struct Because {
    pub(super) at: SettingOrigin,
    pub(super) keyword: String,
}

/// Reads files, and notes whether ssh must be asked about them.
pub(super) struct Reader<'a> {
    pub(super) home: &'a Path,
    pub(super) because: Option<Because>,
}

/// How a file is read.
#[derive(Clone, Copy)]
struct Manner {
    place: Place,
    /// Whether other users must not be able to write it.
    guarded: bool,
    /// The number of files that include each other down to it.
    depth: usize,
}

impl Reader<'_> {
    /// Reads a file; `None`: it does not exist.
    pub(super) fn read(&mut self, path: &Path, place: Place) -> Result<Option<File>, ConfigError> {
        self.open(path, Manner { place, guarded: place == Place::User, depth: 0 })
    }

    fn open(&mut self, path: &Path, manner: Manner) -> Result<Option<File>, ConfigError> {
        // The usual way to name no file.
        if path == Path::new("/dev/null") {
            return Ok(Some(File { path: path.to_path_buf(), items: Vec::new() }));
        }
        let Some(bytes) = content(path, manner.guarded)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let mut file = File { path: path.to_path_buf(), items: Vec::new() };
        for (i, text) in text.split('\n').enumerate() {
            let at = SettingOrigin::File(path.to_path_buf(), i + 1);
            let line = match line::parse(text) {
                Ok(None) => continue,
                Ok(Some(line)) => line,
                Err(what) => return Err(ConfigError::setting(&at, Mistake::Line(what))),
            };
            let item = match line.keyword.as_str() {
                "host" if line.words.iter().any(|w| w.trim_start_matches('!').is_empty()) => {
                    return Err(ConfigError::setting(&at, Mistake::EmptyPattern));
                }
                "host" => Item::Host(line.words),
                "match" => {
                    self.must_ask(&at, "Match");
                    continue;
                }
                "include" => Item::Include(self.include(&line.words, &at, manner)?),
                "canonicalizehostname" if !no(&line.words) => {
                    self.must_ask(&at, "CanonicalizeHostname");
                    continue;
                }
                // ssh would refuse the file, and what is meant by the rest cannot be told: `IdentityFile ~/my key`.
                keyword if line.words.len() > 1 && takes_one_word(keyword) == Some(true) => {
                    return Err(ConfigError::setting(&at, Mistake::MoreWords(line.written)));
                }
                _ => Item::Set(line),
            };
            file.items.push((i + 1, item));
        }
        Ok(Some(file))
    }

    fn must_ask(&mut self, at: &SettingOrigin, keyword: &str) {
        self.because.get_or_insert_with(|| Because { at: at.clone(), keyword: keyword.to_owned() });
    }

    fn include(&mut self, patterns: &[String], at: &SettingOrigin, from: Manner) -> Result<Vec<File>, ConfigError> {
        if from.depth >= DEPTH {
            return Err(ConfigError::setting(at, Mistake::TooDeep));
        }
        let manner = Manner { guarded: true, depth: from.depth + 1, ..from };
        let mut files = Vec::new();
        for pattern in patterns {
            // Newer versions of ssh expand these, older ones do not.
            if pattern.contains("${") || pattern.contains('%') {
                self.must_ask(at, "Include");
                continue;
            }
            let below = match from.place {
                Place::System => PathBuf::from("/etc/ssh"),
                Place::User | Place::Named => self.home.join(".ssh"),
            };
            let path = below.join(tilde(pattern, self.home));
            let text = path.to_string_lossy();
            let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
            let found = glob::glob_with(&text, options)
                .map_err(|e| Mistake::BadPattern { pattern: pattern.clone(), why: e.to_string() })
                .map_err(|mistake| ConfigError::setting(at, mistake))?;
            for path in found {
                let path = path
                    .map_err(|e| Mistake::Unlisted { pattern: pattern.clone(), why: e.to_string() })
                    .map_err(|mistake| ConfigError::setting(at, mistake))?;
                files.extend(self.open(&path, manner)?);
            }
        }
        Ok(files)
    }
}

/// Reads a file; `None`: it does not exist.
fn content(path: &Path, guarded: bool) -> Result<Option<Vec<u8>>, ConfigError> {
    let failed = |source| ConfigError::file(path, source);
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(FileFault::Io(e.into()))),
    };
    // Reading a directory fails, and reading a pipe may block.
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(failed(FileFault::NotAFile));
    }
    let me = nix::unistd::geteuid().as_raw();
    if guarded && (meta.mode() & 0o022 != 0 || (meta.uid() != 0 && meta.uid() != me)) {
        return Err(failed(FileFault::Writable { owner: meta.uid(), mode: meta.mode() & 0o7777 }));
    }
    std::fs::read(path).map(Some).map_err(|e| failed(FileFault::Io(e.into())))
}

fn no(words: &[String]) -> bool {
    words.first().is_some_and(|w| ["no", "false"].iter().any(|no| w.eq_ignore_ascii_case(no)))
}
