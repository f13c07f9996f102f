//! A release made on a server from the tree that it keeps: through the real scripts, whatever becomes of that tree.
//!
//! Runs the scripts themselves, without SSH. Whatever is in the cache, what comes out is exactly the tree that was sent.

#![expect(clippy::unwrap_used, reason = "what helps tests may fail like tests")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::server::{self, Ran, SHELLS, Server, everywhere, owner, run};
use pitcrew::config::{Source, SourceKind};
use pitcrew::name::{ReleaseId, Revision};
use pitcrew::script::calls;
use pitcrew::script::calls::{Base, Format, Wanted};
use pitcrew::source::delta::{Delta, Packed};
use pitcrew::source::{Package, pack, resolve};
use pitcrew::ssh::Payload;
use proptest::prelude::*;
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
        let source = Source::local(SourceKind::Push, at.path());
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
    let delta = release.since(base, packed).unwrap();
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

#[test]
fn a_cache_that_is_not_what_it_says_is_refused_and_goes() {
    let (first, second) = (first(), second());
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 14] = [
        ("deleted", |c| fs::remove_dir_all(c).unwrap()),
        ("without its tree", |c| fs::remove_dir_all(c.join("tree")).unwrap()),
        ("without its names", |c| fs::remove_file(c.join("names")).unwrap()),
        ("truncated content", |c| fs::write(c.join("tree/app/b"), "sa").unwrap()),
        ("altered content", |c| fs::write(c.join("tree/app/b"), "SAME\n").unwrap()),
        ("other permissions", |c| {
            fs::set_permissions(c.join("tree/app/b"), Permissions::from_mode(0o600)).unwrap();
        }),
        ("other permissions of a directory", |c| {
            fs::set_permissions(c.join("tree/app"), Permissions::from_mode(0o711)).unwrap();
        }),
        ("a file more", |c| fs::write(c.join("tree/more"), "").unwrap()),
        ("an odd file more", |c| fs::write(c.join("tree/more\nlines"), "").unwrap()),
        ("a file less", |c| fs::remove_file(c.join("tree/app/b")).unwrap()),
        ("a link instead of a file", |c| {
            fs::remove_file(c.join("tree/app/b")).unwrap();
            symlink("a", c.join("tree/app/b")).unwrap();
        }),
        ("a link instead of a directory", |c| {
            fs::remove_dir_all(c.join("tree/app")).unwrap();
            fs::create_dir(c.join("../../../elsewhere")).unwrap();
            fs::write(c.join("../../../elsewhere/a"), "theirs").unwrap();
            symlink(c.join("../../../elsewhere"), c.join("tree/app")).unwrap();
        }),
        ("a link that leads elsewhere", |c| {
            fs::remove_file(c.join("tree/link")).unwrap();
            symlink("app/b", c.join("tree/link")).unwrap();
        }),
        ("altered names", |c| fs::write(c.join("names"), b"./x\0").unwrap()),
    ];
    // One shell a damage is enough; each has its turn, and so has a release from which nothing differs.
    for (n, (what, damage)) in damages.into_iter().enumerate() {
        for same in [false, true].into_iter().filter(|same| !same || n % 4 == 3) {
            let shell = SHELLS[n % SHELLS.len()];
            let Some(server) = held(shell) else { continue };
            whole(&server, 1, &first, true).ok();
            let release = if same { &first } else { &second };
            // What is only swapped for something that the difference replaces does no harm, and need not be found.
            let harmless = what == "a link that leads elsewhere" && !same;
            damage(&server.root().join(".pitcrew/cache").join(first.name()));
            let ran = differing(&server, 2, release, &first, Format::Zstd);
            if harmless {
                ran.ok();
            } else {
                ran.refused("stale_base");
                assert!(!server.root().join("releases").join(id(2).as_str()).exists(), "{what}");
                assert_eq!(kept(&server), None, "{what}");
                nothing_half(&server);
                whole(&server, 2, release, true).ok();
            }
            assert_eq!(made(&server, 2), release.tree, "{what} under {shell}");
            assert_eq!(kept(&server).as_deref(), Some(release.name()), "{what} under {shell}");
            let theirs = server.root().join("elsewhere/a");
            assert!(!theirs.exists() || fs::read(theirs).unwrap() == b"theirs", "{what} wrote through a link");
        }
    }
}

