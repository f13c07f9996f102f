//! Reads ECDSA keys with a short private number: one in 256, encrypted or not.
//!
//! ssh-keygen writes the number without leading zeros, which the library does not read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::PrivateKey;

/// `AUTH_MAGIC` of OpenSSH's PROTOCOL.key.
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Curves, and the bytes of their private numbers.
const SIZES: [(&[u8], usize); 3] = [(b"nistp256", 32), (b"nistp384", 48), (b"nistp521", 66)];
/// Block size of the padding of an unencrypted section.
const BLOCK: usize = 8;

/// Reads such a key; `None`: the text is no such key, or the passphrase is not its own.
pub(super) fn read(text: &str, passphrase: Option<&str>) -> Option<PrivateKey> {
    let body = text.split_once("-----BEGIN OPENSSH PRIVATE KEY-----")?.1;
    let body: String = body.split_once("-----END")?.0.split_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let (cipher, _, _) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
    let count = rest.split_off(..4)?;
    let (public, private) = (take(&mut rest)?, take(&mut rest)?);
    if count != 1u32.to_be_bytes() {
        return None;
    }
    let private = if cipher == b"none" { private.to_vec() } else { decrypt(text, private, passphrase?)? };
    let section = padded(&private)?;
    let mut whole = MAGIC.to_vec();
    for part in [b"none".as_slice(), b"none", b""] {
        put(&mut whole, part);
    }
    whole.extend(count);
    put(&mut whole, public);
    put(&mut whole, &section);
    PrivateKey::from_bytes(&whole).ok()
}

/// Decrypts the private section, as the library would before it reads it.
fn decrypt(text: &str, private: &[u8], passphrase: &str) -> Option<Vec<u8>> {
    let locked = PrivateKey::from_openssh(text).ok()?;
    let (key, iv) = locked.kdf().derive_key_and_iv(locked.cipher(), passphrase).ok()?;
    let mut section = private.to_vec();
    locked.cipher().decrypt(&key, &iv, &mut section, None).ok()?;
    Some(section)
}

