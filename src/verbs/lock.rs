//! `pitcrew lock`: freezes deploys of the stack, with a reason and perhaps an end.

use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use jiff::Zoned;
use jiff::civil::{Date, DateTime, Time};

use crate::cli::Global;
use crate::config::values::parse_duration;
use crate::engine::Stop;
use crate::error::{Error, Kind};
use crate::lease::Held;
use crate::name::ServerName;
use crate::out;
use crate::outcome::Reporting;
use crate::script::calls;
use crate::stack::waiting::{self, Take, Waited, Waiting};
use crate::stack::{self, Stack};
use crate::text::units;
use crate::wording::{cause, lock as held};

/// Freezes deploys, with a reason and perhaps an end.
#[derive(Debug, Clone, Args)]
pub struct Lock {
    /// Why; shown to everyone who deploys meanwhile.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long or until when: 2h, 18:00, 2026-12-24, "2026-12-24 18:00"; else until `pitcrew unlock`.
    #[arg(long, value_name = "TIME|DURATION")]
    until: Option<String>,
    /// Waits so long for a run that is at work, e.g. 10m.
    #[arg(long, value_name = "DURATION")]
    wait_lock: Option<String>,
    /// Goes on without servers that cannot be reached, lists them, and exits with 3.
    #[arg(long)]
    skip_unreachable: bool,
}

impl Lock {
    /// Locks every server of the stack without a run, and leaves.
    ///
    /// # Errors
    /// When a run holds a lock, when deploys are frozen already, or when a server cannot be reached: nothing is frozen then.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let time = match &self.until {
            Some(text) => Some(until(text, &Zoned::now())?),
            None => None,
        };
        let wait = waiting::read(self.wait_lock.as_deref())?;
        let stack = Stack::prepare_to_look(stack::read(global)?, global).await?;
        let owner = stack::owner(stack::command_line(), stack.config.timeouts.lease);
        let stop = Stop::default();
        // There is nothing to report, but a signal must still give back the locks that were taken.
        let reporting = Reporting::start(owner.run.clone(), Vec::new());
        stop.listen(&reporting.emitter()).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;
        let waiting = Waiting { stack: &stack, owner: &owner, wait, stop: &stop, quiet: global.quiet };
        let end = freeze(&waiting, self, time).await;
        stack.close().await;
        let (frozen, missing) = end?;
        tell(global, self, time, &frozen);
        if missing.is_empty() {
            return Ok(0);
        }
        let names: Vec<&str> = missing.iter().map(ServerName::as_str).collect();
        out::notice(&format!("not frozen, since they could not be reached: {}", names.join(", ")));
        Ok(3)
    }
}

/// Takes the locks; returns where, and which servers could not be reached.
async fn freeze(
    waiting: &Waiting<'_>,
    flags: &Lock,
    time: Option<Duration>,
) -> Result<(Vec<ServerName>, Vec<ServerName>), Error> {
    let stack = waiting.stack;
    let names: Vec<ServerName> = stack.config.servers.iter().map(|s| s.name.clone()).collect();
    let looks = join_all(names.iter().map(|s| async { (s.clone(), waiting.look(s).await) })).await;
    let (mut reached, mut missing, mut first) = (Vec::new(), Vec::new(), None);
    for (server, look) in looks {
        match look {
            Ok(found) => {
                if let (Some(found), None) = (found, &first) {
                    first = Some((server.clone(), found));
                }
                reached.push(server);
            }
            Err(_) if waiting.stop.asked() => return Err(waiting::interrupted()),
            Err(failure) => {
                out::notice(&format!("{server}: {}", cause::reason(&failure.cause)));
                missing.push(server);
            }
        }
    }
    if reached.is_empty() || (!missing.is_empty() && !flags.skip_unreachable) {
        return Err(Error::unreachable("not every server could be reached; nothing is frozen").hint(
            "--skip-unreachable freezes the others: one of them is enough to hold every deploy that reaches it",
        ));
    }
    let take = |owner: &crate::script::Owner| calls::freeze(&stack.site(), owner, &flags.reason, time);
    let first = match first {
        Some(first) => first,
        None => match waiting.take_all(&reached, &take).await? {
            Take::All(held) => return Ok((held, missing)),
            Take::Refused(server, held) => (server, held),
            Take::Failed(server, failure) => {
                let told = cause::lines(&failure).join("\n  ");
                return Err(Error::failed(format!("{server}: {told}")).hint("nothing is frozen"));
            }
        },
    };
    if waiting.wait.is_none_or(|wait| wait.is_zero()) {
        return Err(refused(&first.0, &first.1));
    }
    match waiting.wait_for(first, &reached, &take).await? {
        Waited::Taken { held, .. } | Waited::Free(held) => Ok((held, missing)),
        Waited::GivenUp(server, held) => Err(refused(&server, &held)),
    }
}

