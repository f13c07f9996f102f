//! What servers fetch from: repositories, and a web server that asks for a login.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A bare repository with what was committed to it.
pub struct Repository {
    dir: tempfile::TempDir,
}

impl Repository {
    pub fn new() -> Self {
        let repository = Self { dir: tempfile::tempdir().unwrap() };
        repository.git(&["init", "-q", "-b", "main", "work"]);
        repository.git(&["clone", "-q", "--bare", "work", "shop.git"]);
        repository
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn bare(&self) -> PathBuf {
        self.dir.path().join("shop.git")
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    pub fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.dir.path()).args(args).env("HOME", self.dir.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        for (name, value) in [("NAME", "t"), ("EMAIL", "t@example.com"), ("DATE", "2026-01-01T00:00:00Z")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        let out = command.output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Commits files to a branch, pushes it, and returns the SHA.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["-C", "work", "add", "-A"]);
        self.git(&["-C", "work", "commit", "-q", "-m", "a change"]);
        self.push()
    }

    /// Pushes all branches and tags; the SHA of HEAD.
    pub fn push(&self) -> String {
        self.git(&["-C", "work", "push", "-q", "--mirror", "../shop.git"]);
        self.git(&["-C", "work", "rev-parse", "HEAD"])
    }
}

/// A web server: what it was asked, and what it gives.
pub struct Web {
    pub port: u16,
    pub asked: Arc<Mutex<Vec<String>>>,
    pub slow: Slow,
}

/// Whether answers stop half-way, and how many do now.
#[derive(Clone, Default)]
pub struct Slow(Arc<(AtomicBool, AtomicUsize)>);

impl Slow {
    /// Has answers stop half-way, or go on.
    pub fn set(&self, slow: bool) {
        self.0.0.store(slow, Ordering::SeqCst);
    }

    /// Counts those that have stopped.
    pub fn held(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    /// Waits for as long as answers are to stop, or until nobody waits for this one.
    #[expect(clippy::disallowed_methods, reason = "waits outside of any runtime")]
    fn wait(&self, stream: &TcpStream) {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nonblocking(true);
        while self.0.0.load(Ordering::SeqCst) && !matches!(stream.peek(&mut [0]), Ok(0)) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let _ = stream.set_nonblocking(false);
        self.0.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Web {
    /// Serves files below a directory, to whoever brings the login where there is one. Lives as long as the process.
    pub fn start(root: &Path, login: Option<&'static str>) -> Self {
        Self::start_at("127.0.0.1", root, login)
    }

    /// The same at another address.
    pub fn start_at(address: &str, root: &Path, login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, slow) = (Arc::new(Mutex::new(Vec::new())), Slow::default());
        let web = Self { port, asked: asked.clone(), slow: slow.clone() };
        let root = root.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, log, slow) = (root.clone(), asked.clone(), slow.clone());
                std::thread::spawn(move || drop(answer(stream, &root, login, &log, &slow)));
            }
        });
        web
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    root: &Path,
    login: Option<&str>,
    log: &Mutex<Vec<String>>,
    slow: &Slow,
) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let (mut request, mut said) = (String::new(), String::new());
    from.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? <= 2 {
            break;
        }
        if line.to_lowercase().starts_with("authorization:") {
            said = line.trim().to_owned();
        }
    }
    log.lock().unwrap().push(format!("{} {said}", request.trim()));
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let body = std::fs::File::open(root.join(path.trim_start_matches('/'))).and_then(|mut file| {
        let mut body = Vec::new();
        file.read_to_end(&mut body).map(|_| body)
    });
    let (head, body) = match body {
        _ if login.is_some_and(|login| !said.ends_with(login)) => {
            ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", Vec::new())
        }
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let mut to = stream;
    // Some do not say how much will come.
    let length = match request.contains("unsaid") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    write!(to, "HTTP/1.1 {head}\r\n{length}Connection: close\r\n\r\n")?;
    let half = body.len() / 2;
    to.write_all(&body[..half])?;
    if slow.0.0.load(Ordering::SeqCst) {
        slow.wait(&to);
    }
    to.write_all(&body[half..])
}
