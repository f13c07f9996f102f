//! What a tree holds, and how two trees differ.
//!
//! Owns the listing: the bytes in which this program and a server tell the same tree alike (`templates/remote/tree.sh`
//! makes them there), and whose SHA-256 names the tree. Pure; it reads and sends nothing.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

/// What stands before every path in a listing, as `find .` prints it.
const HERE: &[u8] = b"./";

/// All that a tree holds, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest(BTreeMap<Vec<u8>, Entry>);

/// One file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits; those of a link are always 0777.
    pub mode: u32,
    /// What it is.
    pub what: What,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A file with the SHA-256 of its content.
    File([u8; 32]),
    /// A directory.
    Directory,
    /// A link that leads there.
    Link(Vec<u8>),
}

/// What a server must be told to make one tree of another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Paths to be removed first, with all below them.
    pub gone: Vec<Vec<u8>>,
    /// Paths to be sent.
    pub sent: Vec<Vec<u8>>,
}

/// Why bytes are no listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAListing;

impl Manifest {
    /// Adds an entry, or puts another in its place.
    pub fn insert(&mut self, path: Vec<u8>, entry: Entry) {
        self.0.insert(path, entry);
    }

    /// What lies at a path.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.0.get(path)
    }

    /// All of it, by path.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_slice(), entry))
    }

    /// Tells whether a server lists this tree as this program does.
    ///
    /// It can read every file, and no name looks as if sha256sum had printed a digest in it.
    pub fn can_be_listed(&self) -> bool {
        self.0.iter().all(|(path, entry)| {
            let readable = !matches!(entry.what, What::File(_)) || entry.mode & 0o400 != 0;
            readable && !path.split(|b| *b == b'\n').skip(1).any(looks_like_a_digest)
        })
    }

    /// Returns the listing.
    ///
    /// First paths with `./` before and NUL after them, in the order of their bytes; then a line each of type and permissions,
    /// in hexadecimal as stat(2) has them; a line for each file with its digest; the target of each link, NUL after each.
    pub fn listing(&self) -> Vec<u8> {
        self.written(|entry| format!("{:x}", entry.mode_bits()))
    }

    /// The digest of the listing: the tree's name.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.listing()))
    }

    /// The digest of a listing without permissions.
    pub fn loose_digest(&self) -> String {
        hex(&Sha256::digest(self.written(|entry| format!("{:x}", entry.mode_bits() >> 12))))
    }

    fn written(&self, mode: impl Fn(&Entry) -> String) -> Vec<u8> {
        let mut out = Vec::new();
        for path in self.0.keys() {
            out.extend_from_slice(HERE);
            out.extend_from_slice(path);
            out.push(0);
        }
        for entry in self.0.values() {
            out.extend_from_slice(mode(entry).as_bytes());
            out.push(b'\n');
        }
        for entry in self.0.values() {
            if let What::File(digest) = &entry.what {
                out.extend_from_slice(hex(digest).as_bytes());
                out.push(b'\n');
            }
        }
        for entry in self.0.values() {
            if let What::Link(target) = &entry.what {
                out.extend_from_slice(target);
                out.push(0);
            }
        }
        out
    }

    /// Reads a listing.
    ///
    /// # Errors
    /// When it is none; nothing that it holds is believed before its digest is known to be right.
    pub fn parse(listing: &[u8]) -> Result<Self, NotAListing> {
        let mut rest = listing;
        let mut paths = Vec::new();
        while rest.starts_with(HERE) {
            let path = take(&mut rest, 0)?;
            paths.push(path[HERE.len()..].to_vec());
        }
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            let line = std::str::from_utf8(take(&mut rest, b'\n')?).map_err(|_| NotAListing)?;
            found.push((path, u32::from_str_radix(line, 16).map_err(|_| NotAListing)?));
        }
        let mut entries = BTreeMap::new();
        for (path, mode) in found.iter().filter(|(_, mode)| mode >> 12 == 8) {
            let digest = unhex(take(&mut rest, b'\n')?).ok_or(NotAListing)?;
            entries.insert(path.clone(), Entry { mode: mode & 0o777, what: What::File(digest) });
        }
        for (path, mode) in found {
            let what = match mode >> 12 {
                8 => continue,
                4 => What::Directory,
                0xa => What::Link(take(&mut rest, 0)?.to_vec()),
                _ => return Err(NotAListing),
            };
            entries.insert(path, Entry { mode: mode & 0o777, what });
        }
        if rest.is_empty() { Ok(Self(entries)) } else { Err(NotAListing) }
    }

    /// What must be done to `base` to make it this tree.
    ///
    /// What has changed goes first and comes anew, a directory with all that it holds: tars do not agree whether a
    /// directory that exists gets other permissions.
    pub fn since(&self, base: &Self) -> Difference {
        let mut gone: Vec<Vec<u8>> = Vec::new();
        let mut directories = BTreeSet::new();
        // A directory comes before what it holds, so what goes with it is known by then.
        for (path, old) in &base.0 {
            if self.0.get(path) != Some(old) && !parents(path).any(|parent| directories.contains(parent)) {
                if old.what == What::Directory {
                    directories.insert(path.as_slice());
                }
                gone.push(path.clone());
            }
        }
        let comes = |path: &[u8], new: &Entry| {
            base.0.get(path) != Some(new) || parents(path).any(|parent| directories.contains(parent))
        };
        let sent = self.0.iter().filter(|(path, new)| comes(path, new)).map(|(path, _)| path.clone()).collect();
        Difference { gone, sent }
    }
}

