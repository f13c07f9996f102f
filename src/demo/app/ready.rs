//! Readiness: how a process of the application tells the one that started it.

use std::io::Write;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

use super::options::READY;

/// How long a process that has failed may take to write its log.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Waits until a process says that it serves.
pub(super) async fn ready(stdout: Option<ChildStdout>, limit: Duration) -> Result<(), String> {
    let stdout = stdout.ok_or("cannot read the new process")?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    match tokio::time::timeout(limit, reader.read_line(&mut line)).await {
        Err(_) => Err(format!("the application was not ready within {} s", limit.as_secs())),
        Ok(Err(error)) => Err(format!("cannot read the new process: {error}")),
        Ok(Ok(_)) => match line.trim() {
            READY => Ok(()),
            "" => Err("the application ended while it booted".to_owned()),
            reason => Err(reason.to_owned()),
        },
    }
}

/// Waits for a process that has failed, so that its log is complete; it is killed if it takes its time.
pub(super) async fn end_failed(process: &mut tokio::process::Child) {
    if tokio::time::timeout(LAST_WORDS, process.wait()).await.is_err() {
        let _ = process.start_kill();
        let _ = process.wait().await;
    }
}

/// Says on standard output how the boot went; the process that started this one waits for it.
pub(super) fn announce(word: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{word}").and_then(|()| stdout.flush());
}
