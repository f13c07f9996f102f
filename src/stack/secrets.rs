//! The values of `[secrets]`: from the environment, from files, and from commands with a limit.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::config::{Config, SecretSource};
use crate::error::Error;
use crate::out;
use crate::process::end::Unended;
use crate::process::machine::expand;
use crate::process::program::Program;

/// Limit on a command that prints a secret: time for a person to unlock a vault.
const LIMIT: Duration = Duration::from_secs(120);
/// Time after which it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest secret in bytes; what is longer is something else.
const LONGEST: u64 = 1 << 20;

/// Reads them all.
///
/// # Errors
/// When one cannot be read, is no UTF-8, or holds a NUL, which no environment can carry.
pub fn read(config: &Config) -> Result<Vec<(String, String)>, Error> {
    config.secrets.iter().map(|(name, source)| Ok((name.clone(), one(&config.base, name, source)?))).collect()
}

/// Reads those that can be read, for a verb that starts nothing on a server, and says which cannot.
pub fn read_some(config: &Config) -> Vec<(String, String)> {
    let mut values = Vec::new();
    for (name, source) in &config.secrets {
        match one(&config.base, name, source) {
            Ok(value) => values.push((name.clone(), value)),
            Err(error) => out::notice(&format!("{error}; commands of the file run without it")),
        }
    }
    values
}

fn one(base: &Path, name: &str, source: &SecretSource) -> Result<String, Error> {
    let wrong = |what: String| Error::usage(format!("cannot read the secret {name}: {what}"));
    let mut value = match source {
        SecretSource::Env(variable) => {
            return std::env::var(variable).map_err(|_| {
                wrong(format!("the environment variable {variable} is not set")).hint("export it before the run")
            });
        }
        SecretSource::File(path) => {
            let path = expand(base, path)?;
            std::fs::read_to_string(&path).map_err(|e| wrong(format!("{}: {e}", path.display())))?
        }
        SecretSource::Command(command) => {
            let began = Instant::now();
            let told = AtomicBool::new(false);
            let tell = || {
                if began.elapsed() > PATIENCE && !told.swap(true, Ordering::Relaxed) {
                    out::notice(&format!("waiting for the secret {name}: `{command}`"));
                }
            };
            printed(base, command, LIMIT, &tell).map_err(|what| wrong(format!("`{command}` {what}")))?
        }
    };
    if value.ends_with('\n') {
        value.pop();
    }
    if value.contains('\0') {
        return Err(wrong("it holds a NUL character".into()));
    }
    Ok(value)
}

/// Returns what a command prints; the error is a fragment that follows the command.
fn printed(base: &Path, command: &str, limit: Duration, waits: &(dyn Fn() + Sync)) -> Result<String, String> {
    let read = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        from.take(LONGEST + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let stop = || {
        waits();
        false
    };
    let (bytes, ended) =
        Program::shell(command, base).within(limit).asking().run_heard(&stop, read).map_err(|why| match why {
            Unended::Failed(e) => format!("cannot be run: {e}"),
            Unended::Silent(limit) | Unended::TimedOut(limit) => format!("did not end within {} s", limit.as_secs()),
            Unended::Stopped => "was ended".to_owned(),
        })?;
    let bytes = bytes.map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > LONGEST {
        return Err("printed more than 1 MiB".into());
    }
    if !ended.status.success() {
        return Err(format!("ended with {}", ended.status));
    }
    String::from_utf8(bytes).map_err(|_| "printed no UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_misbehaves_is_told_as_what_it_is() {
        let within = |command: &str, limit| printed(Path::new("/"), command, Duration::from_secs(limit), &|| {});
        assert_eq!(within("printf 'a\\nb'", 60).as_deref(), Ok("a\nb"));
        for (command, limit, what) in [
            ("exit 3", 60, "ended with exit status: 3"),
            ("kill -9 $$", 60, "ended with signal: 9"),
            ("printf '\\377'", 60, "printed no UTF-8"),
            ("cat /dev/zero", 60, "printed more than 1 MiB"),
            ("exec sleep 600", 1, "did not end within 1 s"),
            // It has ended, and something that it started holds its output.
            ("sleep 20 & echo done", 1, "did not end within 1 s"),
        ] {
            let error = within(command, limit).unwrap_err();
            assert!(error.contains(what), "{command}: {error}");
        }
    }
}
