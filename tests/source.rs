//! Sources against the real thing: git repositories, hostile tar files, and what GNU tar and busybox tar make of a package.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps tests may fail like tests")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pitcrew::config::{Source, SourceKind};
use pitcrew::source::{Package, Resolved, SourceError, SourceOrigin, pack, resolve};
use proptest::prelude::*;
use tar::{EntryType, Header};
use tempfile::TempDir;

// --- what a tree is ---------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Vec<u8>, u32),
    Link(Vec<u8>),
    Directory,
}

type Tree = BTreeMap<Vec<u8>, Node>;

fn file(content: &str) -> Node {
    Node::File(content.into(), 0o644)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(parent) = waiting.pop() {
        for entry in fs::read_dir(root.join(&parent)).unwrap() {
            let at = parent.join(entry.unwrap().file_name());
            let full = root.join(&at);
            let metadata = full.symlink_metadata().unwrap();
            let node = if metadata.is_symlink() {
                Node::Link(fs::read_link(&full).unwrap().into_os_string().into_vec())
            } else if metadata.is_dir() {
                waiting.push(at.clone());
                Node::Directory
            } else {
                Node::File(fs::read(&full).unwrap(), metadata.mode() & 0o7777)
            };
            tree.insert(at.into_os_string().into_vec(), node);
        }
    }
    tree
}

