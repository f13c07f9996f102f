//! Paths that every server can unpack.

use super::super::error::refused::PathFault;

/// Linux's NAME_MAX and PATH_MAX: beyond them no server could unpack the entry.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096 - 256;

/// Reduces a path to its components.
///
/// # Errors
/// When no server could unpack it inside a release.
pub(super) fn relative(raw: &[u8]) -> Result<Vec<u8>, PathFault> {
    if raw.first() == Some(&b'/') {
        return Err(PathFault::Absolute);
    }
    if raw.contains(&0) {
        return Err(PathFault::Nul);
    }
    let mut path = Vec::with_capacity(raw.len());
    for part in raw.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(PathFault::Parent),
            _ if part.len() > NAME_MAX => return Err(PathFault::Component),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    if path.len() > PATH_MAX { Err(PathFault::TooLong) } else { Ok(path) }
}
