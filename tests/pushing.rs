//! A release made on a server from the tree that it keeps: through the real scripts, whatever becomes of that tree.
//!
//! Runs the scripts themselves, without SSH. Whatever is in the cache, what comes out is exactly the tree that was sent.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps tests may fail like tests")]

#[path = "remote/server.rs"]
mod server;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pitcrew::config::{Source, SourceKind};
use pitcrew::name::{ReleaseId, Revision};
use pitcrew::remote::calls::{self, Base, Format, Wanted};
use pitcrew::source::delta::{Delta, Packed};
use pitcrew::source::{Package, pack, resolve};
use pitcrew::ssh::Payload;
use proptest::prelude::*;
use server::{Ran, SHELLS, Server, everywhere, owner, run};
use tempfile::TempDir;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Vec<u8>, u32),
    Link(Vec<u8>),
    Directory(u32),
}

type Tree = BTreeMap<Vec<u8>, Node>;

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn tree<const N: usize>(nodes: [(&str, Node); N]) -> Tree {
    nodes.into_iter().map(|(name, node)| (name.as_bytes().to_vec(), node)).collect()
}

fn file(content: &str) -> Node {
    Node::File(content.into(), 0o644)
}

fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(parent) = waiting.pop() {
        for entry in fs::read_dir(root.join(&parent)).unwrap() {
            let at = parent.join(entry.unwrap().file_name());
            let full = root.join(&at);
            let metadata = full.symlink_metadata().unwrap();
            let mode = metadata.mode() & 0o7777;
            let node = if metadata.is_symlink() {
                Node::Link(fs::read_link(&full).unwrap().into_os_string().into_vec())
            } else if metadata.is_dir() {
                waiting.push(at.clone());
                Node::Directory(mode)
            } else {
                Node::File(fs::read(&full).unwrap(), mode)
            };
            tree.insert(at.into_os_string().into_vec(), node);
        }
    }
    tree
}

