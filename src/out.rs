//! Standard output and standard error, for text that is no event.
//!
//! It owns that a command which a text offers repeats the flags of this run. A reader that has gone away is no error.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every text is printed with.
struct Manner {
    /// The flags that pick this stack again: `-c FILE -p PROFILE`.
    flags: String,
    /// Results are JSON, and printed as they are.
    json: bool,
}

static LOST: AtomicBool = AtomicBool::new(false);
static MANNER: OnceLock<Manner> = OnceLock::new();

/// Sets the flags that offered commands repeat, and whether results are JSON; the first call counts.
pub fn begin(flags: String, json: bool) {
    let _ = MANNER.set(Manner { flags, json });
}

/// Prints a result.
pub fn result(text: &str) {
    let text = match MANNER.get() {
        Some(manner) if !manner.json => with_flags(text, &manner.flags),
        _ => text.to_owned(),
    };
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        LOST.store(true, Ordering::Relaxed);
        notice(&format!("the result could not be written: {e}"));
    }
}

/// Tells whether a result could not be written.
pub fn lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints what is no result.
pub fn notice(text: &str) {
    let text = with_flags(text, MANNER.get().map_or("", |m| &m.flags));
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// How a command begins that a text names.
const COMMAND: &str = "`pitcrew ";

/// What stands before the command of another run: it is quoted, not offered.
const QUOTING: [&str; 2] = ["running ", "began as "];

/// Adds the flags of this run to the commands that a text offers, so that they can be pasted.
pub fn with_flags(text: &str, flags: &str) -> String {
    let flags = flags.trim();
    let (mut said, mut rest) = (String::with_capacity(text.len()), text);
    while let (Some(at), false) = (rest.find(COMMAND), flags.is_empty()) {
        let quoted = QUOTING.iter().any(|before| rest[..at].ends_with(before));
        let (command, after) = rest.split_at(at + COMMAND.len());
        said.push_str(command);
        if !quoted && !after.starts_with(flags) {
            said.push_str(flags);
            said.push(' ');
        }
        rest = after;
    }
    said.push_str(rest);
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offered_command_repeats_the_flags_of_this_run() {
        let flags = "-c shop.toml -p staging ";
        for (text, said) in [
            ("run `pitcrew recover`", "run `pitcrew -c shop.toml -p staging recover`"),
            (
                "`pitcrew unlock` or `pitcrew check`",
                "`pitcrew -c shop.toml -p staging unlock` or `pitcrew -c shop.toml -p staging check`",
            ),
            // Named already.
            ("`pitcrew -c shop.toml -p staging lb status`", "`pitcrew -c shop.toml -p staging lb status`"),
            // What another run was called with is its own.
            ("locked, running `pitcrew deploy` (run 1)", "locked, running `pitcrew deploy` (run 1)"),
            ("run 1 (it began as `pitcrew deploy`)", "run 1 (it began as `pitcrew deploy`)"),
            ("shows no pitcrew, `pitcrew` is", "shows no pitcrew, `pitcrew` is"),
        ] {
            assert_eq!(with_flags(text, flags), said);
        }
        assert_eq!(with_flags("run `pitcrew recover`", ""), "run `pitcrew recover`");
    }
}
