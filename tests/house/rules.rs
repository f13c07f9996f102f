//! The rules of the house: each takes the crate as text and answers with what breaks it.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Tree;

/// The rooms by floor, from the ground. A file may import what stands on lower floors, and its own room.
const FLOORS: &[&[&str]] = &[
    &["ssh/", "demo/", "sync.rs", "policy.rs", "name.rs", "out.rs", "text/"],
    &["answer.rs", "release.rs", "cli.rs", "http.rs"],
    &["lease.rs", "web/"],
    &["config/", "event/"],
    &["error.rs", "script/", "health/"],
    &["outcome/", "process/", "wording/"],
    &["remote/", "source/"],
    &["balancer/"],
    &["facts/"],
    &["plan/"],
    &["report/"],
    &["engine/"],
    &["stack/"],
    &["verbs/"],
    &["main.rs"],
];

/// Rooms that decide: no network, clock, environment, file or process.
const PURE: &[&str] = &[
    "plan/",
    "config/",
    "event/",
    "lease.rs",
    "web.rs",
    "name.rs",
    "policy.rs",
    "release.rs",
    "answer.rs",
    "script/",
    "facts.rs",
    "text/",
    "wording/",
];

/// The room of a file and its floor.
fn room(file: &str) -> Option<(usize, &'static str)> {
    FLOORS.iter().enumerate().find_map(|(floor, rooms)| {
        let own = |room: &&&str| file == **room || (room.ends_with('/') && file.starts_with(**room));
        // A room may be one file while it is small.
        let small = |room: &&&str| room.strip_suffix('/').is_some_and(|name| file == format!("{name}.rs"));
        rooms.iter().find(|r| own(r) || small(r)).map(|room| (floor, *room))
    })
}

/// Files that no floor names.
pub fn homeless(tree: &Tree) -> Vec<String> {
    let homeless = tree.code.keys().filter(|f| *f != "lib.rs" && room(f).is_none());
    homeless.map(|f| format!("{f} stands on no floor")).collect()
}

/// Imports from a floor to the same or a higher one.
pub fn upwards(tree: &Tree) -> Vec<String> {
    let mut all = Vec::new();
    for (from, targets) in tree.imports() {
        let Some((floor, own)) = room(&from) else { continue };
        for to in targets {
            let Some((other, its)) = room(&to) else { continue };
            if other >= floor && its != own {
                all.push(format!("{from} (floor {floor}) imports {to} (floor {other})"));
            }
        }
    }
    all
}

/// Groups of files that import each other, each with one way around.
pub fn loops(tree: &Tree) -> Vec<String> {
    let imports = tree.imports();
    let mut all = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for start in imports.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(way) = way_back(&imports, start) {
            seen.extend(way.iter().cloned());
            all.push(way.join(" -> "));
        }
    }
    all
}

/// The shortest way from a file to itself.
fn way_back(imports: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<String, String> = BTreeMap::new();
    let mut next = std::collections::VecDeque::from([start.to_owned()]);
    while let Some(at) = next.pop_front() {
        for to in imports.get(&at).into_iter().flatten() {
            if to == start {
                let mut way = vec![start.to_owned(), at.clone()];
                while let Some(previous) = before.get(way.last().unwrap()) {
                    way.push(previous.clone());
                }
                if way.last().unwrap() != start {
                    way.push(start.to_owned());
                }
                way.reverse();
                return Some(way);
            }
            if !before.contains_key(to) {
                before.insert(to.clone(), at.clone());
                next.push_back(to.clone());
            }
        }
    }
    None
}

/// Places where what decides names the world.
pub fn impure(tree: &Tree) -> Vec<String> {
    let words = [
        "tokio",
        "russh",
        "std::fs",
        "std::env",
        "TcpStream",
        "UdpSocket",
        "std::process",
        "Instant::now",
        "Timestamp::now",
        "SystemTime",
        "println!",
    ];
    let pure = |file: &str| {
        PURE.iter().any(|p| file.starts_with(p))
            || matches!(file, "balancer/facts.rs" | "balancer/haproxy/protocol.rs" | "balancer/haproxy/member.rs")
            || matches!(file, "balancer/haproxy/table.rs")
            || (file.starts_with("outcome/") && !file.starts_with("outcome/emit"))
    };
    places(tree, &words, pure)
}

/// Processes that are started anywhere but in their own rooms.
pub fn processes(tree: &Tree) -> Vec<String> {
    places(tree, &["Command::new"], |file| !["process/", "ssh/", "demo/"].iter().any(|room| file.starts_with(room)))
}

/// Readings of the environment anywhere but at the edges.
pub fn environment(tree: &Tree) -> Vec<String> {
    places(tree, &["env::var", "env::vars", "env::args", "env::current_dir"], |file| {
        !["verbs/", "stack/", "process/", "ssh/", "demo/", "main.rs"].iter().any(|room| file.starts_with(room))
    })
}

