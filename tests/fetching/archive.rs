//! Archives: of every format, with every tool, proven before they are unpacked.

use std::fs;
use std::path::Path;

use pitcrew::answer::Nonce;
use pitcrew::name::Revision;
use pitcrew::script::Call;
use pitcrew::script::calls;
use pitcrew::script::calls::Linked;
use sha2::{Digest as _, Sha256};

use super::{interrupted, locked};
use crate::hosts::Web;
use crate::server::{Server, everywhere, id, require, run, tarball};

const A: &str = "20260101000001";

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn download(server: &Server, release: &str, url: &str, sha256: &str) -> Call {
    let linked = Linked { url, sha256, secret: true };
    calls::download(
        &server.site(),
        &run(),
        calls::Fresh { id: &id(release), revision: &Revision(sha256[..40].into()) },
        &linked,
    )
}

fn formats(dir: &Path) -> Vec<(&'static str, String)> {
    let gzipped = tarball("somebody else's");
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzipped[..]), &mut tar).unwrap();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    let all = [("a.tar.gz", gzipped), ("a.tar", tar), ("a.tar.zst", zstd)];
    all.into_iter()
        .map(|(name, bytes)| {
            fs::write(dir.join(name), &bytes).unwrap();
            (name, sum(&bytes))
        })
        .collect()
}

#[test]
fn archives_become_releases_whichever_tool_downloads_them() {
    let dir = tempfile::tempdir().unwrap();
    let all = formats(dir.path());
    let web = Web::start(dir.path(), None);
    everywhere(|server| {
        locked(server);
        for (number, (name, sum)) in all.iter().enumerate() {
            let release = format!("2026010100{number:04}");
            let url = format!("http://127.0.0.1:{}/{name}?X-Signature=hunter22", web.port);
            server.run(&download(server, &release, &url, sum)).ok();
            assert_eq!(server.read(&format!("releases/{release}/REVISION")), format!("{}\n", &sum[..40]), "{name}");
            assert!(server.root().join("releases").join(&release).join("app/noise").is_file(), "{name}");
        }
        assert_eq!(server.stray(), Vec::<String>::new());
        assert!(!server.leftovers().iter().any(|n| n.starts_with("archive.")), "{:?}", server.leftovers());
    });
    assert!(web.asked().iter().all(|a| a.contains("X-Signature=hunter22")), "{:?}", web.asked());
}

#[test]
fn what_is_another_archive_is_not_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let all = formats(dir.path());
    fs::write(dir.path().join("cut.tar.gz"), &tarball("x")[..300]).unwrap();
    let cut = sum(&fs::read(dir.path().join("cut.tar.gz")).unwrap());
    let web = Web::start(dir.path(), None);
    let url = |name: &str| format!("http://127.0.0.1:{}/{name}?X-Signature=hunter22", web.port);
    everywhere(|server| {
        locked(server);
        let before = server.tree();
        // Somebody looks while it is refused: nothing was unpacked by then.
        server.tool("tar", "#!/bin/sh\ntouch \"$HOME/unpacked\"\nexit 1\n");
        server.run(&download(server, A, &url("a.tar"), &all[0].1)).refused("bad_checksum");
        assert!(!server.home().join("unpacked").exists());
        fs::remove_file(server.home().join("../bin/tar")).unwrap();
        let refused = server.run(&download(server, A, &url("missing"), &all[0].1)).refused("not_downloaded");
        assert!(!format!("{refused:?}").contains("hunter22"), "{refused:?}");
        if server.shell != "busybox" {
            server.run(&download(server, A, &url("cut.tar.gz"), &cut)).refused("bad_payload");
        }
        let new = server.tree().into_iter().filter(|p| !before.contains(p)).collect::<Vec<_>>();
        assert!(new.iter().all(|p| p == "releases" || p == ".pitcrew/lock/journal"), "{new:?}");
    });
}

