//! HTTP statuses as they are written.

use crate::config::bad::Bad;
use crate::config::words::quoted;

/// Reads an HTTP status or an inclusive range of them: `200`, `300-399`.
pub fn parse_statuses(text: &str) -> Result<(u16, u16), Bad> {
    let hint = "write a status like \"200\" or a range like \"300-399\", from 100 to 599";
    let status = |part: &str| -> Result<u16, Bad> {
        let part = part.trim();
        let plain = part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit());
        match part.parse() {
            Ok(status @ 100..=599) if plain => Ok(status),
            _ => Err(Bad::new(format!("has {}, which is no HTTP status", quoted(text)), hint)),
        }
    };
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (status(low)?, status(high)?),
        None => (status(text)?, status(text)?),
    };
    if low > high {
        return Err(Bad::new(
            format!("has the range {}, which runs backwards", quoted(text)),
            format!("write \"{high}-{low}\""),
        ));
    }
    Ok((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(parse_statuses("200"), Ok((200, 200)));
        assert_eq!(parse_statuses("300-399"), Ok((300, 399)));
        for text in ["", "2xx", "99", "600", "0200", "399-300", "200-", "-200", "200-300-400", "+20"] {
            assert!(parse_statuses(text).is_err(), "{text}");
        }
    }
}
