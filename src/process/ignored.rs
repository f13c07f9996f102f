//! Which signals this process was started to ignore, as `nohup` and a shell's `&` do.

use std::process::{Command, Stdio};

/// Tells whether a signal was ignored when this process began. Ask before a handler is installed.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    mask(&status).map_or_else(|| a_child_survives(signal), |mask| has(mask, signal))
}

/// The ignored signals as Linux lists them.
fn mask(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn has(mask: u64, signal: i32) -> bool {
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

/// Where the kernel does not tell: a child inherits what is ignored.
fn a_child_survives(signal: i32) -> bool {
    let mut sh = Command::new("sh");
    sh.arg("-c").arg(format!("kill -{signal} $$; exit 7"));
    sh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sh.status().is_ok_and(|status| status.code() == Some(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_mask_is_read() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        let mask = mask(status).unwrap();
        assert_eq!([1, 2, 13, 15].map(|signal| has(mask, signal)), [true, false, true, false]);
        assert!(!has(u64::MAX, 0) && !has(u64::MAX, 99));
    }

    #[test]
    fn a_child_tells_where_the_kernel_does_not() {
        assert!(!a_child_survives(15));
    }
}