impl Entry {
    /// Type and permissions as stat(2) has them.
    fn mode_bits(&self) -> u32 {
        let kind = match self.what {
            What::File(_) => 0o100_000,
            What::Directory => 0o040_000,
            What::Link(_) => 0o120_000,
        };
        kind | self.mode & 0o777
    }
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(end, _)| &path[..end])
}

/// Takes what stands before the next `end`, and that as well.
fn take<'a>(rest: &mut &'a [u8], end: u8) -> Result<&'a [u8], NotAListing> {
    let at = rest.iter().position(|b| *b == end).ok_or(NotAListing)?;
    let (taken, left) = rest.split_at(at);
    *rest = &left[1..];
    Ok(taken)
}

fn looks_like_a_digest(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    line.len() >= 64 && line[..64].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(digits: &[u8]) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(entries: &[(&str, u32, What)]) -> Manifest {
        let mut made = Manifest::default();
        for (path, mode, what) in entries {
            made.insert(path.as_bytes().to_vec(), Entry { mode: *mode, what: what.clone() });
        }
        made
    }

    fn file(n: u8) -> What {
        What::File([n; 32])
    }

    #[test]
    fn what_goes_with_its_directory_is_not_named_again() {
        let base = tree(&[("a", 0o755, What::Directory), ("a-b", 0o644, file(1)), ("a/b", 0o644, file(2))]);
        let now = tree(&[("a", 0o777, What::Link(b"a-b".to_vec())), ("a-b", 0o755, file(1))]);
        let difference = now.since(&base);
        assert_eq!(difference.gone, [b"a".to_vec(), b"a-b".to_vec()]);
        assert_eq!(difference.sent, [b"a".to_vec(), b"a-b".to_vec()]);
        assert_eq!(now.since(&now), Difference::default());
    }

    #[test]
    fn a_directory_of_other_permissions_comes_anew() {
        let base = tree(&[("a", 0o755, What::Directory), ("a/b", 0o644, file(2)), ("c", 0o644, file(3))]);
        let now = tree(&[("a", 0o700, What::Directory), ("a/b", 0o644, file(2)), ("c", 0o644, file(3))]);
        let anew = Difference { gone: vec![b"a".to_vec()], sent: vec![b"a".to_vec(), b"a/b".to_vec()] };
        assert_eq!(now.since(&base), anew);
    }

    #[test]
    fn names_that_look_like_digests_are_not_listed() {
        let digest = "0".repeat(64);
        for (name, fit) in [(format!("x\n{digest}  y"), false), (format!("x\n\\{digest}"), false), (digest, true)] {
            assert_eq!(tree(&[(&name, 0o644, file(1))]).can_be_listed(), fit, "{name:?}");
        }
        assert!(!tree(&[("a", 0o200, file(1))]).can_be_listed());
    }

    proptest! {
        #[test]
        fn a_listing_is_read_back(
            entries in proptest::collection::btree_map(
                proptest::collection::vec(1u8.., 1..20),
                (0u32..0o1000, 0..3u8, proptest::collection::vec(1u8.., 1..9)),
                0..20,
            )
        ) {
            let mut made = Manifest::default();
            for (path, (mode, kind, text)) in entries {
                let what = match kind { 0 => file(mode as u8), 1 => What::Directory, _ => What::Link(text) };
                made.insert(path, Entry { mode, what });
            }
            prop_assert_eq!(Manifest::parse(&made.listing()), Ok(made));
        }

        #[test]
        fn nothing_a_server_sends_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&[b"./a\0", &bytes[..]].concat());
        }
    }
}
