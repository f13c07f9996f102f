//! What the balancer tests share: tiny applications, clients that count, and whether a daemon is here.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Tells whether a program is here; says loudly when it is not. `asks` makes it end at once.
#[expect(clippy::print_stderr, reason = "a skipped test must be heard")]
pub fn is_here(program: &str, asks: &str) -> bool {
    let mut command = Command::new(binary(program));
    if command.arg(asks).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        return true;
    }
    assert!(
        std::env::var_os("PITCREW_REQUIRE_REAL").is_none_or(|v| v != "1"),
        "{program} is required, and is not installed"
    );
    eprintln!("SKIPPED: {program} is not installed");
    false
}

pub fn binary(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    places.map(|p| p.join(program)).find(|p| p.is_file()).unwrap_or_else(|| program.into())
}

/// How an application answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Up,
    Unavailable,
    /// Its socket is gone.
    Refusing,
}

/// A tiny application on a unix socket; `/slow` is answered once released.
pub struct App {
    pub mode: watch::Sender<Mode>,
    pub release: Arc<Notify>,
    pub slow: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl App {
    pub fn start(path: PathBuf, mode: Mode) -> Self {
        let (sender, mut mode) = watch::channel(mode);
        let release = Arc::new(Notify::new());
        let slow = Arc::new(AtomicU64::new(0));
        let (released, counted) = (release.clone(), slow.clone());
        let task = tokio::spawn(async move {
            loop {
                mode.wait_for(|m| *m != Mode::Refusing).await.unwrap();
                let listener = UnixListener::bind(&path).unwrap();
                loop {
                    let stream = tokio::select! {
                        stream = listener.accept() => stream.unwrap().0,
                        _ = mode.wait_for(|m| *m == Mode::Refusing) => break,
                    };
                    tokio::spawn(answer(stream, *mode.borrow(), released.clone(), counted.clone()));
                }
                std::fs::remove_file(&path).unwrap();
            }
        });
        Self { mode: sender, release, slow, task }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send(mode).unwrap();
    }

    /// Is what a restart looks like from outside: gone, then not ready for a while, then up.
    pub async fn restart(&self) {
        self.set(Mode::Refusing);
        sleep(Duration::from_millis(500)).await;
        self.set(Mode::Unavailable);
        sleep(Duration::from_millis(500)).await;
        self.set(Mode::Up);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: UnixStream, mode: Mode, release: Arc<Notify>, slow: Arc<AtomicU64>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    if head.starts_with(b"GET /slow") {
        slow.fetch_add(1, Ordering::SeqCst);
        release.notified().await;
    }
    let status = if mode == Mode::Up { "200 OK" } else { "503 Booting" };
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(text.as_bytes()).await;
}

/// Makes one request and returns the status line, or what went wrong.
pub async fn get(front: PathBuf, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let asking = async {
        let mut stream = UnixStream::connect(front).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut answer).await
    };
    match timeout(Duration::from_secs(30), asking).await {
        Ok(Ok(_)) => String::from_utf8_lossy(&answer).lines().next().unwrap_or("nothing").to_owned(),
        Ok(Err(e)) => e.to_string(),
        Err(_) => "no answer".to_owned(),
    }
}

/// Asks without pause, from several clients, until told to stop; returns how many requests were made, and the bad ones.
pub fn load(front: PathBuf) -> (CancellationToken, JoinHandle<(u64, Vec<String>)>) {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let client = |stop: CancellationToken, front: PathBuf| async move {
            let (mut made, mut bad) = (0, Vec::new());
            while !stop.is_cancelled() {
                let answer = get(front.clone(), "/").await;
                made += 1;
                if answer != "HTTP/1.1 200 OK" {
                    bad.push(answer);
                }
                sleep(Duration::from_millis(3)).await;
            }
            (made, bad)
        };
        let clients: Vec<_> = (0..4).map(|_| tokio::spawn(client(stopped.clone(), front.clone()))).collect();
        let (mut made, mut bad) = (0, Vec::new());
        for c in clients {
            let (m, b) = c.await.unwrap();
            made += m;
            bad.extend(b);
        }
        (made, bad)
    });
    (stop, task)
}
