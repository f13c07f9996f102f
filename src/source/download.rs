//! Archives that are downloaded: by this machine, once, or by each server.
//!
//! Owns the URL, of which nothing but scheme, host and path is ever shown, and the checksum, without which nothing is released.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::error::SourceError;
use super::error::download::DownloadError;
use super::error::sum::SettingError;
use super::error::unknown_ref::{RefFault, UnknownRef};
use super::resolved::{Resolved, SourceOrigin};
use super::{s3, secrets};
use crate::config::source::{self, Address, Download, may_be_secret};
use crate::name::Revision;
use crate::process::machine;
use crate::process::program::Stop;

/// Limit on connecting, and on silence.
const SILENCE: Duration = Duration::from_secs(60);
/// Limit on a whole download.
const LIMIT: Duration = Duration::from_secs(2 * 3600);
const BUFFER: usize = 256 * 1024;
/// How soon a wish to stop is noticed.
const TICK: Duration = Duration::from_millis(100);

/// An archive as it is downloaded.
#[derive(Clone, PartialEq, Eq)]
pub struct ArchiveLink {
    /// Where it lies; may be signed.
    pub url: String,
    /// What it must be.
    pub sha256: String,
    /// Whether the URL itself is a secret.
    pub secret: bool,
}

impl std::fmt::Debug for ArchiveLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchiveLink({})", shown(&self.url))
    }
}

impl ArchiveLink {
    /// What must not be shown.
    pub fn secrets(&self) -> Vec<String> {
        match self.secret {
            true => std::iter::once(self.url.clone()).chain(hidden(&self.url)).collect(),
            false => Vec::new(),
        }
    }
}

/// What must not be shown of a URL: its query, and the login before its host.
pub fn hidden(url: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    if let Some((_, query)) = url.split_once('?') {
        secrets.push(query.to_owned());
        // Short ones are dates and names of algorithms.
        secrets.extend(
            query.split('&').filter_map(|p| p.split_once('=')).map(|(_, v)| v.to_owned()).filter(|v| v.len() >= 16),
        );
    }
    if let Some((_, rest)) = url.split_once("://")
        && let Some((login, _)) = rest.split('/').next().unwrap_or_default().rsplit_once('@')
    {
        secrets.push(login.to_owned());
        secrets.extend(login.split_once(':').map(|(_, password)| password.to_owned()));
    }
    secrets
}

/// A URL without what may be secret in it.
pub fn shown(url: &str) -> String {
    let plain = url.split('?').next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => plain.to_owned(),
    }
}

/// Decides where the archive lies and what it must be; `reference`, when given, is its checksum.
///
/// # Errors
/// When there is no checksum, no such secret, or no credentials to sign a link with.
pub fn resolve(
    download: &Download,
    values: &[(String, String)],
    reference: Option<&str>,
) -> Result<(Resolved, ArchiveLink), SourceError> {
    if let Some(reference) = reference
        && source::sha256(reference).is_err()
    {
        return Err(UnknownRef::new(reference, RefFault::Download).into());
    }
    let sha256 = reference.map(str::to_ascii_lowercase).or_else(|| download.sha256.clone());
    let Some(sha256) = sha256 else {
        return Err(SettingError::NoChecksum.into());
    };
    let (written, from_secret) = match &download.from {
        Address::Written(hidden) => (hidden.0.clone(), false),
        Address::Secret(name) => {
            let url = secrets::value(values, name)?;
            source::archive_url(&url).map_err(|bad| SettingError::NoUrl {
                secret: name.clone(),
                fault: bad.what,
                hint: bad.hint,
            })?;
            (url, true)
        }
    };
    let url = written.replace(source::SHA256, &sha256);
    let label = shown(&url);
    let stored = url.starts_with("s3://");
    let url = match stored {
        true => s3::sign(&url, download, machine::variables())?,
        false => url,
    };
    let secret = from_secret || stored || may_be_secret(&url);
    let revision = Revision(sha256.chars().take(40).collect());
    let resolved = Resolved { revision, label, subject: None, origin: SourceOrigin::Download, notes: Vec::new() };
    Ok((resolved, ArchiveLink { url, sha256, secret }))
}

