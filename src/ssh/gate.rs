//! The gate at the first words of a server.
//!
//! Text before its banner is passed over, and a key exchange takes its turn. Only so many exchange keys at once, since that costs processor time. Waiting for a server that says nothing takes no turn.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

use super::sync::lock;
use super::text::said;

/// Lines before the banner that ssh reads (`SSH_MAX_PRE_BANNER_LINES`).
const LINES: usize = 1024;
/// Bytes of one of them (`SSH_MAX_BANNER_LEN`).
const LINE: usize = 8192;
/// Time after which a turn is given back: a connection that still has it waits for the network.
const LAPSE: Duration = Duration::from_secs(2);
/// Bytes of the text before the banner that an error quotes.
const QUOTED: usize = 300;

/// What a connection waits for in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The server has not said that it speaks SSH.
    Silent,
    /// It has; others exchange keys.
    Queued,
    /// The key exchange is under way.
    Exchanging,
}

/// The turn of one connection; given back when the last copy is dropped.
#[derive(Clone, Default)]
pub(super) struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    /// Gives it back, so that another connection may begin.
    pub(super) fn give_back(&self) {
        lock(&self.0).take();
    }

    fn begin(&self, permit: OwnedSemaphorePermit) {
        *lock(&self.0) = Some(permit);
        let turn = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(LAPSE).await;
            if let Some(turn) = turn.upgrade() {
                lock(&turn).take();
            }
        });
    }
}

/// What a server said in place of a banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotBanner {
    /// The text, cut and without control characters.
    pub(super) text: String,
}

impl fmt::Display for NotBanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NotBanner {}

type Asked = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The gate of one connection.
pub(super) struct Gate {
    turns: Arc<Semaphore>,
    turn: Turn,
    stage: watch::Sender<Stage>,
    asked: Option<Asked>,
    /// The line that is being read, or what follows the text once the banner has begun.
    pending: VecDeque<u8>,
    lines: usize,
    text: String,
}

impl Gate {
    /// Makes the gate, and the ways to watch it and to give its turn back.
    pub(super) fn new(turns: Arc<Semaphore>) -> (Self, Turn, watch::Receiver<Stage>) {
        let (stage, watched) = watch::channel(Stage::Silent);
        let turn = Turn::default();
        let gate = Self {
            turns,
            turn: turn.clone(),
            stage,
            asked: None,
            pending: VecDeque::new(),
            lines: 0,
            text: String::new(),
        };
        (gate, turn, watched)
    }

    /// Tells whether the banner has begun.
    pub(super) fn has_banner(&self) -> bool {
        *self.stage.borrow() != Stage::Silent
    }

    /// Takes bytes that came before the banner was seen. No bytes: the server has closed.
    ///
    /// # Errors
    /// When the text is too long, or ended without a banner.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend(bytes);
        loop {
            let is_banner = self.pending.iter().zip(b"SSH-").all(|(a, b)| a == b);
            if is_banner && self.pending.len() >= 4 {
                self.stage.send_replace(Stage::Queued);
                return Ok(());
            }
            let Some(end) = self.pending.iter().position(|b| *b == b'\n') else {
                if self.pending.len() > LINE {
                    return Err(self.no_banner());
                }
                return if bytes.is_empty() { self.ended() } else { Ok(()) };
            };
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.note(&line);
            self.lines += 1;
            if self.lines > LINES {
                return Err(self.no_banner());
            }
        }
    }

    fn note(&mut self, line: &[u8]) {
        if self.text.len() < QUOTED {
            self.text.push_str(&String::from_utf8_lossy(line.get(..QUOTED).unwrap_or(line)));
        }
    }

    fn no_banner(&mut self) -> io::Error {
        let rest: Vec<u8> = self.pending.drain(..).collect();
        self.note(&rest);
        io::Error::new(io::ErrorKind::InvalidData, NotBanner { text: said(&self.text) })
    }

    /// The server closed before its banner. Without any text the library says so.
    fn ended(&mut self) -> io::Result<()> {
        if self.text.is_empty() && self.pending.is_empty() { Ok(()) } else { Err(self.no_banner()) }
    }

    /// Waits for the turn, then returns what was read since the banner began.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        let turns = &self.turns;
        let asked = self.asked.get_or_insert_with(|| Box::pin(Arc::clone(turns).acquire_owned()));
        // The permits are never withdrawn.
        if let Ok(permit) = std::task::ready!(asked.as_mut().poll(cx)) {
            self.turn.begin(permit);
        }
        self.stage.send_replace(Stage::Exchanging);
        Poll::Ready(self.pending.drain(..).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(Arc::new(Semaphore::new(1))).0
    }

    async fn behind(gate: &mut Gate) -> String {
        String::from_utf8(std::future::poll_fn(|cx| gate.poll(cx)).await).unwrap()
    }

    #[tokio::test]
    async fn text_before_the_banner_is_passed_over_however_it_is_cut() {
        for step in [1, 3, 7, 4096] {
            let mut gate = gate();
            let text = format!("{}\nSSH is here\r\nSSH-2.0-x\r\nmore", "a line\r\n".repeat(1000));
            for piece in text.as_bytes().chunks(step) {
                if gate.has_banner() {
                    gate.pending.extend(piece);
                } else {
                    gate.take(piece).unwrap();
                }
            }
            assert_eq!(behind(&mut gate).await, "SSH-2.0-x\r\nmore", "{step}");
        }
    }

    #[test]
    fn what_is_no_ssh_is_quoted() {
        let mut http = gate();
        http.take(b"HTTP/1.1 400 Bad\x1b[31m Request\r\nServer: x\r\n").unwrap();
        let e = http.take(b"").unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        assert!(e.to_string().starts_with("HTTP/1.1 400 Bad"), "{e}");
        assert!(!e.to_string().contains('\u{1b}'));
        gate().take(b"").unwrap();
        assert!(gate().take("x\n".repeat(1025).as_bytes()).is_err());
        assert!(gate().take(&[b'x'; 8200]).is_err());
        gate().take("x\n".repeat(1024).as_bytes()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_given_back_by_itself() {
        let turns = Arc::new(Semaphore::new(1));
        let (mut first, turn, _) = Gate::new(Arc::clone(&turns));
        first.take(b"SSH-2.0-x").unwrap();
        behind(&mut first).await;
        assert_eq!(turns.available_permits(), 0);
        let (mut second, other, stage) = Gate::new(Arc::clone(&turns));
        second.take(b"SSH-2.0-x").unwrap();
        assert_eq!(*stage.borrow(), Stage::Queued);
        behind(&mut second).await;
        assert_eq!(*stage.borrow(), Stage::Exchanging);
        other.give_back();
        assert_eq!(turns.available_permits(), 1);
        drop((turn, first));
    }
}
