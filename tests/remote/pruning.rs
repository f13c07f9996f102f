//! Pruning: what any process comes from stays, what cannot be removed is in nothing's way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::SystemTime;

use crate::server::{self, Server, everywhere, id, owner, run};
use pitcrew::script::calls;

/// Seven good releases of one month, the last of them current.
fn seven(server: &Server) -> Vec<String> {
    server.run(&calls::lock(&server.site(), &owner())).ok();
    let ids: Vec<_> = (1..=7).map(|day| format!("202601{day:02}000000")).collect();
    for id in &ids {
        server.release(id, Some("rev"));
        server.write(&format!(".pitcrew/states/{id}"), "good\n");
    }
    std::os::unix::fs::symlink(format!("releases/{}", ids[6]), server.root().join("current")).unwrap();
    ids
}

fn ended(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_process_was_started_from_is_not_pruned() {
    everywhere(|server| {
        let ids = seven(server);
        let path = |n: usize, file: &str| server.root().join("releases").join(&ids[n]).join(file);
        let sleep = || {
            let mut sleep = Command::new("sleep");
            sleep.arg("600").env_clear();
            sleep
        };
        fs::copy("/bin/sleep", path(3, "server")).unwrap();
        let users = [
            sleep().env("BUNDLE_GEMFILE", path(0, "Gemfile")).spawn().unwrap(),
            sleep().arg0(path(1, "venv/bin/python")).spawn().unwrap(),
            sleep().stdin(fs::File::open(path(2, "REVISION")).unwrap()).spawn().unwrap(),
            Command::new(path(3, "server")).arg("600").spawn().unwrap(),
        ];
        let ran = server.run(&calls::prune(&server.site(), &run(), 2, &[]));
        users.into_iter().for_each(ended);
        assert_eq!(ran.ok().values("removed"), [ids[4].clone()], "{}", server.shell);
        let ran = server.run(&calls::prune(&server.site(), &run(), 2, &[])).ok();
        assert_eq!(ran.values("removed").len(), 4);
    });
}

#[test]
fn a_release_that_cannot_be_removed_is_in_the_way_of_no_other() {
    if !nix::unistd::Uid::effective().is_root() {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: only root has files of other users\n");
        return;
    }
    for shell in server::SHELLS {
        let Some(server) = of_another_user(shell) else { continue };
        let ids = seven(&server);
        let foreign = server.root().join("releases").join(&ids[1]).join("uploads");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("x"), "").unwrap();
        own(server.root());
        for path in [foreign.join("x"), foreign.clone()] {
            std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
        }
        let ran = server.run(&calls::prune(&server.site(), &run(), 2, &[])).refused("not_removed");
        let mut removed = ran.values("removed");
        removed.sort_unstable();
        assert_eq!(removed, [&ids[0], &ids[2], &ids[3], &ids[4]].map(String::clone), "{shell}");
        assert!(ran.value("fail").unwrap().contains(&ids[1]), "{ran:?}");
        // The next one tries again, names it again, and removes what it has to.
        let next = "20260108000000";
        server.release(next, Some("rev"));
        server.write(&format!(".pitcrew/states/{next}"), "good\n");
        server.run(&calls::switch(&server.site(), &run(), Some(&id(&ids[6])), Some(&id(next)))).ok();
        fs::remove_file(server.root().join(".pitcrew/previous")).unwrap();
        let ran = server.run(&calls::prune(&server.site(), &run(), 2, &[])).refused("not_removed");
        assert_eq!(ran.values("removed"), [ids[5].clone()], "{shell}");
        assert!(ran.value("fail").unwrap().contains(&ids[1]), "{ran:?}");
        fs::remove_dir_all(server.root().join(format!(".pitcrew/trash.{}", ids[1]))).unwrap();
        server.run(&calls::prune(&server.site(), &run(), 2, &[])).ok();
    }
}

#[test]
fn a_process_that_cannot_be_seen_keeps_the_release_it_began_in() {
    for shell in server::SHELLS {
        let Some(Pruned { ran, ids, .. }) = beside_a_process(shell, "sleep") else { continue };
        let removed = ran.values("removed");
        assert!(removed.contains(&ids[0]) && !removed.contains(&ids[3]), "{removed:?}");
        assert!(ran.values("kept").iter().any(|k| k.starts_with(&ids[3])), "{ran:?}");
    }
}

/// Another login, or another run, may last as long as it likes.
#[test]
fn a_login_keeps_no_release() {
    for shell in server::SHELLS {
        for title in ["sshd: ann@pts/0", "sshd-session: ann@notty", "(sd-pam)"] {
            let Some(Pruned { ran, beside, .. }) = beside_a_process(shell, title) else { continue };
            // Tests beside this one have processes of other users.
            let by_it = format!("process {beside},");
            assert!(!ran.values("kept").iter().any(|kept| kept.contains(&by_it)), "{title}: {ran:?}");
        }
    }
}

/// What a prune said, of which releases, beside which process.
struct Pruned {
    ran: server::Ran,
    ids: [String; 4],
    beside: u32,
}

/// Prunes while a process of another user runs that began 20 s after the last of these releases was made.
fn beside_a_process(shell: &'static str, title: &str) -> Option<Pruned> {
    if !nix::unistd::Uid::effective().is_root() {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: only root has processes of other users\n");
        return None;
    }
    let server = of_another_user(shell)?;
    server.run(&calls::lock(&server.site(), &owner())).ok();
    let stamp = |ago: u64| {
        let then = SystemTime::now() - std::time::Duration::from_secs(ago);
        let seconds = then.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap().strftime("%Y%m%d%H%M%S").to_string()
    };
    // The first two were replaced before this machine began, the last was current then; the rest is to come.
    let ids = [600_000_000, 500_000_000, 400_000_000, 20].map(stamp);
    let later = ["20990101000000", "20990102000000", "20990103000000"].map(str::to_owned);
    for id in ids.iter().chain(&later) {
        server.release(id, Some("rev"));
        server.write(&format!(".pitcrew/states/{id}"), "good\n");
    }
    std::os::unix::fs::symlink(format!("releases/{}", later[2]), server.root().join("current")).unwrap();
    own(server.root());
    let hidden = Command::new("sleep").arg0(title).arg("600").uid(65533).current_dir("/").spawn().unwrap();
    let ran = server.run(&calls::prune(&server.site(), &run(), 2, &[]));
    let beside = hidden.id();
    ended(hidden);
    Some(Pruned { ran: ran.ok(), ids, beside })
}

/// A server whose login is `nobody`, who may look into no process of root.
fn of_another_user(shell: &'static str) -> Option<Server> {
    let setpriv = server::require("setpriv")?;
    let mut server = Server::new(shell)?;
    let setpriv = setpriv.display();
    server.tool("login", &format!("#!/bin/sh\nexec {setpriv} --reuid=65534 --regid=65534 --clear-groups sh \"$@\"\n"));
    server.login = Some(server.home().join("../bin/login"));
    let dir = server.home().join("..").canonicalize().unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(server.root()).unwrap();
    own(&dir);
    Some(server)
}

/// Gives everything below a directory to the login.
fn own(dir: &std::path::Path) {
    assert!(Command::new("chown").arg("-hR").arg("65534:65534").arg(dir).status().unwrap().success());
}
