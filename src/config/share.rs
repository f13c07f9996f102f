//! A number of servers, or a share of them: batch sizes, and how many must stay in service.

use super::bad::{Bad, refused};

/// How batch sizes are written.
const BATCH_HINT: &str =
    "write a number of servers like 2, a share like \"25%\", or a ramp like [1, \"25%\", \"100%\"]";
/// Most servers in one batch; more is a slip.
const LARGEST_BATCH: usize = 100_000;

/// One element of a batch ramp; the last one repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// That many servers.
    Count(usize),
    /// That many percent of the servers of the run, rounded down, at least one server.
    Percent(u8),
}

/// How many must stay in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// So many.
    Count(usize),
    /// A share of all, rounded up; 0 to 100.
    Percent(u8),
}

impl Least {
    /// Says how many of `all` that are.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => all.saturating_mul(usize::from(percent)).div_ceil(100),
        }
    }
}

impl std::fmt::Display for Least {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Reads a batch size, or a ramp of them, as `--rolling=` takes it: `2`, `25%`, `1,25%,100%`.
pub fn parse_batch(text: &str) -> Result<Vec<BatchSize>, Bad> {
    text.split(',').map(|part| batch_size(part.trim())).collect()
}

fn batch_size(text: &str) -> Result<BatchSize, Bad> {
    let number = |digits: &str| -> Result<usize, Bad> {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let parsed = if plain { digits.parse().ok() } else { None };
        parsed.ok_or_else(|| refused(text, BATCH_HINT))
    };
    match text.strip_suffix('%') {
        Some(share) => batch_percent(number(share.trim_end())?),
        None => batch_count(number(text)?),
    }
}

/// Accepts a number of servers.
pub fn batch_count(count: usize) -> Result<BatchSize, Bad> {
    match count {
        0 => Err(Bad::new("cannot be 0 servers", "a batch has at least 1 server")),
        count if count > LARGEST_BATCH => Err(Bad::new(format!("cannot be {count} servers"), BATCH_HINT)),
        count => Ok(BatchSize::Count(count)),
    }
}

fn batch_percent(percent: usize) -> Result<BatchSize, Bad> {
    match u8::try_from(percent) {
        Ok(percent @ 1..=100) => Ok(BatchSize::Percent(percent)),
        _ => Err(Bad::new(format!("cannot be {percent}%"), "a share is from \"1%\" to \"100%\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches() {
        use BatchSize::{Count, Percent};
        for (text, sizes) in [
            ("2", vec![Count(2)]),
            ("25%", vec![Percent(25)]),
            ("1,25%,100%", vec![Count(1), Percent(25), Percent(100)]),
            (" 1 , 2 ", vec![Count(1), Count(2)]),
        ] {
            assert_eq!(parse_batch(text), Ok(sizes), "{text}");
        }
        for text in
            ["", "0", "0%", "101%", "256%", "-1", "+1", "1.5", "two", "1,", ",", "%", "99999999999999999999", "1 2"]
        {
            assert!(parse_batch(text).is_err(), "{text}");
        }
        assert_eq!(parse_batch("0"), Err(Bad::new("cannot be 0 servers", "a batch has at least 1 server")));
    }
}
