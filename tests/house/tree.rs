//! The crate as the house's rules see it: files as modules, and which file imports which.
//!
//! Reads text, not syntax trees: enough for `use` trees and for paths that begin with `crate`, `super` or `self`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every file below `below` that ends in `.rs`, without what is built there.
pub fn sources(below: &str) -> Vec<PathBuf> {
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    let mut files = Vec::new();
    while let Some(path) = todo.pop() {
        if path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    assert!(!files.is_empty(), "{below} is empty");
    files.sort();
    files
}

/// Files of a crate by their path below `src`, each without comments, literals and unit tests.
#[derive(Clone, Default)]
pub struct Tree {
    /// `plan/mod.rs` → its code.
    pub code: BTreeMap<String, String>,
    /// `plan/mod.rs` → its whole text.
    pub text: BTreeMap<String, String>,
}

impl Tree {
    /// Reads this crate.
    pub fn of_this_crate() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut tree = Self::default();
        for file in sources("src") {
            let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            tree.add(&name, &std::fs::read_to_string(&file).unwrap());
        }
        tree
    }

    /// Adds a file, or puts another text in its place.
    pub fn add(&mut self, name: &str, text: &str) {
        // Unit tests may look anywhere.
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
        let code = if is_test { String::new() } else { without_tests(&without_words(text)) };
        self.code.insert(name.into(), code);
        self.text.insert(name.into(), text.into());
    }

    /// A file with more code at its end.
    pub fn with(&self, name: &str, more: &str) -> Self {
        let mut tree = self.clone();
        let text = format!("{}\n{more}\n", self.text[name]);
        // In front of the unit tests, which are not looked at.
        tree.code.get_mut(name).unwrap().push_str(&format!("\n{}\n", without_words(more)));
        tree.text.insert(name.into(), text);
        tree
    }

    /// Which file imports which: every path of the code, followed through re-exports to the file that defines it.
    pub fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let modules: BTreeMap<Vec<String>, &str> = self.code.keys().map(|file| (module(file), file.as_str())).collect();
        let exports = self.code.iter().map(|(file, code)| (file.as_str(), exports(code))).collect();
        let resolver = Resolver { tree: self, modules: &modules, exports };
        let imports = self.code.iter().map(|(file, code)| {
            let found = paths(code).into_iter().filter_map(|path| resolver.file(file, &path, 0));
            (file.clone(), found.filter(|to| to != file).collect())
        });
        imports.collect()
    }
}

/// The module that a file is: `plan/mod.rs` is `[plan]`.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    if path == "lib" || path == "mod" {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

struct Resolver<'a> {
    tree: &'a Tree,
    modules: &'a BTreeMap<Vec<String>, &'a str>,
    exports: BTreeMap<&'a str, Vec<Export>>,
}

impl Resolver<'_> {
    /// The file that defines what a path names, seen from a file; `None`: it is another crate's.
    fn file(&self, from: &str, path: &[String], depth: usize) -> Option<String> {
        let (mut at, mut rest) = self.start(from, path)?;
        while let Some((next, after)) = rest.split_first() {
            let mut child = at.clone();
            child.push(next.clone());
            if self.modules.contains_key(&child) {
                (at, rest) = (child, after);
                continue;
            }
            let file = (*self.modules.get(&at)?).to_owned();
            if depth > 12 {
                return Some(file);
            }
            for exported in &self.exports[file.as_str()] {
                let is_named = exported.alias == *next;
                if is_named || exported.alias == "*" {
                    let target = self.file(&file, &exported.path, depth + 1);
                    let Some(target) = target else { continue };
                    if is_named || defines(&self.tree.code[&target], next) {
                        return Some(target);
                    }
                }
            }
            return Some(file);
        }
        Some((*self.modules.get(&at)?).to_owned())
    }

    fn start<'p>(&self, from: &str, path: &'p [String]) -> Option<(Vec<String>, &'p [String])> {
        let mut at = module(from);
        let (first, mut rest) = path.split_first()?;
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
                while rest.first().is_some_and(|w| w == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            // In a `mod.rs`, the name of a child module.
            child => {
                at.push(child.to_owned());
                if !self.modules.contains_key(&at) {
                    return None;
                }
            }
        }
        Some((at, rest))
    }
}

