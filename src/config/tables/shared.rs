//! `[shared]`: paths that are linked into each release, none of them twice or inside of another.

use toml::de::DeTable;

use crate::config::key::{Form, Table, ValueKind, key};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::values;
use crate::config::words::quoted;
use crate::config::written::Found;

/// `[shared]`.
pub const TABLE: Table = Table {
    name: "shared",
    form: Form::One(&[
        key("dirs", ValueKind::Texts(values::shared_path)),
        key("files", ValueKind::Texts(values::shared_path)),
    ]),
};

/// `[shared]`: paths relative to the release, linked into `shared/`.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// Created when missing.
    pub dirs: Vec<String>,
    /// Must exist.
    pub files: Vec<String>,
}

/// Resolves the shared paths, without final slashes.
pub fn shared(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> Shared {
    let Some(section) = Section::one(merged, &TABLE) else {
        return Shared::default();
    };
    let dirs = section.texts("dirs").unwrap_or_default();
    let files = section.texts("files").unwrap_or_default();
    for file in files.iter().filter(|f| f.value.ends_with('/')) {
        let what = format!("{} in `files` of {} ends with `/`", quoted(file.value), section.title);
        problems.at(file.at, what, "a directory belongs in `dirs`");
    }
    let mut all: Vec<Found<&str>> =
        dirs.iter().chain(&files).map(|f| Found { value: trim(f.value), at: f.at }).collect();
    all.sort_by_key(|f| f.at);
    for (i, this) in all.iter().enumerate() {
        for earlier in all.iter().take(i) {
            let (this_name, earlier_name) = (quoted(this.value), quoted(earlier.value));
            if this.value == earlier.value {
                problems.at(this.at, format!("{this_name} is there twice in {}", section.title), "keep one of the two");
            } else if inside(this.value, earlier.value) {
                nested(this.at, &this_name, &earlier_name, problems);
            } else if inside(earlier.value, this.value) {
                nested(this.at, &earlier_name, &this_name, problems);
            }
        }
    }
    let owned = |list: &[Found<&str>]| list.iter().map(|f| trim(f.value).to_owned()).collect();
    Shared { dirs: owned(&dirs), files: owned(&files) }
}

fn trim(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn inside(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

fn nested(at: usize, inner: &str, outer: &str, problems: &mut Problems<'_>) {
    problems.at(
        at,
        format!("{inner} is inside of {outer}, which is linked as a whole"),
        format!("keep {outer}, which brings {inner} with it, or only what is inside"),
    );
}
