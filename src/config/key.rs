//! What a key and a table of `pitcrew.toml` can be.
//!
//! Owns the kinds of values; the keys themselves lie beside what reads them, in `tables`.

use std::time::Duration;

use super::bad::Bad;

/// Tells what is wrong with a text, if anything is.
pub type Check = fn(&str) -> Result<(), Bad>;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum ValueKind {
    /// A text.
    Text(Check),
    /// A text or a list of texts.
    Texts(Check),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Whole {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A duration.
    Duration {
        /// Whether zero makes sense.
        zero: bool,
    },
    /// A duration that is no shorter.
    AtLeast(Duration),
    /// A duration that is not zero, or `"none"`.
    Limit,
    /// Batch sizes.
    Batch,
    /// A whole number from 0, or a share of all like `"50%"`.
    Least,
    /// HTTP statuses and ranges of them.
    Statuses,
    /// A path, or `false`.
    PathOrFalse,
}

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: ValueKind,
    /// Whether the table is wrong without it.
    pub required: bool,
}

/// How a table looks.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// `[name]`, once.
    One(&'static [Key]),
    /// `[[name]]`, any number of times.
    Many(&'static [Key]),
    /// `[web]`: the web server template knows the keys.
    Parameters,
    /// `[env]`: the keys are names of environment variables, the values texts.
    Variables,
    /// `[secrets]`: the keys are names of environment variables, the values tables of these keys.
    Secrets(&'static [Key]),
}

/// One table of the file.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// How it looks.
    pub form: Form,
}

impl Table {
    /// Returns the keys, where the schema knows them.
    pub fn keys(&self) -> &'static [Key] {
        match self.form {
            Form::One(keys) | Form::Many(keys) | Form::Secrets(keys) => keys,
            Form::Parameters | Form::Variables => &[],
        }
    }

    /// Returns its header, within a profile or not: `[app]`, `[[servers]]`, `[profiles.staging.app]`.
    pub fn title(&self, profile: Option<&str>) -> String {
        match (profile, self.form) {
            (None, Form::Many(_)) => format!("[[{}]]", self.name),
            (None, _) => format!("[{}]", self.name),
            (Some(profile), Form::Many(_)) => format!("[[profiles.{profile}.{}]]", self.name),
            (Some(profile), _) => format!("[profiles.{profile}.{}]", self.name),
        }
    }
}

/// Makes a key that a table may have.
pub const fn key(name: &'static str, kind: ValueKind) -> Key {
    Key { name, kind, required: false }
}

impl Key {
    /// Makes the key one that its table must have.
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// A duration that may be zero.
pub const ANY_DURATION: ValueKind = ValueKind::Duration { zero: true };
/// A duration that is not zero.
pub const SOME_DURATION: ValueKind = ValueKind::Duration { zero: false };
/// A TCP port.
pub const PORT: ValueKind = ValueKind::Whole { least: 1, most: 65535 };

/// Returns the words of a choice, whose meanings stand beside them.
pub const fn words<T, const N: usize>(choice: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut i = 0;
    while i < N {
        words[i] = choice[i].0;
        i += 1;
    }
    words
}

/// The word under which profiles are kept.
pub const PROFILES: &str = "profiles";