fn plant(root: &Path, tree: &Tree) {
    for (name, node) in tree {
        let full = root.join(path(name));
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        match node {
            Node::Directory => fs::create_dir_all(&full).unwrap(),
            Node::Link(target) => symlink(path(target), &full).unwrap(),
            Node::File(content, mode) => {
                fs::write(&full, content).unwrap();
                fs::set_permissions(&full, Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

fn tree<const N: usize>(nodes: [(&str, Node); N]) -> Tree {
    nodes.into_iter().map(|(name, node)| (name.as_bytes().to_vec(), node)).collect()
}

// --- packing and unpacking --------------------------------------------------------------------------------------------

fn source(kind: SourceKind, at: &Path) -> Source {
    Source::local(kind, at)
}

fn both(source: &Source, reference: Option<&str>) -> Result<(Resolved, Package), SourceError> {
    let resolved = resolve(source, Path::new("/"), reference)?;
    let package = pack(source, Path::new("/"), &resolved, &|| false)?;
    Ok((resolved, package))
}

fn bytes_of(package: &Package) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(package.payload.len).unwrap()];
    package.payload.file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(package.payload.file.metadata().unwrap().len(), package.payload.len);
    bytes
}

/// The tar inside the package; damage would be found by the checksum.
fn tar_of(package: &Package) -> Vec<u8> {
    let bytes = bytes_of(package);
    assert_eq!(bytes[4] & 4, 4, "the frame has no checksum");
    zstd::decode_all(&bytes[..]).unwrap()
}

/// The package as servers without zstd get it.
fn gzipped_of(package: &Package) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let payload = runtime.block_on(package.clone().gzipped()).unwrap();
    let again = runtime.block_on(package.gzipped()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&payload.file, &again.file), "made twice");
    let mut bytes = vec![0; usize::try_from(payload.len).unwrap()];
    payload.file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(payload.file.metadata().unwrap().len(), payload.len);
    bytes
}

/// Unpacks with the tars that servers have, and insists that they agree, whatever the format.
fn unpack(package: &Package) -> Tree {
    let gnu = &["tar"][..];
    let busybox = &["busybox", "tar"][..];
    let (plain, gzipped) = (tar_of(package), gzipped_of(package));
    let ways =
        [(gnu, &plain, "-xpf"), (busybox, &plain, "-xpf"), (gnu, &gzipped, "-xpzf"), (busybox, &gzipped, "-xpzf")];
    let trees = ways.map(|(tar, bytes, options)| {
        let into = TempDir::new().unwrap();
        // Without root, busybox tar lets the umask take bits away in spite of -p.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "umask 0; exec \"$@\"", "tar"])
            .args(tar)
            .args([options, "-", "-C"])
            .arg(into.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .env("LC_ALL", "C")
            .spawn()
            .unwrap_or_else(|e| panic!("{tar:?} is needed for this test: {e}"));
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{tar:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{tar:?}: {}", String::from_utf8_lossy(&output.stderr));
        tree_of(into.path())
    });
    let [tree, others @ ..] = trees;
    assert!(others.iter().all(|other| *other == tree), "GNU tar and busybox tar disagree");
    assert_eq!(package.entries, tree.len() as u64);
    let size = |node: &Node| match node {
        Node::File(content, _) => content.len().next_multiple_of(4096) as u64,
        Node::Directory => 4096,
        Node::Link(_) => 0,
    };
    assert_eq!(package.unpacked, tree.values().map(size).sum::<u64>());
    tree
}

/// Unpacks, and takes REVISION away after looking at it.
fn released((resolved, package): &(Resolved, Package)) -> Tree {
    let mut tree = unpack(package);
    assert_eq!(tree.remove(&b"REVISION"[..]), Some(Node::File(format!("{}\n", resolved.revision).into(), 0o644)));
    tree
}

fn names(tree: &Tree) -> Vec<String> {
    tree.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

// --- git --------------------------------------------------------------------------------------------------------------

struct Repo {
    home: TempDir,
    root: PathBuf,
}

impl Repo {
    fn empty() -> Self {
        let home = TempDir::new().unwrap();
        let root = home.path().join("shop");
        fs::create_dir(&root).unwrap();
        let repo = Self { home, root };
        repo.git(&["init", "-q", "-b", "main"]);
        // The machine's own configuration must not reach into the repository when the library runs git.
        for key in ["core.attributesFile", "core.excludesFile"] {
            repo.git(&["config", key, "/dev/null"]);
        }
        repo
    }

    fn new(tree: &Tree) -> Self {
        let repo = Self::empty();
        plant(&repo.root, tree);
        repo.commit("Open the shop");
        repo
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.root)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, subject: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn source(&self) -> Source {
        source(SourceKind::Push, &self.root)
    }
}

fn shop() -> Tree {
    tree([
        ("app.rb", file("run")),
        ("bin/serve", Node::File(b"#!/bin/sh\n".into(), 0o755)),
        ("docs/readme", file("hi")),
    ])
}

#[test]
fn a_commit_is_released_with_its_files_modes_and_links() {
    let mut wanted = shop();
    wanted.extend(tree([
        ("link", Node::Link(b"bin/serve".into())),
        ("absolute", Node::Link(b"/etc/hosts".into())),
        ("-rf", file("dash")),
        ("a \"b\" 'c'\n\td \u{e9}\u{1f697}", file("odd")),
    ]));
    wanted.insert([&b"deep/"[..], &[b'x'; 120], b"/", &[b'\n'; 130]].concat(), file("long"));
    let repo = Repo::new(&wanted);
    let sha = repo.git(&["rev-parse", "HEAD"]);
    // What is not committed is not released, and that is said.
    fs::write(repo.root.join("app.rb"), "changed").unwrap();
    fs::write(repo.root.join("new"), "new").unwrap();

    let done = both(&repo.source(), None).unwrap();
    assert_eq!(done.0.revision.0, sha);
    assert_eq!(done.0.label, "HEAD");
    assert_eq!(done.0.subject.as_deref(), Some("Open the shop"));
    assert_eq!(done.0.origin, SourceOrigin::Git);
    assert_eq!(done.0.notes.len(), 1, "{:?}", done.0.notes);
    assert!(done.0.notes[0].starts_with("1 uncommitted and 1 untracked changes in "), "{:?}", done.0.notes);

    wanted.insert(b"deep".into(), Node::Directory);
    wanted.insert([&b"deep/"[..], &[b'x'; 120]].concat(), Node::Directory);
    wanted.insert(b"bin".into(), Node::Directory);
    wanted.insert(b"docs".into(), Node::Directory);
    assert_eq!(released(&done), wanted);
}

#[test]
fn a_ref_becomes_one_commit_once() {
    let repo = Repo::new(&shop());
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["tag", "-a", "v1", "-m", "one"]);
    let resolved = resolve(&repo.source(), Path::new("/"), Some("main")).unwrap();
    fs::write(repo.root.join("later"), "later").unwrap();
    let second = repo.commit("Later");

    let package = pack(&repo.source(), Path::new("/"), &resolved, &|| false).unwrap();
    assert!(!unpack(&package).contains_key(&b"later"[..]), "the branch moved, the release must not");
    for (name, sha) in [("v1", &first), ("main~1", &first), ("main", &second), (&first[..9], &first), ("HEAD", &second)]
    {
        let resolved = resolve(&repo.source(), Path::new("/"), Some(name)).unwrap();
        assert_eq!((&resolved.revision.0, resolved.label.as_str()), (sha, name));
        assert!(resolved.notes.is_empty(), "{:?}", resolved.notes);
    }
}

#[test]
fn export_attributes_are_honoured_in_a_subdirectory_too() {
    let mut wanted = shop();
    wanted.extend(tree([
        (
            ".gitattributes",
            file("docs export-ignore\nVERSION export-subst\nsecret export-ignore\n/web/top export-ignore\n"),
        ),
        ("VERSION", file("$Format:%H$")),
        ("web/.gitattributes", file("low export-ignore\nSUB export-subst\n/in/VERSION -export-subst\n")),
        ("web/VERSION", file("$Format:%H$")),
        ("web/SUB", file("$Format:%H$")),
        ("web/secret", file("no")),
        ("web/top", file("no")),
        ("web/low", file("no")),
        ("web/index", file("yes")),
        ("web/in/VERSION", file("$Format:%H$")),
        ("web/in/low", file("no")),
        ("web/in/secret", file("no")),
        ("low", file("yes")),
    ]));
    let repo = Repo::new(&wanted);
    let sha = repo.git(&["rev-parse", "HEAD"]);
    let whole = released(&both(&repo.source(), None).unwrap());
    let of_web = ["web", "web/.gitattributes", "web/SUB", "web/VERSION", "web/in", "web/in/VERSION", "web/index"];
    let of_top = [".gitattributes", "VERSION", "app.rb", "bin", "bin/serve", "low"];
    assert_eq!(names(&whole), [&of_top[..], &of_web].concat());
    assert_eq!(whole[&b"VERSION"[..]], file(&sha));

    let part = released(&both(&source(SourceKind::Push, &repo.root.join("web")), None).unwrap());
    let inner: Vec<String> = names(&whole).iter().filter_map(|n| n.strip_prefix("web/").map(str::to_owned)).collect();
    assert_eq!(names(&part), inner);
    for (name, content) in [("VERSION", &sha), ("SUB", &sha), ("index", &"yes".to_owned())] {
        assert_eq!(part[name.as_bytes()], file(content), "{name}");
    }
    let in_web = released(&both(&source(SourceKind::Push, &repo.root.join("web/in")), None).unwrap());
    assert_eq!(in_web, tree([("VERSION", file("$Format:%H$"))]));
}

#[test]
fn directories_of_odd_names_are_released_like_others() {
    let odd = [":(top)x", "a*", "[ab]", "-rf", "new\nline", "tail\n", " ", "\u{e9}"];
    let mut wanted = shop();
    for name in odd {
        wanted.insert(format!("{name}/deep/file").into_bytes(), file(name));
    }
    // What a pattern would take as well.
    wanted.extend(tree([("ab/deep/file", file("no")), ("a/deep/file", file("no")), ("x/deep/file", file("no"))]));
    let repo = Repo::new(&wanted);
    for name in odd {
        let at = repo.root.join(name).join("deep");
        let part = released(&both(&source(SourceKind::Push, &at), None).unwrap());
        assert_eq!(part, tree([("file", file(name))]), "{name:?}");
    }
}

#[test]
fn attributes_of_the_machine_and_of_other_commits_change_no_release() {
    let mut wanted = shop();
    wanted.insert(b".gitattributes".into(), file("docs export-ignore\n"));
    let repo = Repo::new(&wanted);
    let sha = repo.git(&["rev-parse", "HEAD"]);
    let before = names(&released(&both(&repo.source(), None).unwrap()));
    assert_eq!(before, [".gitattributes", "app.rb", "bin", "bin/serve"]);

    let attributes = repo.home.path().join("attributes");
    fs::write(&attributes, "app.rb export-ignore\n").unwrap();
    repo.git(&["config", "core.attributesFile", attributes.to_str().unwrap()]);
    fs::write(repo.root.join(".gitattributes"), "bin export-ignore\n").unwrap();
    repo.commit("Other attributes");
    repo.git(&["config", "attr.tree", "HEAD"]);
    assert_eq!(names(&released(&both(&repo.source(), Some(&sha)).unwrap())), before);
    repo.git(&["config", "--unset", "attr.tree"]);
    let bare = repo.home.path().join("bare.git");
    repo.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    assert_eq!(names(&released(&both(&source(SourceKind::Push, &bare), Some(&sha)).unwrap())), before);

    // A clone's own attributes are git's documented way to tweak an archive: they count, and that is said.
    fs::create_dir_all(repo.root.join(".git/info")).unwrap();
    fs::write(repo.root.join(".git/info/attributes"), "# none\n\n").unwrap();
    assert!(both(&repo.source(), Some(&sha)).unwrap().0.notes.is_empty());
    fs::write(repo.root.join(".git/info/attributes"), "/bin/serve export-ignore\n").unwrap();
    let at = source(SourceKind::Push, &repo.root.join("bin"));
    fs::write(repo.root.join(".gitattributes"), "").unwrap();
    fs::write(repo.root.join("bin/other"), "").unwrap();
    repo.commit("Another program");
    let done = both(&at, None).unwrap();
    assert_eq!(names(&released(&done)), ["other"]);
    assert!(done.0.notes.iter().any(|note| note.contains("info/attributes")), "{:?}", done.0.notes);
}

#[test]
fn a_directory_of_which_the_attributes_leave_nothing_is_refused() {
    let mut wanted = shop();
    wanted.insert(b".gitattributes".into(), file("bin export-ignore\n"));
    let repo = Repo::new(&wanted);
    let error = both(&source(SourceKind::Push, &repo.root.join("bin")), None).unwrap_err();
    assert!(error.what().contains("marked export-ignore"), "{error:?}");
    assert!(error.hint().contains(".gitattributes"), "{error:?}");
}

#[test]
fn pointers_of_git_lfs_are_refused_however_they_come_about() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
                           oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    let mut wanted = shop();
    wanted.extend(tree([("docs/.gitattributes", file("*.png filter=lfs -text\n")), ("docs/a.png", file(POINTER))]));
    let repo = Repo::new(&wanted);
    // The filter is not installed; it is told to leave pointers as they are (GIT_LFS_SKIP_SMUDGE=1, `--skip`).
    for smudge in ["", "cat"] {
        repo.git(&["config", "filter.lfs.smudge", smudge]);
        let error = both(&repo.source(), None).unwrap_err();
        assert!(error.what().contains("Git LFS") && error.what().contains("`docs/a.png`"), "{error:?}");
        assert!(error.hint().contains("GIT_LFS_SKIP_SMUDGE"), "{error:?}");
        assert!(both(&source(SourceKind::Push, &repo.root.join("bin")), None).is_ok());
    }
    repo.git(&["config", "filter.lfs.smudge", "echo content"]);
    assert_eq!(released(&both(&repo.source(), None).unwrap())[&b"docs/a.png"[..]], file("content\n"));
    // Attributes are no proof of a pointer, nor is their absence one against it.
    fs::write(repo.root.join("docs/.gitattributes"), "*.png export-ignore\n").unwrap();
    repo.commit("Leave it out");
    assert!(both(&repo.source(), None).is_ok());
    fs::write(repo.root.join("docs/.gitattributes"), "").unwrap();
    repo.commit("No attributes");
    assert!(both(&repo.source(), None).unwrap_err().what().contains("`docs/a.png`"));
}

/// Every git of this machine: the PATH's and those of the usual places, each version once.
fn gits() -> BTreeMap<String, PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let usual = ["/usr/bin", "/usr/local/bin", "/opt/git/bin"].map(PathBuf::from);
    let mut found = BTreeMap::new();
    for directory in std::env::split_paths(&path).chain(usual) {
        if let Ok(output) = Command::new(directory.join("git")).arg("--version").output() {
            found.entry(String::from_utf8_lossy(&output.stdout).trim().to_owned()).or_insert(directory);
        }
    }
    found
}

#[test]
fn every_git_of_this_machine_makes_the_same_release() {
    const TESTS: [&str; 5] = [
        "export_attributes_are_honoured_in_a_subdirectory_too",
        "directories_of_odd_names_are_released_like_others",
        "attributes_of_the_machine_and_of_other_commits_change_no_release",
        "pointers_of_git_lfs_are_refused_however_they_come_about",
        "submodules_are_refused_by_name_unless_they_are_left_out",
    ];
    let path = std::env::var_os("PATH").unwrap();
    for (version, directory) in gits() {
        // Git alone: beside it may lie another tar.
        let own = TempDir::new().unwrap();
        symlink(directory.join("git"), own.path().join("git")).unwrap();
        let path = std::env::join_paths(std::iter::once(own.path().to_owned()).chain(std::env::split_paths(&path)));
        let output =
            Command::new(std::env::current_exe().unwrap()).args(TESTS).env("PATH", path.unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{version} of {}: {said}", directory.display());
        assert!(said.contains(&format!("{} passed", TESTS.len())), "{version}: {said}");
    }
}

#[test]
fn line_endings_and_modes_do_not_depend_on_whose_machine_it_is() {
    let repo = Repo::new(&shop());
    fs::write(repo.root.join("unix"), "a\nb\n").unwrap();
    repo.commit("Lines");
    repo.git(&["config", "core.autocrlf", "true"]);
    repo.git(&["config", "tar.umask", "0077"]);
    let tree = released(&both(&repo.source(), None).unwrap());
    assert_eq!(tree[&b"unix"[..]], file("a\nb\n"));
    assert_eq!(tree[&b"bin/serve"[..]], Node::File(b"#!/bin/sh\n".into(), 0o755));
}

#[test]
fn a_bare_repository_is_a_source() {
    let repo = Repo::new(&shop());
    let bare = repo.home.path().join("bare.git");
    repo.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let done = both(&source(SourceKind::Push, &bare), Some("main")).unwrap();
    assert!(released(&done).contains_key(&b"app.rb"[..]));
}

#[test]
fn submodules_are_refused_by_name_unless_they_are_left_out() {
    let library = Repo::new(&tree([("lib", file("lib"))]));
    let repo = Repo::new(&shop());
    let from = library.root.to_str().unwrap();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", from, "vendor/the lib"]);
    repo.commit("Add a submodule");
    let error = resolve(&repo.source(), Path::new("/"), None).unwrap_err();
    assert!(error.what().contains("submodules") && error.what().contains("`vendor/the lib`"), "{error:?}");
    assert!(error.hint().contains("export-ignore"), "{error:?}");
    // Elsewhere in the repository there is none.
    assert!(resolve(&source(SourceKind::Push, &repo.root.join("bin")), Path::new("/"), None).is_ok());

    fs::write(repo.root.join(".gitattributes"), "vendor export-ignore\n").unwrap();
    repo.commit("Leave it out");
    let tree = released(&both(&repo.source(), None).unwrap());
    assert!(!names(&tree).iter().any(|name| name.starts_with("vendor")), "{:?}", names(&tree));
}

#[test]
fn unknown_refs_name_the_nearest() {
    let repo = Repo::new(&shop());
    repo.git(&["branch", "release/2024"]);
    repo.git(&["tag", "v1.0.1"]);
    repo.git(&["update-ref", "refs/remotes/origin/cart", "HEAD"]);
    for (name, near) in
        [("mian", "`main`"), ("v1.0.2", "`v1.0.1`"), ("release/2025", "`release/2024`"), ("cart", "`origin/cart`")]
    {
        let error = resolve(&repo.source(), Path::new("/"), Some(name)).unwrap_err();
        assert!(error.what().starts_with(&format!("cannot resolve `{name}`: ")), "{error:?}");
        assert!(error.hint().contains(near), "{error:?}");
    }
    for name in
        ["", "-h", "--all", "--output=/tmp/x", "a\nb", "main..HEAD", "HEAD:app.rb", "^main", "main main", "\u{1b}[31m"]
    {
        let error = resolve(&repo.source(), Path::new("/"), Some(name)).unwrap_err();
        assert!(error.what().starts_with("cannot resolve "), "{name}: {error:?}");
        assert!(!error.what().contains(char::is_control), "{error:?}");
    }
}

#[test]
fn commits_that_no_remote_has_are_noted() {
    let repo = Repo::new(&shop());
    repo.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    assert!(resolve(&repo.source(), Path::new("/"), None).unwrap().notes.is_empty());
    repo.commit("Mine alone");
    assert_eq!(
        resolve(&repo.source(), Path::new("/"), None).unwrap().notes,
        ["One commit of the release is on no remote."]
    );
}

#[test]
fn an_ambiguous_name_is_noted() {
    let repo = Repo::new(&shop());
    repo.git(&["tag", "twice"]);
    let sha = repo.commit("Later");
    repo.git(&["branch", "twice"]);
    let notes = |name| resolve(&repo.source(), Path::new("/"), Some(name)).unwrap().notes;
    assert!(notes("twice")[0].starts_with("The name `twice` is ambiguous"));
    assert!(notes(&sha).is_empty());
}

#[test]
fn repositories_that_cannot_be_used_say_why() {
    let empty = Repo::empty();
    let error = resolve(&empty.source(), Path::new("/"), None).unwrap_err();
    assert!(error.what().contains("no commit") && error.hint().contains("Commit first"), "{error:?}");

    let repo = Repo::new(&shop());
    fs::create_dir(repo.root.join("build")).unwrap();
    fs::write(repo.root.join("build/out"), "x").unwrap();
    let error = resolve(&source(SourceKind::Push, &repo.root.join("build")), Path::new("/"), None).unwrap_err();
    assert!(error.what().contains("nothing in it is tracked") && error.hint().contains("archive"), "{error:?}");

    // A damaged repository is no plain directory: that would release what nobody committed.
    fs::write(repo.root.join(".git/HEAD"), "garbage").unwrap();
    let error = resolve(&repo.source(), Path::new("/"), None).unwrap_err();
    assert!(error.what().contains("cannot use the git repository"), "{error:?}");

    let error = resolve(&source(SourceKind::Push, Path::new("/nowhere/at/all")), Path::new("/"), None).unwrap_err();
    assert!(error.what().starts_with("cannot open `/nowhere/at/all`"), "{error:?}");
}

#[test]
fn a_missing_object_fails_and_sends_no_half_release() {
    let mut wanted = shop();
    wanted.insert(b"zz".into(), file("the last of them"));
    let repo = Repo::new(&wanted);
    let blob = repo.git(&["rev-parse", "HEAD:zz"]);
    let resolved = resolve(&repo.source(), Path::new("/"), None).unwrap();
    fs::remove_file(repo.root.join(".git/objects").join(&blob[..2]).join(&blob[2..])).unwrap();
    let error = pack(&repo.source(), Path::new("/"), &resolved, &|| false).unwrap_err();
    assert!(error.what().contains("git archive failed"), "{error:?}");
}

#[test]
fn packing_stops_when_asked() {
    let repo = Repo::new(&shop());
    let build = TempDir::new().unwrap();
    plant(build.path(), &shop());
    for source in [repo.source(), source(SourceKind::Archive, build.path())] {
        let resolved = resolve(&source, Path::new("/"), None).unwrap();
        let error = pack(&source, Path::new("/"), &resolved, &|| true).unwrap_err();
        assert!(error.what().contains("interrupted"), "{error:?}");
    }
}

// --- directories ------------------------------------------------------------------------------------------------------

#[test]
fn a_plain_directory_is_released_as_it_is() {
    let root = TempDir::new().unwrap();
    let mut wanted = shop();
    wanted.extend(tree([
        ("bin", Node::Directory),
        ("docs", Node::Directory),
        ("empty", Node::Directory),
        ("dangling", Node::Link(b"../no/where".into())),
        ("private", Node::File(b"k".into(), 0o600)),
    ]));
    plant(root.path(), &wanted);
    fs::write(root.path().join("suid"), "s").unwrap();
    fs::set_permissions(root.path().join("suid"), Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(root.path().join("app.rb"), root.path().join("twin")).unwrap();
    wanted.insert(b"suid".into(), Node::File(b"s".into(), 0o755));
    wanted.insert(b"twin".into(), file("run"));
    // Left out: git's and pitcrew's own, and a REVISION that is not ours.
    plant(root.path(), &tree([("sub/.git", file("gitdir: x")), (".pitcrew/x", file("x")), ("REVISION", file("fake"))]));
    wanted.insert(b"sub".into(), Node::Directory);

    for kind in [SourceKind::Push, SourceKind::Archive] {
        let done = both(&source(kind, root.path()), None).unwrap();
        assert_eq!(done.0.origin, SourceOrigin::Directory);
        assert_eq!(done.0.revision.0.len(), 40);
        assert_eq!(released(&done), wanted);
    }
}

#[test]
fn a_directorys_revision_follows_content_names_modes_and_types_but_no_times() {
    let root = TempDir::new().unwrap();
    plant(root.path(), &shop());
    let source = source(SourceKind::Archive, root.path());
    let revision = || resolve(&source, Path::new("/"), None).unwrap().revision.0;
    let at = |name: &str| root.path().join(name);
    let mut seen = vec![revision()];
    fs::write(at("app.rb"), "run").unwrap();
    assert_eq!(revision(), seen[0], "written anew, but the same");
    let steps: [&dyn Fn(); 5] = [
        &|| fs::write(at("app.rb"), "ruN").unwrap(),
        &|| fs::set_permissions(at("app.rb"), Permissions::from_mode(0o755)).unwrap(),
        &|| fs::rename(at("app.rb"), at("App.rb")).unwrap(),
        &|| fs::create_dir(at("empty")).unwrap(),
        &|| {
            fs::remove_dir(at("empty")).unwrap();
            symlink("", at("empty")).or_else(|_| symlink("x", at("empty"))).unwrap();
        },
    ];
    for step in steps {
        step();
        let now = revision();
        assert!(!seen.contains(&now), "after {} steps", seen.len());
        seen.push(now);
    }
}

#[test]
fn a_directory_that_changes_after_it_was_resolved_is_refused() {
    let root = TempDir::new().unwrap();
    plant(root.path(), &shop());
    let source = source(SourceKind::Archive, root.path());
    let resolved = resolve(&source, Path::new("/"), None).unwrap();
    fs::write(root.path().join("app.rb"), "RUN").unwrap();
    let error = pack(&source, Path::new("/"), &resolved, &|| false).unwrap_err();
    assert!(error.what().contains("has changed since"), "{error:?}");
}

#[test]
fn everything_unfit_in_a_directory_is_named_at_once() {
    let root = TempDir::new().unwrap();
    plant(root.path(), &shop());
    nix::unistd::mkfifo(&root.path().join("docs/a pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("sock")).unwrap();
    let error = resolve(&source(SourceKind::Archive, root.path()), Path::new("/"), None).unwrap_err();
    assert!(
        error.what().contains("`docs/a pipe` (a named pipe)") && error.what().contains("`sock` (a socket)"),
        "{error:?}"
    );

    let error = resolve(&source(SourceKind::Archive, &root.path().join("sock")), Path::new("/"), None).unwrap_err();
    assert!(error.what().contains("neither a file nor a directory"), "{error:?}");
    let error = resolve(&source(SourceKind::Push, &root.path().join("app.rb")), Path::new("/"), None).unwrap_err();
    assert!(error.hint().contains("archive"), "{error:?}");
}

#[test]
fn a_ref_of_what_has_no_refs_is_refused() {
    let root = TempDir::new().unwrap();
    plant(root.path(), &shop());
    for kind in [SourceKind::Push, SourceKind::Archive] {
        let error = resolve(&source(kind, root.path()), Path::new("/"), Some("main")).unwrap_err();
        assert!(error.what().starts_with("cannot resolve `main`: "), "{error:?}");
    }
}

// --- archives ---------------------------------------------------------------------------------------------------------

/// Builds tar files that no well-meaning tar would.
#[derive(Default, Clone)]
struct Forge(Vec<u8>);

impl Forge {
    fn raw(mut self, kind: u8, name: &[u8], target: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(b'0', name.as_bytes(), b"", content.as_bytes())
    }

    fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.raw(kind, name.as_bytes(), target.as_bytes(), b"")
    }

    fn pax(self, key: &str, value: &[u8]) -> Self {
        self.raw(b'x', b"pax", b"", &record(key, value))
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len() + 1;
    while length != body.len() + length.to_string().len() {
        length += 1;
    }
    [length.to_string().as_bytes(), &body].concat()
}

fn released_archive(bytes: &[u8]) -> Result<(Resolved, Package), SourceError> {
    let directory = TempDir::new().unwrap();
    let at = directory.path().join("shop.tar.gz");
    fs::write(&at, bytes).unwrap();
    both(&source(SourceKind::Archive, &at), None)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_are_told_apart_by_content() {
    let root = TempDir::new().unwrap();
    let mut wanted = shop();
    wanted.insert(b"top/a \n'b'".into(), file("x"));
    wanted.insert([&b"top/"[..], &[b'n'; 200]].concat(), Node::Link(vec![b't'; 200]));
    plant(root.path(), &wanted);
    wanted.extend(tree([("bin", Node::Directory), ("docs", Node::Directory), ("top", Node::Directory)]));
    let mut revisions = std::collections::BTreeSet::new();
    for format in ["gnu", "pax", "posix"] {
        let output = Command::new("tar")
            .arg(format!("--format={format}"))
            .args(["-cf", "-", "-C"])
            .arg(root.path())
            .arg(".")
            .output()
            .unwrap();
        assert!(output.status.success());
        let plain = output.stdout;
        for bytes in [gzip(&plain), zstd::encode_all(&plain[..], 3).unwrap(), plain] {
            let done = released_archive(&bytes).unwrap();
            assert_eq!(done.0.label, "shop.tar.gz");
            assert_eq!(done.0.origin, SourceOrigin::Archive);
            assert_eq!(released(&done), wanted);
            revisions.insert(done.0.revision.0);
        }
    }
    assert!(revisions.len() >= 6, "each file has a revision of its own: {revisions:?}");
}

#[test]
fn one_directory_at_the_top_is_not_stripped_and_gzip_members_are_joined() {
    let tar = Forge::default().file("shop-1.0/app.rb", "run").end();
    let (first, second) = tar.split_at(700);
    let done = released_archive(&[gzip(first), gzip(second)].concat()).unwrap();
    assert_eq!(released(&done), tree([("shop-1.0", Node::Directory), ("shop-1.0/app.rb", file("run"))]));
}

#[test]
fn hard_links_are_kept_and_ours_replace_theirs() {
    let forge = Forge::default()
        .raw(b'5', b"./", b"", b"")
        .raw(b'5', b"d/", b"", b"")
        .raw(b'5', b"d", b"", b"")
        .file("./d/one", "1")
        .link(b'1', "two", "./d//one")
        .link(b'1', "three", "two")
        .link(b'2', "link", "/etc/passwd")
        .link(b'1', "link2", "link")
        .file("REVISION", "fake")
        .file(".pitcrew/lock", "fake")
        .raw(b'g', b"pax_global_header", b"", &record("comment", b"0123"));
    let done = released_archive(&forge.end()).unwrap();
    let link = Node::Link(b"/etc/passwd".into());
    let wanted = tree([
        ("d", Node::Directory),
        ("d/one", file("1")),
        ("two", file("1")),
        ("three", file("1")),
        ("link", link.clone()),
        ("link2", link),
    ]);
    let unpacked = tar_of(&done.1);
    let mut archive = tar::Archive::new(&unpacked[..]);
    let order: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(order.last().unwrap(), Path::new("REVISION"), "nothing cut short can look complete");
    // Hard links take no room of their own, which the general check does not know.
    let mut done = done;
    assert_eq!((done.1.entries, done.1.unpacked), (7, 3 * 4096));
    done.1.unpacked += 2 * 4096;
    assert_eq!(released(&done), wanted);
}

#[test]
fn hostile_archives_are_refused() {
    let new = Forge::default;
    let long = "x".repeat(256);
    let cases: Vec<(&str, Forge)> = vec![
        ("is absolute", new().file("/etc/passwd", "x")),
        ("holds `..`", new().file("../x", "x")),
        ("holds `..`", new().file("a/../../x", "x")),
        ("holds `..`", new().file("a/..", "x")),
        ("holds `..`", new().pax("path", b"a/../x").file("a", "x")),
        ("is absolute", new().raw(b'L', b"././@LongLink", b"", b"/abs\0").file("a", "x")),
        ("holds a NUL", new().pax("path", b"a\0b").file("a", "x")),
        ("longer than 255", new().pax("path", long.as_bytes()).file("a", "x")),
        ("own directory", new().file(".", "x")),
        ("own directory", new().link(b'2', "./", "/etc")),
        ("a character device", new().link(b'3', "null", "")),
        ("a block device", new().link(b'4', "sda", "")),
        ("a named pipe", new().link(b'6', "pipe", "")),
        ("sparse", new().file("ok", "x").raw(b'S', b"sparse", b"", b"")),
        ("sparse", new().pax("GNU.sparse.major", b"1").file("a", "x")),
        ("incremental", new().link(b'D', "dump", "")),
        ("another volume", new().link(b'M', "more", "")),
        ("unknown type `Z`", new().link(b'Z', "z", "")),
        ("through the symbolic link `a`", new().link(b'2', "a", "/etc").file("a/passwd", "x")),
        ("through the symbolic link `a/b`", new().link(b'2', "a/b", ".").file("a/b/c/d", "x")),
        ("through the symbolic link `a`", new().link(b'2', "a", "/etc").link(b'5', "a/d", "")),
        ("through the file `a`", new().file("a", "x").file("a/b", "x")),
        ("it is a directory, too", new().file("a/passwd", "x").link(b'2', "a", "/etc")),
        ("occurs twice", new().file("a", "x").file("./a", "y")),
        ("occurs twice", new().link(b'2', "a", "/etc").link(b'5', "a", "")),
        ("occurs twice", new().link(b'2', "a", "/etc").file("a", "x")),
        ("hard link to `b`", new().link(b'1', "a", "b").file("b", "x")),
        ("hard link to `d`", new().link(b'5', "d", "").link(b'1', "a", "d")),
        ("hard link is absolute", new().link(b'1', "a", "/etc/shadow")),
        ("hard link holds `..`", new().link(b'1', "a", "../x")),
        ("hard link to `REVISION`", new().file("REVISION", "x").link(b'1', "a", "REVISION")),
        ("REVISION is a directory", new().file("REVISION/x", "x")),
        ("REVISION is a directory", new().link(b'5', "REVISION", "")),
        ("has content", new().raw(b'1', b"a", b"b", b"data")),
        ("has content", new().raw(b'2', b"a", b"b", b"data")),
        ("not a path", new().link(b'2', "a", "")),
        ("not a path", new().pax("linkpath", b"a\0b").link(b'2', "a", "b")),
        ("renames all members", new().raw(b'g', b"g", b"", &record("path", b"x")).file("a", "x")),
        ("two extended headers", new().pax("path", b"a").pax("path", b"b").file("c", "x")),
        ("two long names", new().raw(b'L', b"l", b"", b"a\0").raw(b'L', b"l", b"", b"b\0").file("c", "x")),
        ("garbled", new().raw(b'x', b"x", b"", b"99 path=a\n").file("c", "x")),
        ("garbled", new().raw(b'x', b"x", b"", b"0 path=a\n").file("c", "x")),
        ("ends too early", new().pax("path", b"a")),
        ("impossible", new().pax("size", b"18446744073709551615").file("a", "x")),
        ("ends too early", new().pax("size", b"9000000000000000000").file("a", "x")),
    ];
    for (why, forge) in cases {
        let bytes = forge.end();
        for bytes in [gzip(&bytes), bytes] {
            let error = released_archive(&bytes).expect_err(why);
            assert!(error.what().starts_with("cannot ") && error.what().contains(why), "{why}: {error:?}");
        }
    }
}

#[test]
fn names_in_pax_headers_may_hold_newlines() {
    let name = "two\nlines 12 path=x\n";
    let done = released_archive(&Forge::default().pax("path", name.as_bytes()).file("cut", "x").end()).unwrap();
    assert_eq!(released(&done), tree([(name, file("x"))]));
}

#[test]
fn archives_that_end_too_early_or_go_on_too_long_are_refused() {
    let whole = Forge::default().file("a", &"content ".repeat(200)).file("b", "x").end();
    assert!(released_archive(&whole).is_ok());
    // Plain: every cut before the end mark is complete, on block boundaries above all.
    for cut in (1..=(whole.len() - 1024) / 256).map(|n| n * 256) {
        let error = released_archive(&whole[..cut]).expect_err("cut");
        assert!(error.what().contains("ends too early"), "{cut}: {error:?}");
    }
    // As the zstd program does; without it, a frame cannot be told from a damaged one.
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(&whole).unwrap();
    for packed in [gzip(&whole), zstd.finish().unwrap()] {
        for cut in 1..packed.len() {
            assert!(released_archive(&packed[..cut]).is_err(), "cut at {cut} of {}", packed.len());
        }
        let mut flipped = packed.clone();
        let middle = packed.len() / 2;
        flipped[middle] ^= 0x10;
        assert!(released_archive(&flipped).is_err());
    }
    let mut crc = gzip(&whole);
    let at = crc.len() - 8;
    crc[at] ^= 1;
    assert!(released_archive(&crc).is_err(), "the checksum after the tar's end is looked at, too");
    let error = released_archive(&[&whole[..], &whole[..]].concat()).unwrap_err();
    assert!(error.what().contains("follows its end mark"), "{error:?}");
}

#[test]
fn other_formats_are_named() {
    for (bytes, why) in [
        (&b""[..], "is empty"),
        (b"\xfd7zXZ\0....", "with xz"),
        (b"BZh91AY&SY", "with bzip2"),
        (b"PK\x03\x04....", "a zip file"),
        (&[b'x'; 2048], "checksum"),
    ] {
        let error = released_archive(bytes).unwrap_err();
        assert!(error.what().contains(why), "{error:?}");
        assert!(error.hint().contains(".tar.zst"), "{error:?}");
    }
}

#[test]
fn an_archive_that_changes_after_it_was_resolved_is_refused() {
    let directory = TempDir::new().unwrap();
    let at = directory.path().join("shop.tar");
    fs::write(&at, Forge::default().file("a", "1").end()).unwrap();
    let source = source(SourceKind::Archive, &at);
    let resolved = resolve(&source, Path::new("/"), None).unwrap();
    fs::write(&at, Forge::default().file("a", "2").end()).unwrap();
    let error = pack(&source, Path::new("/"), &resolved, &|| false).unwrap_err();
    assert!(error.what().contains("has changed since"), "{error:?}");
}

#[test]
fn a_bomb_of_a_name_is_not_read_into_memory() {
    // 4 GiB of name in 5 KiB of archive: refused by its claim, before any of it is read.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::new(b'L'));
    header.set_mode(0o644);
    header.set_size(4 << 30);
    header.set_cksum();
    let error = released_archive(&gzip(&[&header.as_bytes()[..], &[b'n'; 4096]].concat())).unwrap_err();
    assert!(error.what().contains("larger than 1 MiB"), "{error:?}");
}

#[test]
fn the_same_source_makes_the_same_bytes() {
    let root = TempDir::new().unwrap();
    plant(root.path(), &shop());
    let source = source(SourceKind::Archive, root.path());
    let once = bytes_of(&both(&source, None).unwrap().1);
    assert_eq!(once, bytes_of(&both(&source, None).unwrap().1));
}

#[test]
fn owners_and_odd_bits_do_not_travel() {
    let root = TempDir::new().unwrap();
    plant(root.path(), &tree([("bin", Node::Directory), ("bin/x", Node::File(b"x".into(), 0o755))]));
    fs::set_permissions(root.path().join("bin"), Permissions::from_mode(0o3555)).unwrap();
    let done = both(&source(SourceKind::Archive, root.path()), None).unwrap();
    fs::set_permissions(root.path().join("bin"), Permissions::from_mode(0o755)).unwrap();
    let bytes = tar_of(&done.1);
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut modes = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!((header.username_bytes(), header.groupname_bytes()), (Some(&b""[..]), Some(&b""[..])));
        modes.push((entry.path().unwrap().into_owned(), header.mode().unwrap()));
    }
    let wanted =
        [("bin/", 0o755), ("bin/x", 0o755), ("REVISION", 0o644)].map(|(name, mode)| (PathBuf::from(name), mode));
    assert_eq!(modes, wanted);
}

// --- properties -------------------------------------------------------------------------------------------------------

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(vec![
        &b"-rf"[..],
        b"--checkpoint-action=exec=x",
        b"a b",
        b"new\nline",
        b"\n",
        b"'",
        b"\"",
        b"\\",
        b"\\n",
        b"$(x)",
        b"`x`",
        b"*",
        b"?",
        b"[a]",
        b"{a,b}",
        b"~",
        b"#",
        b"...",
        b"..x",
        b".hidden",
        b" ",
        b"\t",
        b"\x01\x1b[31m",
        b"\xff\xfe",
        b"CON",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{1f697}\u{202e}".as_bytes(),
        b"a:b",
        b"c=d",
        b"@LongLink",
        b"x ",
    ])
    .prop_map(<[u8]>::to_vec);
    let any = prop::collection::vec(prop_oneof![1..=0x2e_u8, 0x30..=0xff_u8], 1..40);
    let long = (90_usize..=255).prop_map(|n| vec![b'l'; n]);
    prop_oneof![4 => odd, 3 => any, 1 => long].prop_filter("a name of its own", |name| {
        ![&b"."[..], b"..", b".git", b".pitcrew", b"REVISION"].contains(&&name[..])
    })
}

fn node() -> impl Strategy<Value = Node> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        prop::sample::select(vec![0_usize, 511, 512, 513, 4096, 300_000]).prop_map(|n| vec![b'z'; n]),
    ];
    let target = prop_oneof![
        name(),
        prop::sample::select(vec![&b"/"[..], b"/etc/passwd", b"../../up", b".", b"..", b"a//b/../c/", b"./x"])
            .prop_map(<[u8]>::to_vec),
        (95_usize..=600).prop_map(|n| [b"t/".repeat(n / 2), b"t".to_vec()].concat()),
    ];
    prop_oneof![
        5 => (content, 0..0o777_u32).prop_map(|(content, mode)| Node::File(content, mode | 0o400)),
        2 => target.prop_map(Node::Link),
        1 => Just(Node::Directory),
    ]
}

fn any_tree() -> impl Strategy<Value = Tree> {
    prop::collection::vec((prop::collection::vec(name(), 1..5), node()), 0..25).prop_map(|wanted| {
        let mut tree = Tree::new();
        for (parts, node) in wanted {
            let paths: Vec<Vec<u8>> = (1..=parts.len()).map(|n| parts[..n].join(&b'/')).collect();
            let (last, parents) = paths.split_last().unwrap();
            let free =
                parents.iter().all(|p| tree.get(p).is_none_or(|n| *n == Node::Directory)) && !tree.contains_key(last);
            if free {
                tree.extend(parents.iter().map(|p| (p.clone(), Node::Directory)));
                tree.insert(last.clone(), node);
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_survives_both_tars(tree in any_tree()) {
        let root = TempDir::new().unwrap();
        plant(root.path(), &tree);
        let done = both(&source(SourceKind::Archive, root.path()), None).unwrap();
        prop_assert_eq!(&released(&done), &tree);

        // And once more, as an archive: what pitcrew writes, it reads.
        let archive = root.path().join("package");
        File::create(&archive).unwrap().write_all(&bytes_of(&done.1)).unwrap();
        let again = both(&source(SourceKind::Archive, &archive), None).unwrap();
        prop_assert_eq!(&released(&again), &tree);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(released_archive(&bytes).is_err());
    }

    #[test]
    fn damaged_archives_never_panic_and_never_leave_the_release(
        at in prop::collection::vec((0_usize..6000, any::<u8>()), 1..8),
        fix in any::<bool>(),
    ) {
        let long = [b'p'; 150];
        let mut bytes = Forge::default().pax("path", &long).file("a", "content").link(b'2', "l", "a").link(b'1', "h", "l")
            .raw(b'5', b"d/", b"", b"").raw(b'L', b"l", b"", &long).raw(b'0', b"d/x", b"", &[b'c'; 600]).end();
        for (at, byte) in at {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if fix {
            // With its checksums put right, damage gets further in.
            for block in bytes.chunks_exact_mut(512).filter(|b| b.starts_with(b"a\0") || b.starts_with(b"d") || b.starts_with(b"pax")) {
                let mut header = Header::from_byte_slice(block).clone();
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        if let Ok(done) = released_archive(&bytes) {
            let packed = tar_of(&done.1);
            let mut archive = tar::Archive::new(&packed[..]);
            for entry in archive.entries().unwrap() {
                let entry = entry.unwrap();
                let kind = entry.header().entry_type();
                prop_assert!(matches!(kind, EntryType::Regular | EntryType::Directory | EntryType::Symlink | EntryType::Link));
                prop_assert!(entry.path().unwrap().components().all(|c| matches!(c, std::path::Component::Normal(_))));
            }
        }
    }
}
