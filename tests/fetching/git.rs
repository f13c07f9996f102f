//! The mirror: fetched into, mended, and refused what git archive would leave out.

use std::fs;
use std::process::{Command, Stdio};

use pitcrew::name::Revision;
use pitcrew::script::Call;
use pitcrew::script::calls;
use pitcrew::script::calls::Mirrored;

use super::{interrupted, locked};
use crate::hosts::{Repository, Web};
use crate::server::{Server, everywhere, id, on_path, require, run};

const A: &str = "20260101000001";
const B: &str = "20260101000002";
const C: &str = "20260101000003";

fn from(url: &str) -> Mirrored<'_> {
    Mirrored { url, origin: "", login: None, deploy_key: "", host_keys: &[], lent: false }
}

fn fetch(server: &Server, release: &str, sha: &str, url: &str) -> Call {
    calls::fetch(&server.site(), &run(), calls::Fresh { id: &id(release), revision: &Revision(sha.into()) }, &from(url))
}

/// Nothing is left of a release that was refused.
#[track_caller]
fn assert_nothing_of(server: &Server, release: &str) {
    assert!(!server.root().join("releases").join(release).exists());
    assert!(!server.root().join(".pitcrew/states").join(release).exists());
    assert_eq!(server.stray(), Vec::<String>::new());
}

#[test]
fn a_commit_becomes_a_release() {
    let repository = Repository::new();
    let first = repository.commit(&[
        ("app.rb", "one\n"),
        ("bin/run it", "#!/bin/sh\n"),
        ("spec/x.rb", "x"),
        (".gitattributes", "spec export-ignore\n*.rb -text\n"),
        ("version", "$Format:%H$"),
    ]);
    let second = repository.commit(&[("app.rb", "two\n"), (".gitattributes", "version export-subst\n")]);
    everywhere(|server| {
        locked(server);
        server.run(&fetch(server, A, &first, &repository.url())).ok();
        assert_eq!(server.read(&format!("releases/{A}/app.rb")), "one\n");
        assert_eq!(server.read(&format!("releases/{A}/REVISION")), format!("{first}\n"));
        assert!(!server.root().join("releases").join(A).join("spec").exists(), "export-ignore");
        assert!(server.root().join("repo/HEAD").is_file());
        server.run(&fetch(server, B, &second, &repository.url())).ok();
        assert_eq!(server.read(&format!("releases/{B}/app.rb")), "two\n");
        assert_eq!(server.read(&format!("releases/{B}/version")), second, "export-subst");
        // The commit is there: nobody is asked.
        let nowhere = server.run(&fetch(server, C, &first, "file:///nowhere")).ok();
        assert_eq!(server.read(&format!("releases/{C}/app.rb")), "one\n");
        assert!(nowhere.value("notice").is_none());
        assert_eq!(server.stray(), Vec::<String>::new());
        let facts = server.probe(&[]);
        assert!(facts.releases.iter().all(|r| r.state == pitcrew::release::ReleaseState::Prepared));
        // Asked again by the same run, whose answer was lost.
        let again = server.run(&fetch(server, B, &second, &repository.url())).ok();
        assert_eq!(again.value("transferred"), Some("again"));
        server.run(&fetch(server, B, &first, &repository.url())).refused("release_exists");
    });
}

#[test]
fn hosts_that_hand_out_only_refs_are_asked_for_all_of_them() {
    let repository = Repository::new();
    let first = repository.commit(&[("app.rb", "one\n")]);
    repository.commit(&[("app.rb", "two\n")]);
    everywhere(|server| {
        locked(server);
        // So speak old hosts: an older protocol, in which they refuse what no ref points to.
        fs::write(server.home().join(".gitconfig"), "[protocol]\n\tversion = 0\n").unwrap();
        server.run(&fetch(server, A, &first, &repository.url())).ok();
        assert_eq!(server.read(&format!("releases/{A}/app.rb")), "one\n");
    });
}

#[test]
fn what_cannot_be_fetched_is_refused_and_the_mirror_kept() {
    let repository = Repository::new();
    let first = repository.commit(&[("app.rb", "one\n")]);
    let nobody = "0123456789012345678901234567890123456789";
    everywhere(|server| {
        locked(server);
        server.run(&fetch(server, A, &first, &repository.url())).ok();
        let before = server.tree();
        server.run(&fetch(server, B, nobody, &repository.url())).refused("no_commit");
        let refused = server.run(&fetch(server, B, nobody, "file:///nowhere/at/all")).refused("not_fetched");
        assert!(refused.value("notice").is_none(), "the mirror is not to blame: {refused:?}");
        server.run(&fetch(server, B, nobody, "ext::sh -c 'touch /tmp/x'")).refused("not_fetched");
        assert_nothing_of(server, B);
        let new = server.tree().into_iter().filter(|p| !before.contains(p) && !p.starts_with("repo/"));
        assert_eq!(new.collect::<Vec<_>>(), Vec::<String>::new());
        server.write("repo/HEAD", "ref: refs/heads/main\n");
    });
    let Some(server) = Server::new("dash") else { return };
    locked(&server);
    server.write("repo/notes.txt", "somebody's own\n");
    server.run(&fetch(&server, A, &first, &repository.url())).refused("repo_odd");
    assert_eq!(server.read("repo/notes.txt"), "somebody's own\n");
}

