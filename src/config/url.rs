//! The URL of a Data Plane API.

use std::fmt;

use super::bad::Bad;
use super::hosts;
use super::words::quoted;

/// Of an [`HttpProbe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS; the certificate is not verified, since the name asked is the server's loopback.
    Https,
}

/// The address of a Data Plane API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    /// `https` or `http`.
    pub scheme: Scheme,
    /// Host.
    pub host: String,
    /// Port, else the scheme's own.
    pub port: Option<u16>,
    /// What the paths of the API come after: empty, or with a slash before and none behind.
    pub base: String,
    /// `/v2` or `/v3`, where the address ends with it; else it is asked for.
    pub version: Option<ApiVersion>,
}

/// The versions of the Data Plane API; v1 cannot change a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVersion {
    /// Up to 2.9.
    V2,
    /// From 3.0 on.
    V3,
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
        })
    }
}

impl ApiUrl {
    /// The port that is connected to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    /// Host and port, as a Host header has them.
    pub fn authority(&self) -> String {
        let host = bracketed(&self.host);
        self.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.base)?;
        self.version.map_or(Ok(()), |version| write!(f, "/{version}"))
    }
}

/// Puts an IPv6 address in brackets.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Reads the address of a Data Plane API after its scheme.
///
/// # Errors
/// When it is none; never with what may be a password.
pub fn parse_api(scheme: Scheme, rest: &str) -> Result<ApiUrl, Bad> {
    let hint = "write \"https://lb1.example.com:5555\", with /v2 or /v3 behind it where it is not to be asked for";
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(Bad::new(
            "has an address with a login in it",
            "write the address alone, `user = \"…\"` beside it, and `password = \"NAME\"`, the name of one of the [secrets]",
        ));
    }
    // What stands behind the host may be a token.
    let cannot = |why: &str| Bad::new(format!("has an address at {}, {why}", quoted(authority)), hint);
    if path.contains(['?', '#', '%']) || path.contains("//") {
        return Err(cannot("whose path is none of a Data Plane API"));
    }
    let spec = hosts::parse_one(authority).map_err(|bad| cannot(&format!("which {}", bad.what)))?;
    let path = path.trim_end_matches('/');
    let (base, version) = match path.rsplit_once('/') {
        Some((base, "v2")) => (base, Some(ApiVersion::V2)),
        Some((base, "v3")) => (base, Some(ApiVersion::V3)),
        _ => (path, None),
    };
    Ok(ApiUrl { scheme, host: spec.host, port: spec.port, base: base.to_owned(), version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(rest: &str) -> Result<ApiUrl, Bad> {
        parse_api(Scheme::Https, rest)
    }

    #[test]
    fn addresses_of_the_api() {
        let url = parsed("lb1:5555").unwrap();
        assert_eq!((url.to_string(), url.port(), url.version), ("https://lb1:5555".into(), 5555, None));
        let url = parsed("lb1/v2/").unwrap();
        assert_eq!((url.to_string(), url.port(), url.version), ("https://lb1/v2".into(), 443, Some(ApiVersion::V2)));
        let url = parsed("[::1]:5555/haproxy/v3").unwrap();
        assert_eq!((url.base.as_str(), url.version), ("/haproxy", Some(ApiVersion::V3)));
        assert_eq!(url.to_string(), "https://[::1]:5555/haproxy/v3");
        assert_eq!(parsed("lb1:5555/dataplane").unwrap().base, "/dataplane");
        for bad in ["", "/v3", "lb[1-2]", "lb1:0", "lb1/v3?x=1", "lb1//v3", "lb1/%76"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_login_in_the_address_is_refused_and_not_shown() {
        for text in ["admin:hunter2@lb1:5555", "admin@lb1", "a:hunter2@lb1/v3?q"] {
            let bad = parsed(text).unwrap_err();
            assert!(!bad.what.contains("hunter2") && bad.hint.contains("[secrets]"), "{bad:?}");
        }
        assert!(!parsed("lb1/v3?token=hunter2").unwrap_err().what.contains("hunter2"));
    }
}