#[test]
fn what_is_cut_short_costs_neither_the_cache_nor_a_release() {
    let (first, second) = (first(), second());
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        whole(server, 1, &first, true).ok();
        let delta = second.since(&first, Packed::Gzip).unwrap();
        let payload = bytes(delta.payload.as_ref());
        let base = Base { tree: first.name(), gone: delta.gone, size: payload.len() as u64 };
        let call = calls::transfer(&server.site(), &run(), &id(2), &second.revision).wanting(&second.wanted(true));
        server.send(&call.clone().onto(&base), &payload[..payload.len() - 1]).refused("bad_payload");
        assert_eq!(kept(server).as_deref(), Some(first.name()));
        nothing_half(server);
        // Damage on the way is found as well, and costs the cache.
        let mut damaged = payload.clone();
        let at = damaged.len() - 20;
        damaged[at] ^= 1;
        server.send(&call.clone().onto(&base), &damaged).refused("stale_base");
        assert!(!server.root().join("releases").join(id(2).as_str()).exists());
        nothing_half(server);
        whole(server, 2, &second, true).ok();
        assert_eq!(made(server, 2), second.tree);
    });
}

#[test]
fn a_release_is_not_what_was_sent_unless_it_is_exactly_that() {
    let first = first();
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        let wrong = "0".repeat(64);
        let wanted = Wanted { tree: &wrong, loose: &wrong, keep: true, kb: 4 };
        let call = calls::transfer(&server.site(), &run(), &id(1), &first.revision).packed(Format::Zstd);
        server.send(&call.clone().wanting(&wanted), &bytes(Some(&first.package.payload))).refused("bad_payload");
        assert!(!server.root().join("releases").join(id(1).as_str()).exists());
        // Where only permissions are lost, the release is good, and no base.
        let wanted = Wanted { loose: first.wanted(true).loose, ..wanted };
        let ran = server.send(&call.wanting(&wanted), &bytes(Some(&first.package.payload))).ok();
        assert_eq!((ran.value("modes"), ran.value("cached")), (Some("lost"), None));
        assert_eq!(kept(server), None);
        nothing_half(server);
    });
}

#[test]
fn a_server_without_the_tools_or_the_room_is_sent_all() {
    let (first, second) = (first(), second());
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        // No room: nothing is kept, and what was kept goes.
        whole(server, 1, &first, true).ok();
        assert_eq!(whole(server, 2, &second, false).ok().value("cached"), None);
        assert_eq!(kept(server), None);
        if !server.heeds_path() {
            return;
        }
        // A `sort` that knows no `-z`.
        whole(server, 3, &first, true).ok();
        server.tool("sort", "#!/bin/sh\necho 'sort: unknown option' >&2\nexit 2\n");
        differing(server, 4, &second, &first, Format::Gzip).refused("stale_base");
        whole(server, 4, &second, true).ok();
        assert_eq!(made(server, 4), second.tree);
        assert_eq!(kept(server), None);
        // A `cp` that knows no `--reflink`.
        fs::remove_file(server.home().join("../bin/sort")).unwrap();
        if server.shell == "busybox" {
            symlink(server::on_path("busybox").unwrap(), server.home().join("../bin/sort")).unwrap();
        }
        let cp = "case $* in *reflink*) echo \"cp: unrecognized option '--reflink=auto'\" >&2; exit 1;; esac";
        server.tool("cp", &format!("#!/bin/sh\n{cp}\nexec /bin/cp \"$@\"\n"));
        whole(server, 5, &first, true).ok();
        assert_eq!(kept(server).as_deref(), Some(first.name()));
        differing(server, 6, &second, &first, Format::Gzip).ok();
        assert_eq!(made(server, 6), second.tree);
        // A `cp` that fails in the middle: no cache, but a release; and no release from the cache.
        server.tool("cp", "#!/bin/sh\necho 'cp: No space left on device' >&2\nexit 1\n");
        differing(server, 7, &first, &second, Format::Gzip).refused("no_space");
        assert_eq!(kept(server), None);
        nothing_half(server);
        whole(server, 7, &first, true).ok();
        assert_eq!((made(server, 7), kept(server)), (first.tree.clone(), None));
        nothing_half(server);
    });
}