#[test]
fn a_damaged_mirror_is_cloned_anew_once() {
    let repository = Repository::new();
    let first = repository.commit(&[("app.rb", "one\n"), ("lib/a.rb", "a\n")]);
    let second = repository.commit(&[("app.rb", "two\n")]);
    let objects = |server: &Server| {
        let mut all = Vec::new();
        let mut todo = vec![server.root().join("repo/objects")];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                if entry.path().is_dir() { todo.push(entry.path()) } else { all.push(entry.path()) }
            }
        }
        all
    };
    let rewrite = |path: &std::path::Path, bytes: &[u8]| {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    everywhere(|server| {
        locked(server);
        let damages: [(&str, &dyn Fn()); 5] = [
            ("no HEAD", &|| fs::remove_file(server.root().join("repo/HEAD")).unwrap()),
            ("no objects", &|| fs::remove_dir_all(server.root().join("repo/objects")).unwrap()),
            ("objects cut off", &|| {
                for file in objects(server) {
                    let bytes = fs::read(&file).unwrap();
                    rewrite(&file, &bytes[..bytes.len() / 2]);
                }
            }),
            ("objects empty", &|| objects(server).iter().for_each(|file| rewrite(file, b""))),
            ("a broken configuration", &|| server.write("repo/config", "[core\n")),
        ];
        for (number, (what, damage)) in damages.iter().enumerate() {
            let release = format!("2026010100{number:04}");
            let _ = fs::remove_dir_all(server.root().join("repo"));
            server.run(&fetch(server, &format!("2025010100{number:04}"), &first, &repository.url())).ok();
            damage();
            let ran = server.run(&fetch(server, &release, &second, &repository.url())).ok();
            assert!(ran.value("notice").is_some_and(|n| n.contains("cloned anew")), "{what}: {ran:?}");
            assert_eq!(server.read(&format!("releases/{release}/app.rb")), "two\n", "{what}");
            assert_eq!(server.read(&format!("releases/{release}/lib/a.rb")), "a\n", "{what}");
        }
        // A commit that is there and not whole is found out when it is unpacked.
        for file in objects(server) {
            let bytes = fs::read(&file).unwrap();
            rewrite(&file, &bytes[..bytes.len() - bytes.len() / 3]);
        }
        server.run(&fetch(server, C, &second, &repository.url())).ok();
        assert_eq!(server.read(&format!("releases/{C}/app.rb")), "two\n");
        assert_eq!(server.stray(), Vec::<String>::new());
    });
}

#[test]
fn what_a_fetch_that_was_cut_short_has_left_is_gone_on_with() {
    let repository = Repository::new();
    let first = repository.commit(&[("app.rb", "one\n")]);
    let second = repository.commit(&[("app.rb", "two\n"), ("lib/new.rb", "new\n")]);
    everywhere(|server| {
        locked(server);
        // `git init` made these first.
        for path in ["repo/hooks/update.sample", "repo/description", "repo/info/exclude", "repo/config.lock"] {
            server.write(path, "");
        }
        server.run(&fetch(server, A, &first, &repository.url())).ok();
        // The commit is there, and nothing that it consists of; and what is locked, by nobody that lives.
        let commit = repository.git(&["-C", "shop.git", "cat-file", "commit", &second]);
        fs::write(server.home().join("commit"), format!("{commit}\n")).unwrap();
        let mirror = server.root().join("repo");
        let write = format!(
            "git --git-dir='{}' hash-object -t commit -w \"$HOME/commit\"",
            mirror.display().to_string().replace('\'', "'\\''")
        );
        let nonce = pitcrew::answer::Nonce("0123456789abcdef".into());
        assert_eq!(server.exec(&write, b"", &nonce).output.trim(), second);
        for lock in ["refs/pitcrew/fetched.lock", "FETCH_HEAD.lock", "packed-refs.lock", "shallow.lock"] {
            server.write(&format!("repo/{lock}"), "");
        }
        server.write("repo/objects/pack/tmp_pack_XXXXXX", "half");
        let ran = server.run(&fetch(server, B, &second, &repository.url())).ok();
        assert!(ran.value("notice").is_none(), "the mirror is mended, not given up: {ran:?}");
        assert_eq!(server.read(&format!("releases/{B}/app.rb")), "two\n");
        assert_eq!(server.read(&format!("releases/{B}/lib/new.rb")), "new\n");
        let left = |p: &String| p.ends_with(".lock") || p.contains("tmp_");
        assert_eq!(server.tree().into_iter().filter(left).collect::<Vec<_>>(), Vec::<String>::new());
    });
}