#[test]
fn a_signal_ends_the_download_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let all = formats(dir.path());
    let web = Web::start(dir.path(), None);
    let url = format!("http://127.0.0.1:{}/a.tar.gz", web.port);
    everywhere(|server| {
        locked(server);
        let before = server.tree();
        for tool in ["curl", "wget"] {
            server.tool(tool, "#!/bin/sh\necho half >\"$HOME/half\"; cp \"$HOME/half\" \"$HOME\"/../srv/*/.pitcrew/archive.20260101000001\n: >\"$HOME/hangs\"; sleep 3000\n");
        }
        interrupted(server, &download(server, A, &url, &all[0].1));
        for tool in ["curl", "wget"] {
            fs::remove_file(server.home().join("../bin").join(tool)).unwrap();
        }
        let new = server.tree().into_iter().filter(|p| !before.contains(p)).collect::<Vec<_>>();
        assert!(new.iter().all(|p| p == "releases" || p == ".pitcrew/lock/journal"), "{new:?}");
        if require("curl").is_some() {
            server.run(&download(server, A, &url, &all[0].1)).ok();
        }
    });
}

#[test]
fn the_url_is_no_argument_of_any_tool() {
    let dir = tempfile::tempdir().unwrap();
    let all = formats(dir.path());
    let web = Web::start(dir.path(), None);
    let url = format!("http://127.0.0.1:{}/a.tar.gz?X-Signature=hunter22", web.port);
    let Some(server) = Server::new("dash") else { return };
    locked(&server);
    for (number, tool) in ["curl", "wget"].iter().enumerate() {
        let Some(real) = require(tool) else { continue };
        let noting = "#!/bin/sh\nprintf '%s\\n' \"$@\" >>\"$HOME/arguments\"\nexec";
        server.tool(tool, &format!("{noting} '{}' \"$@\"\n", real.display()));
        let call = download(&server, &format!("2026010100{number:04}"), &url, &all[0].1);
        let nonce = Nonce::random();
        assert!(!call.command(&nonce).contains("hunter22"));
        let look = "command -v curl >/dev/null 2>&1";
        assert!(call.text().contains(look));
        let text = match *tool {
            "curl" => call.text(),
            // As on a server that has none.
            _ => call.text().replace(look, "false"),
        };
        let command =
            format!("sh -c 'nonce={}; {}' pitcrew-download x {}", nonce.0, text.replace('\'', "'\\''"), nonce.mark());
        // Without the lines of the nonce and of the script.
        let head = call.head(&nonce);
        let line = head.split_inclusive(|b| *b == b'\n').take(2).map(<[u8]>::len).sum();
        let ran = server.exec(&command, &head[line..], &nonce);
        assert_eq!(ran.status, 0, "{tool}: {ran:?}");
        assert!(ran.answers.iter().any(|a| a.key == "done"), "{tool}: {ran:?}");
    }
    let arguments = fs::read_to_string(server.home().join("arguments")).unwrap();
    assert!(arguments.contains("--config") && arguments.contains("-nv"), "{arguments}");
    assert!(!arguments.contains("hunter22"), "{arguments}");
}

#[test]
fn a_tool_that_shows_its_arguments_does_not_get_a_secret_url() {
    let dir = tempfile::tempdir().unwrap();
    let all = formats(dir.path());
    let web = Web::start(dir.path(), None);
    let Some(server) = Server::new("dash") else { return };
    locked(&server);
    server.tool("wget", "#!/bin/sh\n[ \"$1\" != --version ] || exit 1\nexit 9\n");
    let url = format!("http://127.0.0.1:{}/a.tar.gz?X-Signature=hunter22", web.port);
    let call = download(&server, A, &url, &all[0].1);
    let nonce = Nonce::random();
    let text = call.text().replace("command -v curl >/dev/null 2>&1", "false").replace('\'', "'\\''");
    let ran =
        server.exec(&format!("sh -c 'nonce={}; {text}' pitcrew-download x {}", nonce.0, nonce.mark()), b"\n", &nonce);
    let refused = ran.refused("not_downloaded");
    assert!(refused.value("fail").is_some_and(|f| f.contains("GNU wget")), "{refused:?}");
    assert!(web.asked().is_empty());
}
