//! Durations, sizes, counts and lists, as people write them.
//!
//! It owns their spelling.

/// Spells a duration: `0.02s`, `42s`, `3m 05s`, `1h 02m`.
pub fn seconds(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    if seconds < 9.995 {
        return format!("{seconds:.2}s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, positive and rounded")]
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Spells a duration in whole seconds: `7s`, and from ten seconds on as [`seconds`] does.
#[expect(clippy::cast_precision_loss, reason = "shown to the minute")]
pub fn long(whole: u64) -> String {
    if whole < 10 { format!("{whole}s") } else { seconds(whole as f64) }
}

/// Spells an age in seconds: `5 days`, and below two days as [`seconds`] does.
pub fn days(age: u64) -> String {
    if age < 2 * 86_400 { seconds(as_seconds(age)) } else { count(usize::try_from(age / 86_400).unwrap_or(0), "day") }
}

/// Spells a size: `812 B`, `3.4 MB`.
pub fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let exact = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", exact / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", exact / 1e6),
        _ => format!("{:.1} GB", exact / 1e9),
    }
}

/// Counts things: `1 server`, `3 servers`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Lists names, at most `most` of them: `web1, web2 and 3 more`.
pub fn names<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown: Vec<&str> = names.iter().take(most.max(1)).map(AsRef::as_ref).collect();
    let left = names.len() - shown.len();
    if left == 0 { shown.join(", ") } else { format!("{} and {left} more", shown.join(", ")) }
}

/// Returns whole seconds as [`seconds`] takes them.
#[expect(clippy::cast_precision_loss, reason = "a duration in whole seconds, shown to the minute")]
pub fn as_seconds(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_durations() {
        for (given, shown) in [
            (0.0, "0.00s"),
            (0.024, "0.02s"),
            (9.99, "9.99s"),
            (9.999, "10s"),
            (59.4, "59s"),
            (59.6, "1m 00s"),
            (185.0, "3m 05s"),
            (3599.9, "1h 00m"),
            (3720.0, "1h 02m"),
            (-1.0, "0.00s"),
            (f64::NAN, "0.00s"),
        ] {
            assert_eq!(seconds(given), shown, "{given}");
        }
    }

    #[test]
    fn sizes_and_lists() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(3_400_000), "3.4 MB");
        assert_eq!(names(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(names(&["a", "b"], 2), "a, b");
        assert_eq!(count(1, "server"), "1 server");
    }
}
