//! What is written down of every run: a line in a list, which can be taken up again, and all there is of a violation.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::case::{Scenario, Spot};
use crate::evidence::Evidence;
use crate::rules;

/// Where runs are listed.
#[derive(Debug, Clone)]
pub struct List(PathBuf);

impl List {
    /// The list at this place, or one of this process's own.
    pub fn at(place: Option<PathBuf>) -> Self {
        Self(place.unwrap_or_else(|| kept().join(format!("{}.tsv", std::process::id()))))
    }

    /// The cases that it lists as good, on a machine that had time for them.
    pub fn good(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let good = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            (fields.get(6) == Some(&"0") && fields.get(7) == Some(&"")).then(|| fields[0].to_owned())
        });
        good.collect()
    }

    /// Adds a run.
    pub fn add(&self, evidence: &Evidence, broken: &[String]) {
        let last = evidence.stdout.lines().last().unwrap_or_default();
        let finished: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
        let code = evidence.code.map_or("-".into(), |c| c.to_string());
        self.line(&format!(
            "{}\t{code}\t{}\t{}\t{:.1}\t{}\t{}\t{}\n",
            evidence.case,
            finished["outcome"],
            finished["servers"],
            evidence.took,
            evidence.hits,
            broken.len(),
            if rules::starved(evidence) { "starved" } else { "" },
        ));
    }

    fn line(&self, line: &str) {
        let written = self.0.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            std::fs::OpenOptions::new().create(true).append(true).open(&self.0)?.write_all(line.as_bytes())
        });
        if let Err(error) = written {
            println!("sweep: the list of runs cannot be written: {error}");
        }
    }

    fn places_file(&self) -> PathBuf {
        self.0.with_extension("places")
    }

    /// Writes down the places of every scenario: runs that take the list up again have the same cases.
    pub fn keep_places(&self, places: &BTreeMap<Scenario, Vec<Spot>>) -> std::io::Result<()> {
        let spots = places.iter().flat_map(|(scenario, spots)| spots.iter().map(move |s| format!("{scenario}: {s}\n")));
        std::fs::write(self.places_file(), spots.collect::<String>())
    }

    /// The places that were written down; empty: none were.
    ///
    /// # Errors
    /// A line is no place.
    pub fn places(&self) -> Result<BTreeMap<Scenario, Vec<Spot>>, String> {
        let text = std::fs::read_to_string(self.places_file()).unwrap_or_default();
        let mut places: BTreeMap<Scenario, Vec<Spot>> = BTreeMap::new();
        for line in text.lines() {
            let (scenario, spot) = line.split_once(": ").ok_or_else(|| format!("`{line}` is no place"))?;
            places.entry(scenario.parse()?).or_default().push(spot.parse()?);
        }
        Ok(places)
    }
}

/// Where evidence is kept.
fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("sweep")
}

/// Writes all there is to know of a run into a file.
///
/// # Errors
/// It cannot be written.
pub fn keep(evidence: &Evidence, broken: &[String], number: usize) -> std::io::Result<String> {
    use std::fmt::Write;
    let directory = kept();
    std::fs::create_dir_all(&directory)?;
    let file = directory.join(format!("{}-{number}.txt", std::process::id()));
    let mut text = format!(
        "{}\n\n{}\n\n{}, exit code {:?}, {:.1} s, {} signals, {} harms came to pass\n",
        evidence.case,
        broken.join("\n"),
        evidence.shell,
        evidence.code,
        evidence.took,
        evidence.signals,
        evidence.hits
    );
    for server in &evidence.servers {
        let _ = writeln!(text, "{server:?}");
    }
    for recovery in &evidence.recovered {
        let _ = writeln!(text, "\n--- recover, meets {:?}: {:?}", recovery.meets, recovery.code);
        let _ = writeln!(text, "{}\n{}", recovery.stdout, recovery.stderr);
        for server in &recovery.servers {
            let _ = writeln!(text, "{server:?}");
        }
    }
    for (place, lines) in evidence.hooks.iter().enumerate().filter(|(_, lines)| !lines.is_empty()) {
        let _ = writeln!(text, "\n--- hooks at place {place}: {}", lines.join(", "));
    }
    let _ = writeln!(text, "\n--- stdout\n{}\n--- stderr\n{}\n--- log", evidence.stdout, evidence.stderr);
    for record in &evidence.log {
        let mut line = format!("{:.3} {} {:?}", record.at.as_secs_f64(), record.server, record.kind);
        line.truncate(line.char_indices().nth(300).map_or(line.len(), |(at, _)| at));
        let _ = writeln!(text, "{line}");
    }
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}