fn refused(server: &ServerName, held: &Held) -> Error {
    let error = Error { kind: Kind::Locked, ..Error::usage(format!("{server} is {}", held::locked(held))) };
    error.hint(held::hint(held))
}

fn tell(global: &Global, flags: &Lock, time: Option<Duration>, frozen: &[ServerName]) {
    let end = time.and_then(|time| jiff::SignedDuration::try_from(time).ok()).map(|time| Zoned::now() + time);
    if global.json {
        let value = serde_json::json!({
            "frozen": frozen, "reason": flags.reason, "until": end.map(|end| format!("{:.0}", end.timestamp())),
        });
        out::result(&format!("{value}\n"));
    } else if !global.quiet {
        let until = match (&end, time) {
            (Some(end), Some(time)) => {
                format!("until {} (for {})", end.strftime("%Y-%m-%d %H:%M"), units::long(time.as_secs()))
            }
            _ => "until `pitcrew unlock`".into(),
        };
        out::result(&format!("deploys are frozen {until}: {}\n", flags.reason));
    }
}

/// Reads `--until`: how long, or until when by this machine's clock and zone.
///
/// The servers' own clocks count from there.
fn until(text: &str, now: &Zoned) -> Result<Duration, Error> {
    if let Ok(time) = parse_duration(text) {
        if time.is_zero() {
            return Err(Error::usage("--until: a freeze of no time freezes nothing").hint(EXAMPLES));
        }
        return Ok(time);
    }
    let trimmed = text.trim();
    let zone = now.time_zone().clone();
    let at = trimmed
        .parse::<jiff::Timestamp>()
        .ok()
        .map(|at| at.to_zoned(zone.clone()))
        .or_else(|| {
            trimmed
                .parse::<DateTime>()
                .ok()
                .filter(|_| trimmed.contains(':'))
                .and_then(|at| at.to_zoned(zone.clone()).ok())
        })
        .or_else(|| trimmed.parse::<Date>().ok().and_then(|day| day.to_zoned(zone.clone()).ok()))
        .or_else(|| {
            let time = trimmed.parse::<Time>().ok()?;
            let today = now.date().to_datetime(time).to_zoned(zone.clone()).ok()?;
            // 08:00, said in the evening, is tomorrow's.
            if today > *now { Some(today) } else { now.date().tomorrow().ok()?.to_datetime(time).to_zoned(zone).ok() }
        });
    let Some(at) = at else {
        return Err(Error::usage(format!("--until: cannot read `{text}` as a time or a duration")).hint(EXAMPLES));
    };
    match Duration::try_from(now.duration_until(&at)) {
        Ok(time) if time.as_secs() > 0 => Ok(time),
        _ => Err(Error::usage(format!("--until: {} is over", at.strftime("%Y-%m-%d %H:%M"))).hint(EXAMPLES)),
    }
}

const EXAMPLES: &str = "write for example 2h, 18:00, 2026-12-24, \"2026-12-24 18:00\" or 2026-12-24T18:00:00Z";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_freeze_is_a_duration_a_time_or_a_day() {
        let now: Zoned = "2026-11-23T14:30:00+01:00[Europe/Berlin]".parse().unwrap();
        let seconds = |text: &str| until(text, &now).map(|d| d.as_secs()).map_err(|e| e.what);
        for (text, wanted) in [
            ("90m", 5400),
            ("2h", 7200),
            ("18:00", 3 * 3600 + 1800),
            ("08:00", 17 * 3600 + 1800),
            ("2026-11-24", 9 * 3600 + 1800),
            ("2026-11-23 15:00", 1800),
            ("2026-11-23T15:00:30", 1830),
            ("2026-11-23T15:00:00Z", 5400),
            (" 2026-11-23T15:00:00+01:00 ", 1800),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for (text, said) in [
            ("2026-11-23T12:00:00Z", "is over"),
            ("2026-11-01", "is over"),
            ("0s", "of no time"),
            ("soon", "cannot read `soon`"),
            ("", "cannot read"),
            ("-2h", "cannot read"),
        ] {
            let told = seconds(text).unwrap_err();
            assert!(told.contains(said), "{text}: {told}");
        }
    }
}