/// Writes a decrypted section anew, its number as long as its curve has it.
fn padded(mut section: &[u8]) -> Option<Vec<u8>> {
    let (check, again) = (section.split_off(..4)?, section.split_off(..4)?);
    // They differ where the passphrase was another.
    if check != again {
        return None;
    }
    let (kind, curve, point) = (take(&mut section)?, take(&mut section)?, take(&mut section)?);
    let (number, comment) = (take(&mut section)?, take(&mut section)?);
    let (_, size) = SIZES.into_iter().find(|(name, _)| *name == curve)?;
    let mut whole = vec![0; size.checked_sub(number.len())?];
    if whole.is_empty() {
        return None;
    }
    whole.extend(number);
    let mut out = [check, again].concat();
    for part in [kind, curve, point, &whole, comment] {
        put(&mut out, part);
    }
    for pad in 1..=(BLOCK - out.len() % BLOCK) % BLOCK {
        out.push(u8::try_from(pad).ok()?);
    }
    Some(out)
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

    /// The same key, with a passphrase.
    const LOCKED: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
        b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABDbEW4Owp\n\
        B7aA6A6eSikh8CAAAAEAAAAAEAAABoAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlz\n\
        dHAyNTYAAABBBJ8YqXksCffzQyj04XvaspCPJCpT3FNb/DZkkT74SrcYFDGSg6TbXtzone\n\
        vp/R9Cxof2ssmw8WTdOrVrlDP+A5kAAACgNBlZYwVV1ipwuYZQ2lN3EqsXVI7RS5lN5Nbp\n\
        T28e8Ax3f+O92E63NMR8i3XYRxVrkDYw8LaezglPCWbat2DK/kVqM+d2cKFLnfcVdccU83\n\
        LCQKaJGaKslZmDHSNqBz1OabWwE7JJ0NHeBdhkNWaH8hpetio4PDpN9XZ0hOZFeUIX9k6d\n\
        8UttnVtyP5182HJOqSCTM7EJkEYsBqdw2x8BuQ==\n\
        -----END OPENSSH PRIVATE KEY-----\n";

    const OF_384: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
        b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAiAAAABNlY2RzYS\n\
        1zaGEyLW5pc3RwMzg0AAAACG5pc3RwMzg0AAAAYQRC0SgT9ando0+rxqoUP9kCPzsQpJYr\n\
        PeHnKBeulndSzvB4w+ebfu2elubafaD5q6WqWvoDdvD8AIFXsBEJ3/rj2XuMle0uWwMsSy\n\
        kDq2iyzHmjkakJEVOi0Q35e+lPrh4AAADQtG+4WbRvuFkAAAATZWNkc2Etc2hhMi1uaXN0\n\
        cDM4NAAAAAhuaXN0cDM4NAAAAGEEQtEoE/Wp3aNPq8aqFD/ZAj87EKSWKz3h5ygXrpZ3Us\n\
        7weMPnm37tnpbm2n2g+aulqlr6A3bw/ACBV7ARCd/649l7jJXtLlsDLEspA6tossx5o5Gp\n\
        CRFTotEN+XvpT64eAAAALxYwfk6xC69xaEZ7rA26y8xoZOk6F4f7dtl4em9U6GFn3i4stm\n\
        8B+P45VEthF5PLAAAAB3Jvb3RAdm0BAg==\n\
        -----END OPENSSH PRIVATE KEY-----\n";

    const OF_521: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
        b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAArAAAABNlY2RzYS\n\
        1zaGEyLW5pc3RwNTIxAAAACG5pc3RwNTIxAAAAhQQA2aiJsbbLGDwEehoRoPyL1Owu5haD\n\
        PfL7Tm7c084JCQfVOUfDjKydKDEdNSyQpAyVaHXTChTcjg4wnzJPsnzi91ABaT/u0wAOCP\n\
        WcvqgTlCg8wgd/05rVU+8Zja8NqpMjv6bahTy5f7+pDVWD8B2QGVfmNNxPHCUmNVkDAz6K\n\
        QIY+kwgAAAEINYUrNDWFKzQAAAATZWNkc2Etc2hhMi1uaXN0cDUyMQAAAAhuaXN0cDUyMQ\n\
        AAAIUEANmoibG2yxg8BHoaEaD8i9TsLuYWgz3y+05u3NPOCQkH1TlHw4ysnSgxHTUskKQM\n\
        lWh10woU3I4OMJ8yT7J84vdQAWk/7tMADgj1nL6oE5QoPMIHf9Oa1VPvGY2vDaqTI7+m2o\n\
        U8uX+/qQ1Vg/AdkBlX5jTcTxwlJjVZAwM+ikCGPpMIAAAAQAWEMBOAvDoYqQNfklX5QlL7\n\
        UsArI9gaNocOoCr2M/gTiekGZJV+Zu++w6/ESi95aLcOOMZDR7W2zXPrj2RIZOUAAAAHcm\n\
        9vdEB2bQECAwQF\n\
        -----END OPENSSH PRIVATE KEY-----\n";

    #[test]
    fn a_short_number_is_read() {
        assert!(PrivateKey::from_openssh(SHORT).is_err(), "the library reads it now: this file can go");
        let key = read(SHORT, None).unwrap();
        assert_eq!(
            key.public_key().to_openssh().unwrap(),
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJ8YqXksCffzQyj04XvaspCPJCpT3FNb/DZkkT74SrcYFDGSg6TbXtzonevp/R9Cxof2ssmw8WTdOrVrlDP+A5k= short"
        );
    }

    #[test]
    fn a_short_number_behind_a_passphrase_is_read() {
        assert!(russh::keys::decode_secret_key(LOCKED, Some("secret")).is_err(), "the library reads it now");
        let key = read(LOCKED, Some("secret")).unwrap();
        assert_eq!(key.public_key(), read(SHORT, None).unwrap().public_key());
        assert!(read(LOCKED, Some("Secret")).is_none() && read(LOCKED, None).is_none());
    }

    #[test]
    fn the_other_curves_have_short_numbers_too() {
        for (text, size) in [(OF_384, 384), (OF_521, 521)] {
            let key = russh::keys::decode_secret_key(text, None).ok().or_else(|| read(text, None)).unwrap();
            assert_eq!(key.algorithm().as_str(), format!("ecdsa-sha2-nistp{size}"));
        }
    }

    #[test]
    fn anything_else_is_not() {
        for end in (0..SHORT.find("-----END").unwrap()).step_by(7) {
            assert!(read(&SHORT[..end], None).is_none());
        }
        let other = PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
        assert!(read(&other.to_openssh(Default::default()).unwrap(), None).is_none());
    }
}