fn defines(code: &str, name: &str) -> bool {
    ["struct", "enum", "trait", "fn", "const", "static", "type", "mod", "macro_rules!"].iter().any(|kind| {
        code.match_indices(&format!("{kind} {name}"))
            .any(|(at, found)| !code[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// What a `pub use` makes known.
struct Export {
    alias: String,
    path: Vec<String>,
}

fn exports(code: &str) -> Vec<Export> {
    let mut all = Vec::new();
    for (visible, tree) in uses(code) {
        if visible {
            all.extend(leaves(&tree).into_iter().map(|(path, alias)| Export { alias, path }));
        }
    }
    all
}

/// Every path of the code: those of `use` trees, and those written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> =
        uses(code).into_iter().flat_map(|(_, tree)| leaves(&tree)).map(|(path, _)| path).collect();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            let is_scope = code[..at].ends_with("(in ");
            if is_scope || before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let end = code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(0);
            let path: Vec<String> =
                code[at..at + end].split("::").filter(|w| !w.is_empty()).map(str::to_owned).collect();
            // Alone, it begins a group, which `uses` has read.
            if path.len() > 1 {
                all.push(path);
            }
        }
    }
    all
}

/// The `use` trees of a file, and whether others see what they name.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_item = line.is_empty() || line == "pub" || (line.starts_with("pub(") && line.ends_with(')'));
        if is_item && let Some(end) = code[at..].find(';') {
            all.push((!line.is_empty(), code[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    all
}

/// The paths of a `use` tree, each with the name that it gives.
fn leaves(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let prefix: Vec<String> =
            tree[..open].split("::").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
        let inner = tree[open + 1..].trim_end().trim_end_matches('}');
        let mut inner = inner.to_owned();
        // `trim_end_matches` took the closing braces of nested groups as well.
        let missing = inner.matches('{').count() - inner.matches('}').count();
        inner.push_str(&"}".repeat(missing));
        let mut all = Vec::new();
        for part in commas(&inner) {
            for (path, alias) in leaves(&part) {
                let is_self = path.len() == 1 && path[0] == "self";
                let alias = if is_self && alias == "self" { prefix.last().cloned().unwrap_or_default() } else { alias };
                let path = if is_self { Vec::new() } else { path };
                all.push(([prefix.clone(), path].concat(), alias));
            }
        }
        return all;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(p, a)| (p, Some(a.trim().to_owned())));
    let mut path: Vec<String> = path.split("::").map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect();
    let last = path.last().cloned().unwrap_or_default();
    if last == "*" {
        path.pop();
    }
    if path.is_empty() {
        return Vec::new();
    }
    vec![(path, alias.unwrap_or(last))]
}

fn commas(text: &str) -> Vec<String> {
    let (mut all, mut part, mut depth) = (Vec::new(), String::new(), 0);
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    all.push(part);
    all.into_iter().filter(|p| !p.trim().is_empty()).collect()
}

/// The code without comments and without what literals hold; line breaks stay.
pub fn without_words(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        let rest = &bytes[i..];
        if !matches!(bytes[i], '/' | 'r' | 'b' | '"' | '\'') {
            out.push(bytes[i]);
            i += 1;
            continue;
        }
        let starts = |word: &str| word.chars().enumerate().all(|(at, c)| rest.get(at) == Some(&c));
        if starts("//") {
            while i < bytes.len() && bytes[i] != '\n' {
                i += 1;
            }
        } else if starts("r\"") || starts("r#\"") || starts("br\"") || starts("br#\"") {
            let hashes = rest.iter().skip_while(|c| **c == 'b' || **c == 'r').take_while(|c| **c == '#').count();
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let open = rest.iter().position(|c| *c == '"').unwrap_or(0) + 1;
            let body: String = rest[open..].iter().collect();
            let length = body.find(&close).map_or(body.len(), |end| end + close.len());
            let skipped = &body[..length];
            out.push_str("\"\"");
            out.push_str(&"\n".repeat(skipped.matches('\n').count()));
            i += open + skipped.chars().count();
        } else if bytes[i] == '"' {
            out.push('"');
            i += 1;
            while i < bytes.len() && bytes[i] != '"' {
                if bytes[i] == '\n' {
                    out.push('\n');
                }
                i += if bytes[i] == '\\' && bytes.get(i + 1) != Some(&'\n') { 2 } else { 1 };
            }
            out.push('"');
            i += 1;
        } else if bytes[i] == '\'' && (bytes.get(i + 1) == Some(&'\\') || bytes.get(i + 2) == Some(&'\'')) {
            // A character, not a lifetime.
            let escaped = bytes.get(i + 1) == Some(&'\\');
            i += if escaped { 3 } else { 2 };
            while i < bytes.len() && bytes[i] != '\'' {
                i += 1;
            }
            out.push_str("' '");
            i += 1;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    out
}

/// The code without modules and functions that only tests have.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    let marks = ["#[cfg(test)]", "#[cfg(all(test,"];
    while let Some(at) = marks.iter().filter_map(|mark| rest.find(mark)).min() {
        out.push_str(&rest[..at]);
        let after = &rest[at..];
        let brace = after.find('{').unwrap_or(after.len());
        let semicolon = after.find(';').unwrap_or(after.len());
        if semicolon < brace {
            rest = &after[(semicolon + 1).min(after.len())..];
            continue;
        }
        let mut depth = 0;
        let end = after.char_indices().filter(|(i, _)| *i >= brace).find_map(|(i, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => return None,
            }
            (depth == 0).then_some(i + 1)
        });
        rest = &after[end.unwrap_or(after.len())..];
    }
    out.push_str(rest);
    out
}