/// TERM in the middle of git, as a first Ctrl-C sends it: all of it ends, and nothing half done stays.
#[test]
fn a_signal_ends_git_and_leaves_nothing() {
    let repository = Repository::new();
    let sha = repository.commit(&[("app.rb", "one\n")]);
    let real = on_path("git").unwrap();
    everywhere(|server| {
        locked(server);
        let hang = "'tmp' >\"$2/objects/pack/tmp_pack_1\"; : >\"$HOME/hangs\"; sleep 3000; exit 1"
            .replace("'tmp'", "echo half");
        let hang = hang.replace("$2", "${1#--git-dir=}");
        server.tool(
            "git",
            &format!("#!/bin/sh\ncase \" $* \" in *' fetch '*) {hang} ;; esac\nexec '{}' \"$@\"\n", real.display()),
        );
        interrupted(server, &fetch(server, A, &sha, &repository.url()));
        assert_nothing_of(server, A);
        assert!(!server.tree().iter().any(|p| p.contains("tmp_pack")), "{:?}", server.tree());
        fs::remove_file(server.home().join("../bin/git")).unwrap();
        let ran = server.run(&fetch(server, A, &sha, &repository.url())).ok();
        assert!(ran.value("notice").is_none(), "{ran:?}");
    });
}

#[test]
fn submodules_and_lfs_are_refused() {
    let repository = Repository::new();
    let other = repository.commit(&[("app.rb", "one\n")]);
    let module = format!("160000,{other},vendor/the module");
    repository.git(&["-C", "work", "update-index", "--add", "--cacheinfo", &module]);
    repository.git(&["-C", "work", "commit", "-q", "-m", "a module"]);
    let with_module = repository.push();
    fs::write(repository.work().join(".gitattributes"), "vendor export-ignore\n").unwrap();
    repository.git(&["-C", "work", "add", ".gitattributes"]);
    repository.git(&["-C", "work", "commit", "-q", "-m", "left out"]);
    let left_out = repository.push();
    repository.git(&["-C", "work", "rm", "-q", "--cached", "vendor/the module"]);
    let lfs = repository.commit(&[("public/.gitattributes", "*.png filter=lfs diff=lfs merge=lfs -text\n")]);
    everywhere(|server| {
        locked(server);
        let refused = server.run(&fetch(server, A, &with_module, &repository.url())).refused("submodules");
        assert!(refused.value("fail").is_some_and(|f| f.contains("vendor/the module")), "{refused:?}");
        assert_nothing_of(server, A);
        server.run(&fetch(server, B, &left_out, &repository.url())).ok();
        let refused = server.run(&fetch(server, C, &lfs, &repository.url())).refused("git_lfs");
        assert!(refused.value("fail").is_some_and(|f| f.contains("public/.gitattributes")), "{refused:?}");
        assert_nothing_of(server, C);
    });
}

/// A `git` that notes down every argument it is given.
fn noting() -> String {
    let git = on_path("git").unwrap();
    format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >>\"$HOME/arguments\"\nexec '{}' \"$@\"\n", git.display())
}

#[test]
fn a_password_is_told_to_its_host_alone_and_is_no_argument() {
    let repository = Repository::new();
    let sha = repository.commit(&[("app.rb", "one\n")]);
    repository.git(&["-C", "shop.git", "update-server-info"]);
    // "me:pass word'$(id)\""
    let web = Web::start(repository.bare().parent().unwrap(), Some("bWU6cGFzcyB3b3JkJyQoaWQpIg=="));
    let other = Web::start(repository.bare().parent().unwrap(), Some("never"));
    let password = "pass word'$(id)\"";
    let origin = format!("http://127.0.0.1:{}", web.port);
    everywhere(|server| {
        locked(server);
        server.tool("git", &noting());
        let login = Some(("me", password));
        let call = |release: &str, port: u16| {
            let url = format!("http://127.0.0.1:{port}/shop.git");
            let from = Mirrored { login, origin: &origin, ..from(&url) };
            calls::fetch(
                &server.site(),
                &run(),
                calls::Fresh { id: &id(release), revision: &Revision(sha.clone()) },
                &from,
            )
        };
        let refused = server.run(&call(A, other.port)).refused("not_fetched");
        assert!(!format!("{refused:?}").contains(password), "{refused:?}");
        assert!(other.asked().iter().all(|a| !a.contains("Basic")), "{:?}", other.asked());
        let ran = server.run(&call(B, web.port)).ok();
        assert_eq!(server.read(&format!("releases/{B}/app.rb")), "one\n");
        let arguments = fs::read_to_string(server.home().join("arguments")).unwrap();
        assert!(arguments.contains("fetch") && !arguments.contains("pass word"), "{arguments}");
        assert!(!format!("{ran:?}").contains(password));
        assert!(!call(B, web.port).command(&pitcrew::answer::Nonce("0123456789abcdef".into())).contains("pass word"));
    });
    assert!(web.asked().iter().any(|a| a.contains("Basic bWU6cGFzcyB3b3JkJyQoaWQpIg==")), "{:?}", web.asked());
}

