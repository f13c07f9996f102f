//! Durations as they are written.

use std::time::Duration;

use crate::config::bad::Bad;
use crate::config::words::quoted;

/// Longest duration: longer ones are slips, and could overflow a clock.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// How durations are written.
const DURATION_HINT: &str = "write for example \"500ms\", \"10s\", \"2m\" or \"1h30m\"";

/// Reads a duration such as `500ms`, `10s`, `2m`, `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, Bad> {
    let cannot = || Bad::new(format!("cannot read {} as a duration", quoted(text)), DURATION_HINT);
    let trimmed = text.trim();
    // The library reads ISO 8601, signs and "ago" too; a configuration has no use for them.
    if !trimmed.starts_with(|c: char| c.is_ascii_digit()) || trimmed.ends_with("ago") || trimmed.contains(':') {
        return Err(cannot());
    }
    let parsed: jiff::SignedDuration = trimmed.parse().map_err(|_| cannot())?;
    let duration = Duration::try_from(parsed).map_err(|_| cannot())?;
    if duration > LONGEST {
        return Err(Bad::new(format!("cannot be as long as {}", quoted(text)), "the longest duration is 30 days"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5s", 1500),
            ("720h", 2_592_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "10", "s", "-5s", "+5s", "10 parsecs", "5s ago", "PT5S", "1:30", "721h", "99999999999999999h", "10s\0"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
