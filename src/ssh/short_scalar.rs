//! Reads ECDSA keys with a short private number: one in 256 of `ecdsa-sha2-nistp256`.
//!
//! ssh-keygen writes the number without leading zeros, which the library does not read. Encrypted keys are not covered: an
//! agent holds all of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::PrivateKey;

/// `AUTH_MAGIC` of OpenSSH's PROTOCOL.key.
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Bytes of a private number of that curve.
const SIZE: usize = 32;
/// Block size of the padding of an unencrypted section.
const BLOCK: usize = 8;

/// Reads such a key; `None`: the text is no such key.
pub(super) fn read(text: &str) -> Option<PrivateKey> {
    let body = text.split_once("-----BEGIN OPENSSH PRIVATE KEY-----")?.1;
    let body: String = body.split_once("-----END")?.0.split_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let (cipher, kdf, options) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
    let count = rest.split_off(..4)?;
    let (public, mut private) = (take(&mut rest)?, take(&mut rest)?);
    if (cipher, count) != (b"none", &1u32.to_be_bytes()) {
        return None;
    }
    let checks = private.split_off(..8)?;
    let (kind, curve, point) = (take(&mut private)?, take(&mut private)?, take(&mut private)?);
    let (number, comment) = (take(&mut private)?, take(&mut private)?);
    if curve != b"nistp256" || number.len() >= SIZE {
        return None;
    }
    let mut padded = [0; SIZE];
    padded.get_mut(SIZE - number.len()..)?.copy_from_slice(number);
    let mut section = checks.to_vec();
    for part in [kind, curve, point, &padded, comment] {
        put(&mut section, part);
    }
    for pad in 1..=(BLOCK - section.len() % BLOCK) % BLOCK {
        section.push(u8::try_from(pad).ok()?);
    }
    let mut whole = MAGIC.to_vec();
    for part in [cipher, kdf, options] {
        put(&mut whole, part);
    }
    whole.extend(count);
    put(&mut whole, public);
    put(&mut whole, &section);
    PrivateKey::from_bytes(&whole).ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_be_bytes(rest.split_off(..4)?.try_into().ok()?);
    rest.split_off(..usize::try_from(len).ok()?)
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
        b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS\n\
        1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQSfGKl5LAn380Mo9OF72rKQjyQqU9xT\n\
        W/w2ZJE++Eq3GBQxkoOk217c6J3r6f0fQsaH9rLJsPFk3Tq1a5Qz/gOZAAAAoPkQlEf5EJ\n\
        RHAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJ8YqXksCffzQyj0\n\
        4XvaspCPJCpT3FNb/DZkkT74SrcYFDGSg6TbXtzonevp/R9Cxof2ssmw8WTdOrVrlDP+A5\n\
        kAAAAfMZLNr+id2G7Y4fBdro7hxJL3z2VviX6osihzWL+GlgAAAAVzaG9ydAECAwQ=\n\
        -----END OPENSSH PRIVATE KEY-----\n";

    #[test]
    fn a_short_number_is_read() {
        assert!(PrivateKey::from_openssh(SHORT).is_err(), "the library reads it now: this file can go");
        let key = read(SHORT).unwrap();
        assert_eq!(
            key.public_key().to_openssh().unwrap(),
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJ8YqXksCffzQyj04XvaspCPJCpT3FNb/DZkkT74SrcYFDGSg6TbXtzonevp/R9Cxof2ssmw8WTdOrVrlDP+A5k= short"
        );
    }

    #[test]
    fn anything_else_is_not() {
        for end in (0..SHORT.find("-----END").unwrap()).step_by(7) {
            assert!(read(&SHORT[..end]).is_none());
        }
        let other = PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
        assert!(read(&other.to_openssh(Default::default()).unwrap()).is_none());
    }
}
