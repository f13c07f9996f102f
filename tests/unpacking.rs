//! What a server makes of a payload, in both formats and under the shells that servers have.
//!
//! Runs the transfer script itself, without SSH. What else the scripts do is tested elsewhere.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use pitcrew::answer::{Answer, Nonce};
use pitcrew::name::{ReleaseId, Revision, RunId};
use pitcrew::script::calls;
use pitcrew::script::calls::{Format, Site};
use pitcrew::script::{Call, Owner};
use tempfile::TempDir;

const SHELLS: [&str; 3] = ["dash", "bash", "busybox"];
const FORMATS: [Format; 2] = [Format::Gzip, Format::Zstd];

struct Server {
    home: TempDir,
    web: pitcrew::web::Web,
    run: RunId,
}

impl Server {
    fn new(shell: &str) -> Self {
        let home = TempDir::new().unwrap();
        let tools = home.path().join("tools");
        fs::create_dir(&tools).unwrap();
        symlink(which(shell), tools.join("sh")).unwrap();
        let web = pitcrew::web::Template::builtin("static").unwrap().fill(&BTreeMap::new());
        let server = Self { home, web, run: RunId("r1".into()) };
        let owner = Owner {
            run: server.run.clone(),
            who: "ada".into(),
            host: "desk".into(),
            pid: 1,
            command: "pitcrew deploy".into(),
            since: String::new(),
            process: None,
            lease: 120,
        };
        assert_eq!(server.run(&calls::lock(&server.site(), &owner), b""), Ok(()));
        server
    }

    fn site(&self) -> Site<'_> {
        Site { deploy_to: "app", app: "shop", web: &self.web, env: &[] }
    }

    /// The refusal's code, or the status of a script that says neither.
    fn run(&self, call: &Call, payload: &[u8]) -> Result<(), String> {
        let nonce = Nonce::random();
        let mut child = Command::new(self.home.path().join("tools/sh"))
            .args(["-c", &call.command(&nonce)])
            .env("HOME", self.home.path())
            .env("PATH", format!("{}:{}", self.home.path().join("tools").display(), env!("PATH")))
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = [&call.head(&nonce)[..], payload].concat();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let answers: Vec<Answer> = text.lines().filter_map(|line| nonce.read(line)).collect();
        match Answer::refusal(&answers) {
            Some(refusal) => Err(refusal.code),
            None if output.status.success() && Answer::is_done(&answers) => Ok(()),
            None => Err(format!("{:?}: {text}", output.status)),
        }
    }

    fn transfer(&self, format: Format, payload: &[u8]) -> Result<(), String> {
        let revision = Revision("abc".into());
        self.run(&calls::transfer(&self.site(), &self.run, &id(), &revision).packed(format), payload)
    }

    fn release(&self) -> std::path::PathBuf {
        self.home.path().join("app/releases").join(id().as_str())
    }

    fn incoming(&self) -> std::path::PathBuf {
        self.home.path().join(format!("app/.pitcrew/incoming.{}", id()))
    }
}

fn id() -> ReleaseId {
    ReleaseId::parse("20260101000000").unwrap()
}

fn which(tool: &str) -> std::path::PathBuf {
    let found = env!("PATH").split(':').map(|dir| Path::new(dir).join(tool)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{tool} is needed for this test"))
}

/// A release whose archive's last bytes are far from its end.
fn tar(tail: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (name, content) in [("noise", &noise[..]), ("REVISION", b"abc\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    }
    let mut tar = tar.into_inner().unwrap();
    tar.resize(tar.len() + tail, 0);
    tar
}

fn packed(format: Format, tar: &[u8]) -> Vec<u8> {
    match format {
        Format::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(tar).unwrap();
            out.finish().unwrap()
        }
        Format::Zstd => {
            let mut out = zstd::Encoder::new(Vec::new(), 3).unwrap();
            out.include_checksum(true).unwrap();
            out.write_all(tar).unwrap();
            out.finish().unwrap()
        }
    }
}

fn everywhere(test: impl Fn(&Server, Format)) {
    for shell in SHELLS {
        for format in FORMATS {
            test(&Server::new(shell), format);
        }
    }
}

#[test]
fn a_payload_becomes_a_release_and_nothing_else_stays() {
    everywhere(|server, format| {
        assert_eq!(server.transfer(format, &packed(format, &tar(0))), Ok(()));
        assert_eq!(fs::read(server.release().join("REVISION")).unwrap(), b"abc\n");
        assert_eq!(fs::read(server.release().join("noise")).unwrap().len(), 300_000);
        assert!(!server.incoming().exists());
    });
}

#[test]
fn zeros_after_the_archive_are_no_failure() {
    everywhere(|server, format| {
        assert_eq!(server.transfer(format, &packed(format, &tar(3_000_000))), Ok(()));
    });
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    everywhere(|server, format| {
        let whole = packed(format, &tar(0));
        // In the content, and in the checksum, when tar has long had everything.
        for at in [whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            assert_eq!(server.transfer(format, &bytes), Err("bad_payload".into()), "{at}");
            let incoming = server.incoming();
            assert!(!server.release().exists(), "{at}");
            assert!(!incoming.exists(), "{at}: {:?}", fs::read_dir(&incoming).map(Iterator::count));
        }
    });
}

#[test]
fn what_is_cut_short_is_refused() {
    everywhere(|server, format| {
        let whole = packed(format, &tar(0));
        for len in [0, 3, whole.len() / 2, whole.len() - 1] {
            assert_eq!(server.transfer(format, &whole[..len]), Err("bad_payload".into()), "{len}");
            assert!(!server.release().exists());
        }
    });
}

#[test]
fn noise_is_refused_and_read_to_its_end() {
    everywhere(|server, format| {
        for byte in [b'\n', 0] {
            assert_eq!(server.transfer(format, &vec![byte; 2_000_000]), Err("bad_payload".into()));
            assert!(!server.release().exists());
        }
    });
}