#[test]
fn another_machine_learns_from_the_server_what_it_keeps() {
    let (first, second) = (first(), second());
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        server.run(&calls::listing(&server.site(), first.name())).refused("no_cache");
        whole(server, 1, &first, true).ok();
        let text = server.run(&calls::listing(&server.site(), first.name())).ok().values("listing").concat();
        let packed = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        let mut listing = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut listing).unwrap();
        assert_eq!(listing, first.listing());
        // Also what was made from a difference.
        differing(server, 2, &second, &first, Format::Gzip).ok();
        let text = server.run(&calls::listing(&server.site(), second.name())).ok().values("listing").concat();
        assert!(!text.is_empty());
    });
}

#[test]
fn pruning_keeps_the_cache_of_those_who_push_and_what_dead_runs_left_goes() {
    let first = first();
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        whole(server, 1, &first, true).ok();
        server.write(".pitcrew/delta.20250101000000/cache/tree/x", "half");
        server.run(&calls::prune(&server.site(), &run(), 5, &[]).keeping_cache()).ok();
        assert_eq!(kept(server).as_deref(), Some(first.name()));
        nothing_half(server);
        server.run(&calls::prune(&server.site(), &run(), 5, &[])).ok();
        assert!(!server.root().join(".pitcrew/cache").exists());
    });
}

const NAMES: [&[u8]; 14] = [
    b"a",
    b"a-b",
    b"a.b",
    b"-n",
    b"sp ace ",
    b"quo'te\"s",
    b"new\nline",
    b"back\\slash",
    b"\xff\xfe",
    b"*",
    b".dot",
    b"$(x)`y`",
    b"\xc3\xa9",
    b"\ttab\r",
];

/// A tree of few names, so that two of them have many in common.
fn trees() -> impl Strategy<Value = Tree> {
    let node = prop_oneof![
        4 => (0..3_usize, prop_oneof![Just(0o644), Just(0o755), Just(0o400), Just(0o700)])
            .prop_map(|(n, mode)| Node::File([&b"x\n"[..], b"", b"\0\xff"][n].to_vec(), mode)),
        1 => (0..4_usize).prop_map(|n| Node::Link([&b"a"[..], b"/no/such/place", b"../\nx", b"\xff -> y"][n].to_vec())),
        3 => prop_oneof![Just(0o755), Just(0o700), Just(0o711)].prop_map(Node::Directory),
    ];
    let place = proptest::collection::vec(0..NAMES.len(), 1..4);
    proptest::collection::vec((place, node), 0..25).prop_map(|wanted| {
        let mut tree = Tree::new();
        for (place, node) in wanted {
            let mut at = Vec::new();
            for name in &place[..place.len() - 1] {
                at.extend_from_slice(NAMES[*name]);
                tree.entry(at.clone()).or_insert(Node::Directory(0o755));
                if !matches!(tree[&at], Node::Directory(_)) {
                    break;
                }
                at.push(b'/');
            }
            if at.is_empty() || at.ends_with(b"/") {
                at.extend_from_slice(NAMES[place[place.len() - 1]]);
                tree.entry(at).or_insert(node);
            }
        }
        ballast(tree)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_becomes_any_other(a in trees(), b in trees(), shell in 0..SHELLS.len(), zstd: bool) {
        let (first, second) = (Release::of(&a), Release::of(&b));
        let Some(server) = held(SHELLS[shell]) else { return Ok(()) };
        whole(&server, 1, &first, true).ok();
        prop_assert_eq!(made(&server, 1), first.tree.clone());
        let format = if zstd { Format::Zstd } else { Format::Gzip };
        differing(&server, 2, &second, &first, format).ok();
        prop_assert_eq!(made(&server, 2), second.tree.clone());
        prop_assert_eq!(kept(&server), Some(second.name().to_owned()));
    }
}
