//! Host certificates, by OpenSSH's PROTOCOL.certkeys. Pure but for the clock.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::Fingerprint;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate};

/// What is wrong with a host certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostCertificateFault {
    /// The authority of this fingerprint signed it, which is not trusted for the host.
    Untrusted(String),
    /// It is a user's certificate.
    ForUsers,
    /// Its signature uses SHA-1.
    Sha1,
    /// It is not valid yet.
    NotYet,
    /// It has expired.
    Expired,
    /// It has this critical option, which pitcrew does not know.
    Critical(String),
    /// It names these hosts only.
    OtherNames(Vec<String>),
    /// Its signature is wrong.
    Forged,
}

impl fmt::Display for HostCertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(authority) => write!(f, "its authority {authority} is not trusted for this host"),
            Self::ForUsers => f.write_str("it is a user's certificate, not a host's"),
            Self::Sha1 => f.write_str("its authority signed it with SHA-1"),
            Self::NotYet => f.write_str("it is not valid yet"),
            Self::Expired => f.write_str("it has expired"),
            Self::Critical(option) => write!(f, "it demands {option:?}, which is not understood"),
            Self::OtherNames(names) => write!(f, "it is made out to [{}]", names.join(", ")),
            Self::Forged => f.write_str("its signature is wrong"),
        }
    }
}

impl std::error::Error for HostCertificateFault {}

/// Judges a certificate that `host` shows.
pub(super) fn judge(
    certificate: &Certificate,
    host: &str,
    authorities: &[Fingerprint],
) -> Result<(), HostCertificateFault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    judge_at(certificate, host, authorities, now)
}

fn judge_at(
    certificate: &Certificate,
    host: &str,
    authorities: &[Fingerprint],
    now: u64,
) -> Result<(), HostCertificateFault> {
    let authority = certificate.signature_key().fingerprint(russh::keys::HashAlg::Sha256);
    if !authorities.contains(&authority) {
        return Err(HostCertificateFault::Untrusted(authority.to_string()));
    }
    if certificate.cert_type() != CertType::Host {
        return Err(HostCertificateFault::ForUsers);
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None } | Algorithm::Dsa) {
        return Err(HostCertificateFault::Sha1);
    }
    if now < certificate.valid_after() {
        return Err(HostCertificateFault::NotYet);
    }
    if now >= certificate.valid_before() {
        return Err(HostCertificateFault::Expired);
    }
    if let Some(option) = certificate.critical_options().keys().next() {
        return Err(HostCertificateFault::Critical(option.clone()));
    }
    // A certificate without names would stand for every host; ssh-keygen makes them by accident.
    if !certificate.valid_principals().iter().any(|p| p.eq_ignore_ascii_case(host)) {
        return Err(HostCertificateFault::OtherNames(certificate.valid_principals().to_vec()));
    }
    certificate.validate_at(now, [&authority]).map_err(|_| HostCertificateFault::Forged)
}

#[cfg(test)]
mod tests {
    use russh::keys::HashAlg;
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;

    struct Made {
        kind: CertType,
        principal: &'static str,
        critical: bool,
    }

    fn make(ca: &PrivateKey, made: &Made) -> Certificate {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let mut b = Builder::new_with_random_nonce(&mut rand::rng(), key.public_key().key_data().clone(), 1_000, 2_000)
            .unwrap();
        b.serial(1).unwrap();
        b.key_id("id").unwrap();
        b.cert_type(made.kind).unwrap();
        b.valid_principal(made.principal).unwrap();
        if made.critical {
            b.critical_option("x", "").unwrap();
        }
        b.sign(ca).unwrap()
    }

    #[test]
    fn every_rule_is_checked() {
        let ca = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let fp = [ca.public_key().fingerprint(HashAlg::Sha256)];
        let good = Made { kind: CertType::Host, principal: "web1", critical: false };
        let cert = make(&ca, &good);
        assert_eq!(judge_at(&cert, "web1", &fp, 1_500), Ok(()));
        assert_eq!(judge_at(&cert, "WEB1", &fp, 1_000), Ok(()));
        assert!(judge_at(&cert, "web1", &fp, 999).unwrap_err().to_string().contains("not valid yet"));
        assert!(judge_at(&cert, "web1", &fp, 2_000).unwrap_err().to_string().contains("expired"));
        assert!(judge_at(&cert, "web2", &fp, 1_500).unwrap_err().to_string().contains("made out to [web1]"));
        assert!(judge_at(&cert, "web1", &[], 1_500).unwrap_err().to_string().contains("not trusted"));
        let user = make(&ca, &Made { kind: CertType::User, ..good });
        assert!(judge_at(&user, "web1", &fp, 1_500).unwrap_err().to_string().contains("user's"));
        let critical = make(&ca, &Made { critical: true, ..good });
        assert!(judge_at(&critical, "web1", &fp, 1_500).unwrap_err().to_string().contains("demands"));
    }

    #[test]
    fn a_forged_signature_is_refused() {
        let ca = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let cert = make(&ca, &Made { kind: CertType::Host, principal: "web1", critical: false });
        let mut bytes = cert.to_bytes().unwrap();
        // The principal's first letter: what is signed no longer is what is read.
        let at = bytes.windows(4).position(|w| w == b"web1").unwrap();
        bytes[at] = b'x';
        let forged = Certificate::from_bytes(&bytes).unwrap();
        let fp = [ca.public_key().fingerprint(HashAlg::Sha256)];
        assert!(judge_at(&forged, "xeb1", &fp, 1_500).unwrap_err().to_string().contains("signature"));
    }
}