fn plant(root: &Path, tree: &Tree) {
    for (name, node) in tree {
        let full = root.join(path(name));
        match node {
            Node::Directory(mode) => {
                fs::create_dir_all(&full).unwrap();
                fs::set_permissions(&full, Permissions::from_mode(*mode)).unwrap();
            }
            Node::Link(target) => symlink(path(target), &full).unwrap(),
            Node::File(content, mode) => {
                fs::write(&full, content).unwrap();
                fs::set_permissions(&full, Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

/// A release as this machine has it.
struct Release {
    revision: Revision,
    package: Package,
    tree: Tree,
}

impl Release {
    fn of(tree: &Tree) -> Self {
        let at = TempDir::new().unwrap();
        plant(at.path(), tree);
        let source = Source { kind: SourceKind::Push, path: at.path().into(), reference: "HEAD".into() };
        let resolved = resolve(&source, Path::new("/"), None).unwrap();
        let package = pack(&source, Path::new("/"), &resolved, &|| false).unwrap();
        let mut tree = tree.clone();
        tree.insert(b"REVISION".to_vec(), file(&format!("{}\n", resolved.revision.0)));
        Self { revision: resolved.revision, package, tree }
    }

    fn name(&self) -> &str {
        self.package.tree.as_ref().unwrap().digest()
    }

    fn listing(&self) -> Vec<u8> {
        self.package.tree.as_ref().unwrap().manifest.listing()
    }

    /// What a server that has `base` is sent.
    fn since(&self, base: &Self, packed: Packed) -> Option<Delta> {
        let asked = Cell::new(0);
        let learn = async {
            asked.set(asked.get() + 1);
            Some(base.listing())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.package.delta(base.name(), packed, learn)).unwrap()
    }

    fn wanted(&self, keep: bool) -> Wanted<'_> {
        let tree = self.package.tree.as_ref().unwrap();
        Wanted { tree: tree.digest(), loose: tree.loose_digest(), keep, kb: 4 }
    }
}

fn bytes(payload: Option<&Payload>) -> Vec<u8> {
    let mut bytes = vec![0; payload.map_or(0, |p| usize::try_from(p.len).unwrap())];
    if let Some(payload) = payload {
        payload.file.read_exact_at(&mut bytes, 0).unwrap();
    }
    bytes
}

fn id(n: u64) -> ReleaseId {
    ReleaseId::parse(&format!("{:014}", 20_260_101_000_000 + n)).unwrap()
}

/// A server with its lock held.
fn held(shell: &'static str) -> Option<Server> {
    let server = Server::new(shell)?;
    server.run(&calls::lock(&server.site(), &owner())).ok();
    Some(server)
}

fn whole(server: &Server, n: u64, release: &Release, keep: bool) -> Ran {
    let call = calls::transfer(&server.site(), &run(), &id(n), &release.revision).packed(Format::Zstd);
    server.send(&call.wanting(&release.wanted(keep)), &bytes(Some(&release.package.payload)))
}

fn differing(server: &Server, n: u64, release: &Release, base: &Release, format: Format) -> Ran {
    let packed = if format == Format::Zstd { Packed::Zstd } else { Packed::Gzip };
    let delta = release.since(base, packed).expect("a difference that is worth it");
    let payload = bytes(delta.payload.as_ref());
    let call = calls::transfer(&server.site(), &run(), &id(n), &release.revision).packed(format);
    let base = Base { tree: base.name(), gone: delta.gone, size: payload.len() as u64 };
    server.send(&call.wanting(&release.wanted(true)).onto(&base), &payload)
}

fn made(server: &Server, n: u64) -> Tree {
    tree_of(&server.root().join("releases").join(id(n).as_str()))
}

/// The names of the trees that a server says it keeps.
fn kept(server: &Server) -> Option<String> {
    server.probe(&[]).cache.map(|cache| cache.tree)
}

fn nothing_half(server: &Server) {
    let left = server.leftovers();
    assert!(!left.iter().any(|name| name.starts_with("delta.") || name.starts_with("incoming.")), "{left:?}");
}

/// Enough that a difference is smaller than the whole.
fn ballast(mut tree: Tree) -> Tree {
    let noise = (0..3000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    tree.insert(b"ballast".to_vec(), Node::File(noise, 0o644));
    tree
}

fn first() -> Release {
    Release::of(&ballast(tree([
        ("app", Node::Directory(0o755)),
        ("app/a", file("one\n")),
        ("app/b", file("same\n")),
        ("app/c", Node::Directory(0o755)),
        ("app/c/deep", file("deep\n")),
        ("bin", Node::Directory(0o755)),
        ("bin/run", Node::File(b"#!/bin/sh\n".to_vec(), 0o644)),
        ("link", Node::Link(b"app/a".to_vec())),
        ("odd 'name'\nwith\\all", file("odd\n")),
    ])))
}

fn second() -> Release {
    Release::of(&ballast(tree([
        ("app", Node::Directory(0o755)),
        ("app/a", file("two\n")),
        ("app/b", file("same\n")),
        ("app/c", Node::Link(b"b".to_vec())),
        ("bin", Node::Directory(0o700)),
        ("bin/run", Node::File(b"#!/bin/sh\n".to_vec(), 0o755)),
        ("-rf", file("not an option\n")),
        ("link", Node::Directory(0o755)),
        ("link/now a", file("directory\n")),
    ])))
}

#[test]
fn what_differs_is_enough() {
    let (first, second) = (first(), second());
    for format in [Format::Zstd, Format::Gzip] {
        for shell in SHELLS {
            let Some(server) = held(shell) else { continue };
            assert_eq!(kept(&server), None);
            assert_eq!(whole(&server, 1, &first, true).ok().value("cached"), Some("yes"));
            assert_eq!(made(&server, 1), first.tree, "{shell}");
            assert_eq!(kept(&server).as_deref(), Some(first.name()), "{shell}");
            differing(&server, 2, &second, &first, format).ok();
            assert_eq!(made(&server, 2), second.tree, "{shell}");
            assert_eq!(made(&server, 1), first.tree, "{shell}");
            assert_eq!(kept(&server).as_deref(), Some(second.name()), "{shell}");
            differing(&server, 3, &first, &second, format).ok();
            assert_eq!(made(&server, 3), first.tree, "{shell}");
            // Nothing differs, and nothing is sent.
            assert!(first.since(&first, Packed::Gzip).unwrap().payload.is_none());
            differing(&server, 4, &first, &first, format).ok();
            assert_eq!(made(&server, 4), first.tree, "{shell}");
            assert_eq!(kept(&server).as_deref(), Some(first.name()), "{shell}");
            nothing_half(&server);
        }
    }
}