fn places(tree: &Tree, words: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    for (file, code) in tree.code.iter().filter(|(file, _)| wanted(file)) {
        for (number, line) in code.lines().enumerate() {
            all.extend(words.iter().filter(|w| line.contains(**w)).map(|w| format!("{file}:{} names {w}", number + 1)));
        }
    }
    all
}

/// Types of one name. Private ones are each file's own affair.
pub fn namesakes(tree: &Tree) -> Vec<String> {
    let mut homes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    // The demo and the rest know nothing of each other.
    for (file, code) in tree.code.iter().filter(|(file, _)| !file.starts_with("demo/")) {
        for line in code.lines() {
            let found = ["pub struct ", "pub enum ", "pub trait "].iter().find_map(|kind| line.strip_prefix(kind));
            if let Some(rest) = found {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                homes.entry(name).or_default().push(file);
            }
        }
    }
    let many = homes.into_iter().filter(|(name, files)| files.len() > 1 && !NAMESAKES.contains(&name.as_str()));
    many.map(|(name, files)| format!("{name} is {}", files.join(" and "))).collect()
}

/// Names that two types may share.
const NAMESAKES: &[&str] = &[];

/// First lines of docs that are too long to be read at a glance.
pub fn long_docs(tree: &Tree) -> Vec<String> {
    let mut all = Vec::new();
    for (file, text) in &tree.text {
        let mut in_doc = false;
        for (number, line) in text.lines().enumerate() {
            let doc = line.trim_start().strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
            if let (Some(doc), false) = (doc, in_doc)
                && doc.chars().count() > 100
            {
                all.push(format!("{file}:{}: {doc}", number + 1));
            }
            in_doc = line.trim_start().starts_with("///") || line.starts_with("//!");
        }
    }
    all
}

/// Lines that name a person where a noun says more.
pub fn vague(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let line = line.to_lowercase();
        ["whoever", "somebody", "nobody", "anybody", "everybody"].iter().any(|w| line.contains(w))
    });
    lines.map(|(number, line)| format!("{name}:{}: {}", number + 1, line.trim())).collect()
}

/// A function that is too long, or takes too much.
pub fn large(tree: &Tree) -> Vec<String> {
    let mut all = Vec::new();
    for (file, code) in &tree.code {
        let lines: Vec<&str> = code.lines().collect();
        if tree.text[file].lines().count() > 500 && lines.len() > 500 {
            all.push(format!("{file} has {} lines", lines.len()));
        }
        for function in functions(code) {
            if function.lines > 80 {
                all.push(format!("{file}: {} has {} lines", function.name, function.lines));
            }
            if function.parameters > 4 {
                all.push(format!("{file}: {} takes {} parameters", function.name, function.parameters));
            }
            if function.takes_tuple {
                all.push(format!("{file}: {} takes a tuple apart in its signature", function.name));
            }
        }
    }
    all
}

struct Function {
    name: String,
    lines: usize,
    parameters: usize,
    takes_tuple: bool,
}

fn functions(code: &str) -> Vec<Function> {
    let mut all = Vec::new();
    let foreign = of_traits(code);
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + 3..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = rest.find('(').filter(|_| !name.is_empty()) else { continue };
        let Some(close) = closing(&rest[open..]).map(|c| open + c) else { continue };
        let parameters = split(&rest[open + 1..close]);
        let counted = parameters.iter().filter(|p| {
            let name = p.trim().trim_start_matches('&').trim_start_matches("mut ");
            !(name == "self" || name.starts_with("self:") || name.ends_with(" self"))
        });
        let body = rest[close..].find(['{', ';']).map(|b| close + b);
        let lines = match body {
            Some(b) if rest[b..].starts_with('{') => {
                closing(&rest[b..]).map_or(0, |end| rest[b..b + end].matches('\n').count() + 1)
            }
            _ => 0,
        };
        all.push(Function {
            name,
            lines,
            // What a trait asks for is its own affair.
            parameters: if foreign.iter().any(|range| range.contains(&at)) { 0 } else { counted.count() },
            takes_tuple: parameters.iter().any(|p| p.trim_start().starts_with('(')),
        });
    }
    all
}

/// Where traits are implemented.
fn of_traits(code: &str) -> Vec<std::ops::Range<usize>> {
    let found = code.match_indices("\nimpl").filter_map(|(at, _)| {
        let open = at + code[at..].find('{')?;
        code[at..open].contains(" for ").then(|| Some(at..open + closing(&code[open..])?))?
    });
    found.collect()
}

/// Where the bracket that a text begins with closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// A parameter list at its commas.
fn split(list: &str) -> Vec<String> {
    let (mut all, mut part, mut depth) = (Vec::new(), String::new(), 0i32);
    let mut previous = ' ';
    for c in list.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if previous == '-' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => all.push(std::mem::take(&mut part)),
            _ => {}
        }
        if !(c == ',' && depth == 0) {
            part.push(c);
        }
        previous = c;
    }
    all.push(part);
    all.into_iter().filter(|p| !p.trim().is_empty()).collect()
}
