//! The runtime API's sockets: one line, its answers, close.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};

use super::shared::Shared;
use crate::demo::faults::Fault;
use crate::demo::faults::PointKind;
use crate::demo::log::Kind;

/// As `stats timeout`: how long a caller may take for its line.
const IDLE: Duration = Duration::from_secs(10);
/// The longest line, as `tune.bufsize` has it.
const LONGEST: u64 = 16 * 1024;

/// Answers on the unix socket until the API is dead.
pub(super) async fn listen_unix(shared: Arc<Shared>, socket: UnixListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.api.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((caller, _)) => shared.until_over(serve(Arc::clone(&shared), caller)),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Closes the API: the next connection is refused.
fn die(shared: &Shared) {
    shared.api.cancel();
    let _ = std::fs::remove_file(&shared.options.socket);
}

/// Answers on a TCP port until the API is dead.
pub(super) async fn listen_tcp(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.api.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((caller, _)) => shared.until_over(serve(Arc::clone(&shared), caller)),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serve(shared: Arc<Shared>, caller: impl AsyncRead + AsyncWrite + Unpin) {
    let (read, mut write) = tokio::io::split(caller);
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LONGEST));
    let read = tokio::time::timeout(IDLE, reader.read_line(&mut line)).await;
    // Without a line feed there is no command and no answer.
    if !matches!(read, Ok(Ok(_))) || !line.ends_with('\n') {
        return;
    }
    let line = line.trim_end_matches(['\n', '\r']);
    if let Some(answer) = answer(&shared, line).await {
        let _ = write.write_all(answer.as_bytes()).await;
        let _ = write.shutdown().await;
    }
}

/// Executes a line, or does what the fault makes of it; `None`: closes without a word.
async fn answer(shared: &Shared, line: &str) -> Option<String> {
    let options = &shared.options;
    options.log.add(&options.name, Kind::Command { command: line.to_owned() });
    let fault = options.faults.pass(&options.name, PointKind::Balancer, line);
    if let Some(fault) = &fault {
        options.log.add(&options.name, Kind::Fault { label: line.to_owned(), fault: fault.clone() });
    }
    match fault {
        None => Some(shared.execute(line)),
        Some(Fault::ErrorBefore { stderr, .. }) => Some(format!("{}\n\n", stderr.trim_end())),
        Some(Fault::Garbage) => Some("\u{fffd}\u{0}# 1,2\n3 x,,,\n\n".to_owned()),
        Some(Fault::EffectThenError { .. } | Fault::CutAfter) => {
            shared.execute(line);
            None
        }
        Some(Fault::CutBefore | Fault::Killed { .. }) => None,
        Some(Fault::Dead) => {
            die(shared);
            None
        }
        Some(Fault::DoneThenDead) => {
            shared.execute(line);
            die(shared);
            None
        }
        Some(Fault::Hang | Fault::Stall) => std::future::pending().await,
    }
}