/// Downloads the archive into a file and proves that it is the one that was meant.
///
/// # Errors
/// When it cannot be downloaded, or is another.
pub fn fetch(link: &ArchiveLink, into: &Path, stop: Stop<'_>) -> Result<(), SourceError> {
    let name = shown(&link.url);
    let (to, from) = sync_channel(8);
    let url = link.url.clone();
    // A thread of its own: a silent name server or host blocks its caller, and a signal comes first.
    thread::Builder::new()
        .spawn(move || pull(&url, &to))
        .map_err(|source| DownloadError::NoThread { name: name.clone(), source })?;
    let mut file = BufWriter::with_capacity(BUFFER, File::create(into).map_err(SourceError::NoSpace)?);
    let mut digest = Sha256::new();
    let (began, mut heard) = (Instant::now(), Instant::now());
    // Connecting, and then the answer, have limits of their own.
    let mut silence = SILENCE * 2;
    loop {
        let pulled = from.recv_timeout(TICK);
        if stop() {
            return Err(SourceError::Stopped);
        }
        if began.elapsed() > LIMIT {
            return Err(DownloadError::TooLong { name, minutes: LIMIT.as_secs() / 60 }.into());
        }
        match pulled {
            Ok(Pulled::Bytes(bytes)) => {
                (heard, silence) = (Instant::now(), SILENCE);
                digest.update(&bytes);
                file.write_all(&bytes).map_err(SourceError::NoSpace)?;
            }
            Ok(Pulled::End) => break,
            Ok(Pulled::Failed(why)) => {
                // The client's words may hold the URL.
                let words = link.secrets().iter().fold(why, |why, secret| why.replace(secret.as_str(), "…"));
                return Err(DownloadError::Client { name, words }.into());
            }
            Err(RecvTimeoutError::Timeout) if heard.elapsed() < silence => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(DownloadError::Silent { name, seconds: heard.elapsed().as_secs() }.into());
            }
            Err(RecvTimeoutError::Disconnected) => return Err(DownloadError::Ended { name }.into()),
        }
    }
    file.flush().map_err(SourceError::NoSpace)?;
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != link.sha256 {
        return Err(DownloadError::Another { name, found, wanted: link.sha256.clone() }.into());
    }
    Ok(())
}

/// What comes of a download.
enum Pulled {
    Bytes(Vec<u8>),
    End,
    Failed(String),
}

/// Downloads to the end, or until the receiver is gone.
fn pull(url: &str, to: &SyncSender<Pulled>) {
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_global(Some(LIMIT))
        .max_redirects(5)
        .https_only(url.starts_with("https://"))
        .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build())
        .user_agent("pitcrew")
        .build()
        .new_agent();
    let mut body = match agent.get(url).call() {
        Ok(answer) => answer.into_body(),
        Err(e) => return drop(to.send(Pulled::Failed(e.to_string()))),
    };
    let mut from = body.as_reader();
    loop {
        let mut bytes = vec![0; BUFFER];
        let pulled = match from.read(&mut bytes) {
            Ok(0) => Pulled::End,
            Ok(got) => {
                bytes.truncate(got);
                Pulled::Bytes(bytes)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => Pulled::Failed(e.to_string()),
        };
        let last = !matches!(pulled, Pulled::Bytes(_));
        if to.send(pulled).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::{Fetcher, Hidden};

    const SUM: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn download(url: &str) -> Download {
        Download {
            from: Address::Written(Hidden(url.into())),
            sha256: Some(SUM.into()),
            by: Fetcher::Here,
            endpoint: None,
            region: None,
        }
    }

    #[test]
    fn what_is_secret_in_a_url_is_never_shown() {
        let (resolved, link) =
            resolve(&download("https://me:pass@h:8/a/{sha256}.tgz?X-Sig=0123456789abcdefXX&d=1"), &[], None).unwrap();
        assert_eq!(resolved.label, format!("https://h:8/a/{SUM}.tgz"));
        assert_eq!(resolved.revision.0, &SUM[..40]);
        assert!(link.secret && link.url.contains(&format!("/a/{SUM}.tgz?")));
        assert!(!format!("{link:?}").contains("pass"));
        for secret in ["me:pass", "0123456789abcdefXX", "X-Sig=0123456789abcdefXX&d=1"] {
            assert!(link.secrets().iter().any(|s| s == secret), "{secret}");
        }
        let (_, plain) = resolve(&download("https://h/a.tar.zst"), &[], None).unwrap();
        assert!(!plain.secret && plain.secrets().is_empty());
    }

    #[test]
    fn the_checksum_may_be_the_ref_and_nothing_else() {
        let other = SUM.replace('0', "F");
        let (resolved, link) = resolve(&download("https://h/{sha256}"), &[], Some(&other)).unwrap();
        assert_eq!(link.url, format!("https://h/{}", other.to_lowercase()));
        assert_eq!(resolved.revision.0, other.to_lowercase()[..40]);
        assert!(resolve(&download("https://h/x"), &[], Some("main")).unwrap_err().what().contains("no refs"));
        let without = Download { sha256: None, ..download("https://h/{sha256}") };
        assert!(resolve(&without, &[], None).unwrap_err().what().contains("no checksum"));
    }
}