/// The git host as most are: sshd, a key for the server, and a host key that must be known.
#[test]
fn over_ssh_the_host_key_is_checked_and_the_deploy_key_used() {
    if require("ssh-keygen").is_none() || !std::path::Path::new("/usr/sbin/sshd").exists() {
        assert!(std::env::var_os("PITCREW_REQUIRE_REAL").is_none(), "sshd is not installed");
        return;
    }
    let repository = Repository::new();
    let sha = repository.commit(&[("app.rb", "one\n")]);
    let host = Sshd::start();
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let url = format!("ssh://{}@127.0.0.1:{}{}", user.trim(), host.port, repository.bare().display());
    let (good, bad) = (host.known("host"), host.known("other"));
    everywhere(|server| {
        locked(server);
        let key = server.home().join("deploy key");
        fs::copy(host.dir.path().join("client"), &key).unwrap();
        fs::copy(host.dir.path().join("other"), server.home().join("other")).unwrap();
        let call = |release: &str, deploy_key: &str, host_keys: &[String]| {
            let from = Mirrored { deploy_key, host_keys, ..from(&url) };
            calls::fetch(
                &server.site(),
                &run(),
                calls::Fresh { id: &id(release), revision: &Revision(sha.clone()) },
                &from,
            )
        };
        server.run(&call(A, "~/deploy key", &[])).refused("git_host_key");
        server.run(&call(A, "~/deploy key", std::slice::from_ref(&bad))).refused("git_host_key");
        server.run(&call(A, "~/no key", std::slice::from_ref(&good))).refused("no_deploy_key");
        let denied = server.run(&call(A, "", std::slice::from_ref(&good))).refused("git_denied");
        assert!(denied.value("fail").is_some_and(|f| f.contains("no deploy_key is set")), "{denied:?}");
        let denied = server.run(&call(A, "~/other", std::slice::from_ref(&good))).refused("git_denied");
        assert!(denied.value("fail").is_some_and(|f| f.contains("does not accept the deploy key")), "{denied:?}");
        server.run(&call(A, "~/deploy key", &[bad.clone(), good.clone()])).ok();
        assert_eq!(server.read(&format!("releases/{A}/app.rb")), "one\n");
        assert!(!server.leftovers().iter().any(|n| n.contains("git_hosts")), "{:?}", server.leftovers());
    });
}

#[expect(clippy::disallowed_methods, reason = "waits for a process outside of any runtime")]
fn nap() {
    std::thread::sleep(std::time::Duration::from_millis(10));
}

struct Sshd {
    dir: tempfile::TempDir,
    port: u16,
    child: std::process::Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    fn start() -> Self {
        if nix::unistd::geteuid().is_root() {
            // Debian's init script makes this; without it sshd refuses to start.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        for name in ["host", "other", "client"] {
            let out =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(d.join(name)).output();
            assert!(out.unwrap().status.success());
        }
        for _ in 0..20 {
            let port = crate::port::own();
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/client.pub\nPidFile none\n\
                 UsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n",
                d.display()
            );
            fs::write(d.join("config"), config).unwrap();
            let log = fs::File::create(d.join("log")).unwrap();
            let mut command = Command::new("/usr/sbin/sshd");
            command.args(["-D", "-e", "-f"]).arg(d.join("config")).stdin(Stdio::null()).stdout(Stdio::null());
            let mut child = command.stderr(log).spawn().unwrap();
            for _ in 0..3000 {
                if fs::read_to_string(d.join("log")).unwrap().contains("Server listening") {
                    return Self { dir, port, child };
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                nap();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("sshd does not start");
    }

    fn known(&self, name: &str) -> String {
        let public = fs::read_to_string(self.dir.path().join(format!("{name}.pub"))).unwrap();
        format!("[127.0.0.1]:{} {}", self.port, public.trim())
    }
}
