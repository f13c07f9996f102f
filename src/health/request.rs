//! One HTTP/1.1 request over a given byte stream, as `curl -i` would make it.
//!
//! It follows no redirect and makes no connection of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};

use super::spelling::{seconds, split_port};
use crate::config::{HttpProbe, Named, Scheme};
use crate::http::{driven, failure};

/// How much of a body is read, and kept.
const BODY_LIMIT: usize = 2 << 10;

/// What a server answered to one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpAnswer {
    /// Its status.
    pub status: Option<u16>,
    /// Its `Location`.
    pub location: Option<String>,
    /// At most 2 KiB of its body; no control characters but newlines.
    pub body: String,
    /// The header in which it names its release.
    pub release: Option<String>,
    /// Why there is no answer, or no end of it.
    pub error: Option<String>,
}

/// Asks once over `stream`, within `limit`; never follows a redirect.
///
/// With TLS the certificate is not verified: what is asked is the server's own loopback, over a connection whose host key
/// was, and no certificate names that.
pub async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    probe: &HttpProbe,
    path: &str,
    limit: Duration,
) -> HttpAnswer {
    let mut answer = HttpAnswer::default();
    let asking = async {
        match probe.scheme {
            Scheme::Http => request(stream, probe, path, &mut answer).await,
            Scheme::Https => request(encrypt(stream, probe).await?, probe, path, &mut answer).await,
        }
    };
    answer.error = match timeout(limit, asking).await {
        Ok(done) => done.err(),
        Err(_) => Some(format!("no whole answer within {}", seconds(limit))),
    };
    answer
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    probe: &HttpProbe,
    path: &str,
    answer: &mut HttpAnswer,
) -> Result<(), String> {
    let request = Request::get(path)
        .header(HOST, host_header(&probe.host))
        .header(USER_AGENT, concat!("pitcrew/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("cannot ask for {:?} with Host {:?}: {e}", path, probe.host))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failure(&e))?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(|e| failure(&e))?;
        answer.status = Some(response.status().as_u16());
        if let Some(Named::Header(name)) = &probe.release {
            answer.release = response.headers().get(name.as_str()).map(|v| clean(v.as_bytes()));
        }
        answer.location = response.headers().get(LOCATION).map(|l| clean(l.as_bytes()));
        let (head, error) = head(response.into_body()).await;
        answer.body = clean(&head);
        error.map_or(Ok(()), Err)
    };
    driven(asking, connection).await
}

/// Reads the beginning of a body; the rest is left unread.
async fn head(mut body: Incoming) -> (Vec<u8>, Option<String>) {
    let mut head = Vec::new();
    while head.len() < BODY_LIMIT {
        match body.frame().await {
            None => break,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    let room = BODY_LIMIT - head.len();
                    head.extend_from_slice(data.get(..room).unwrap_or(&data));
                }
            }
            Some(Err(e)) => return (head, Some(failure(&e))),
        }
    }
    (head, None)
}

/// The Host header is `host` as configured; only an IPv6 address gets its brackets.
fn host_header(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Makes text from elsewhere printable: newlines stay, tabs become spaces, other control characters go.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\t', " ");
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect::<String>().trim_end().to_owned()
}

async fn encrypt<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    probe: &HttpProbe,
) -> Result<tokio_rustls::client::TlsStream<S>, String> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("cannot set up TLS: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    let (host, _) = split_port(&probe.host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| format!("cannot ask for the TLS name {:?}", probe.host))?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|e| format!("cannot speak TLS with it: {e}"))
}

/// Accepts any certificate, and still checks that the peer holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
