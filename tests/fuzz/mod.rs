//! The fuzz targets' bodies as an ordinary test: over their seeds, and over thousands of damaged ones.
//!
//! `tests/fuzz/run.sh` lets libFuzzer search for longer; what it finds becomes a seed here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, and says with which input")]

mod bodies;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use bodies::{TARGETS, Target};

/// Damaged inputs for each target.
const DAMAGED: u64 = 1500;
/// No input takes longer, in a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// The seeds of a target; every target has some.
fn seeds(&(name, _, directories): &Target) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut seeds = Vec::new();
    for directory in directories {
        let entries = std::fs::read_dir(tests.join(directory)).unwrap();
        let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
        paths.sort();
        seeds.extend(paths.iter().map(|p| std::fs::read(p).unwrap()));
    }
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds
}

/// A generator of numbers that need not be good, only always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }

    /// Damages an input in one to eight places.
    fn damage(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.roll(seeds.len())].clone();
        for _ in 0..=self.roll(8) {
            let at = self.roll(bytes.len() + 1);
            let end = at + self.roll((bytes.len() - at).min(64) + 1);
            match self.roll(7) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].repeat(1 + self.roll(30));
                    bytes.splice(at..at, again);
                }
                3 => {
                    let other = &seeds[self.roll(seeds.len())];
                    let from = self.roll(other.len() + 1);
                    let part = other[from..].iter().copied().take(self.roll(200)).collect::<Vec<_>>();
                    bytes.splice(at..at, part);
                }
                4 => bytes.insert(at, *b"\0\n\r\x1b'\"\\ 0-9[]{}.,:/%\xff".get(self.roll(24)).unwrap_or(&b'!')),
                _ if at < bytes.len() => bytes[at] = u8::try_from(self.roll(256)).unwrap(),
                _ => {}
            }
        }
        bytes
    }
}

fn check(&(name, body, _): &Target, input: &[u8]) {
    let began = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| body(input))).is_err() {
        let dump = tempfile::NamedTempFile::new().unwrap().keep().unwrap().1;
        std::fs::write(&dump, input).unwrap();
        panic!("{name} fails with what is now in {}", dump.display());
    }
    assert!(began.elapsed() < LIMIT, "{name} takes {:?} for {} bytes", began.elapsed(), input.len());
}

fn all(target: &Target) {
    let seeds = seeds(target);
    for seed in &seeds {
        check(target, seed);
    }
    check(target, b"");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..DAMAGED {
        check(target, &dice.damage(&seeds));
    }
}

#[test]
fn nothing_hostile_panics_hangs_or_breaks_a_promise() {
    std::thread::scope(|scope| {
        for target in &TARGETS {
            std::thread::Builder::new().name(target.0.into()).spawn_scoped(scope, || all(target)).unwrap();
        }
    });
}

/// libFuzzer's targets, the bodies and the script are one list.
#[test]
fn every_target_is_built_and_run() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = std::fs::read_to_string(here.join("Cargo.toml")).unwrap();
    let mut built: Vec<_> = manifest.lines().filter_map(|l| l.strip_prefix("path = \"targets/")).collect();
    built.sort_unstable();
    let names: Vec<_> = TARGETS.iter().map(|t| format!("{}.rs\"", t.0)).collect();
    assert_eq!(built, names);
    let script = std::fs::read_to_string(here.join("run.sh")).unwrap();
    for (name, _, directories) in TARGETS {
        for directory in directories.iter().filter(|d| !d.starts_with("fuzz/seeds")) {
            assert!(script.contains(&format!("{name}) ")) && script.contains(directory), "{name}: {directory}");
        }
    }
}
