//! What servers fetch themselves: a repository and a web server with archives, one of each for all fleets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pitcrew::demo::{Flaw, Sample, make_release};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::ground::LAST;

/// A branch, and an archive, for each.
const RELEASES: [&str; 3] = ["good", "sick", "stillborn"];

static OFFERED: OnceCell<Offered> = OnceCell::const_new();

/// What is offered, and where.
pub struct Offered {
    directory: tempfile::TempDir,
    at: SocketAddr,
    sums: BTreeMap<&'static str, String>,
}

/// A release as it is deployed in a scenario.
pub fn sample(release: &str) -> Sample {
    let flaw = match release {
        "sick" => Some(Flaw::Sick),
        "stillborn" => Some(Flaw::Stillborn),
        "crashing" => Some(Flaw::Crashing),
        "mixed" => Some(Flaw::Mixed),
        "lying" => Some(Flaw::Lying),
        _ => None,
    };
    Sample { version: "new".into(), flaw }
}

impl Offered {
    /// Makes it all, the first time.
    pub async fn get() -> Result<&'static Self, String> {
        OFFERED.get_or_try_init(Self::new).await
    }

    /// The `[source]` that has servers fetch from the repository.
    pub fn repository(&self, release: &str) -> String {
        format!("source = {{ kind = 'git', repo = 'file://{}', ref = '{release}' }}\n", self.directory.path().display())
    }

    /// The `[source]` that has servers download the archive.
    pub fn archive(&self, release: &str) -> String {
        let sum = self.sums.get(release).map(String::as_str).unwrap_or_default();
        let (at, fetch) = (self.at, "fetch = 'servers'");
        format!("source = {{ kind = 'archive', url = 'http://{at}/{release}.tar.gz', sha256 = '{sum}', {fetch} }}\n")
    }

    async fn new() -> Result<Self, String> {
        let text = |e: std::io::Error| format!("cannot make what servers fetch: {e}");
        let directory = tempfile::tempdir().map_err(text)?;
        let (root, mut archives, mut sums) = (directory.path(), BTreeMap::new(), BTreeMap::new());
        git(root, &["init", "-q"]).await?;
        for release in RELEASES {
            git(root, &["checkout", "-q", "--orphan", release]).await?;
            make_release(root, &sample(release)).map_err(|e| e.to_string())?;
            std::fs::write(root.join("zz_blob"), &*LAST).map_err(text)?;
            git(root, &["add", "-A"]).await?;
            git(root, &["-c", "user.name=sweep", "-c", "user.email=sweep@test", "commit", "-q", "-m", release]).await?;
            let bytes = archive(root).map_err(text)?;
            sums.insert(release, Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect());
            archives.insert(format!("/{release}.tar.gz"), bytes);
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(text)?;
        let at = listener.local_addr().map_err(text)?;
        tokio::spawn(serve(listener, Arc::new(archives)));
        Ok(Self { directory, at, sums })
    }
}

async fn git(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(root).env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().await.map_err(|e| format!("cannot start git: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("git {}: {said}", arguments.join(" "))) }
}

/// The tree without git's own directory; its last file is last.
fn archive(root: &Path) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut names: Vec<_> = std::fs::read_dir(root)?.flatten().map(|e| e.file_name()).collect();
    names.retain(|name| name != ".git");
    names.sort();
    for name in names {
        let path = root.join(&name);
        if path.is_dir() { tar.append_dir_all(&name, path)? } else { tar.append_path_with_name(path, &name)? }
    }
    tar.into_inner()?.finish()
}

async fn serve(listener: TcpListener, archives: Arc<BTreeMap<String, Vec<u8>>>) {
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(answer(tcp, archives.clone()));
    }
}

/// Answers one request; a client that goes away has its reasons.
async fn answer(tcp: TcpStream, archives: Arc<BTreeMap<String, Vec<u8>>>) -> Option<()> {
    let mut tcp = BufReader::new(tcp);
    let mut first = String::new();
    tcp.read_line(&mut first).await.ok()?;
    let mut line = String::new();
    while tcp.read_line(&mut line).await.ok()? > 2 {
        line.clear();
    }
    let found = archives.get(first.split(' ').nth(1)?);
    let (status, body) = found.map_or(("404 Not Found", &[][..]), |bytes| ("200 OK", &bytes[..]));
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    tcp.write_all(head.as_bytes()).await.ok()?;
    tcp.write_all(body).await.ok()?;
    tcp.shutdown().await.ok()
}
