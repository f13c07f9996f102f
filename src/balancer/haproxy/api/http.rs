//! Requests to a Data Plane API: a connection a call, TLS verified, a deadline and a size limit.
//!
//! Owns the login, which goes into a header and nowhere else, and which authorities are trusted.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::answers::{ApiQuestion, Deaf};
use crate::config::{ApiUrl, HaproxyAccess, Scheme};
use crate::http::{driven, failure};

/// Largest answer that is read: JSON repeats every column's name for each server.
const ANSWER_LIMIT: usize = 32 << 20;

/// Why no whole answer came.
#[derive(Debug, Clone)]
pub enum Unanswered {
    /// The address cannot be reached.
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// No TLS session came about.
    Tls(Arc<io::Error>),
    /// The answer did not come within this time.
    Late(Duration),
    /// The exchange broke off, as the text says.
    CutOff(String),
}

impl Unanswered {
    /// Says what to do next; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "is the Data Plane API running, and is this its address?",
            Self::Tls(_) => "if its certificate is signed by an authority of your own, name that in `ca_file`",
            Self::Late(_) | Self::CutOff(_) => "",
        }
    }
}

impl Error for Unanswered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Tls(source) => Some(source.as_ref()),
            Self::Late(_) | Self::CutOff(_) => None,
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { host, port, source } => write!(f, "cannot connect to {host} port {port}: {source}"),
            Self::Tls(source) => write!(f, "cannot speak TLS with it: {source}"),
            Self::Late(limit) => write!(f, "it did not answer within {limit:?}"),
            Self::CutOff(why) => f.write_str(why),
        }
    }
}

/// An answer: with success, or not.
pub type Answer = Result<String, Deaf>;

/// The login, and the authorities that are trusted.
#[derive(Clone)]
pub struct ApiAccess {
    login: HeaderValue,
    tls: Arc<ClientConfig>,
}

impl ApiAccess {
    /// Reads what is needed to speak to an API.
    ///
    /// # Errors
    /// When the login or the file of the authority's certificates cannot be read.
    pub fn new(access: &HaproxyAccess, env: &[(String, String)]) -> Result<Self, String> {
        let login = access.login.as_ref().ok_or("a Data Plane API needs `user` and `password` in [load_balancer]")?;
        let found = env.iter().rev().find(|(name, _)| *name == login.secret);
        let (_, password) = found.ok_or_else(|| format!("there is no secret {}", login.secret))?;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{}:{password}", login.user));
        let mut login = HeaderValue::try_from(format!("Basic {text}")).map_err(|e| format!("cannot log in: {e}"))?;
        login.set_sensitive(true);
        Ok(Self { login, tls: Arc::new(tls(access.ca_file.as_deref())?) })
    }
}

/// Trusts this machine's authorities, or those of a file alone.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let cannot = |e: &dyn std::fmt::Display| format!("cannot set up TLS: {e}");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| cannot(&e))?;
    let Some(file) = ca_file else {
        return Ok(builder.with_platform_verifier().map_err(|e| cannot(&e))?.with_no_client_auth());
    };
    let shown = file.display();
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|e| format!("cannot read the `ca_file` {shown}: {e}"))?;
    let mut roots = RootCertStore::empty();
    let (_, odd) = roots.add_parsable_certificates(certificates);
    if roots.is_empty() || odd > 0 {
        return Err(format!("the `ca_file` {shown} holds no certificates, or some that cannot be read"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Speaks to one API.
pub struct Caller {
    url: ApiUrl,
    access: ApiAccess,
}

impl Caller {
    /// Makes the caller of one API; connects to nothing.
    pub fn new(url: &ApiUrl, access: &ApiAccess) -> Self {
        Self { url: url.clone(), access: access.clone() }
    }

    /// Asks one question after another, all within the limit, and returns the answers.
    pub async fn call(&self, questions: &[ApiQuestion], limit: Duration) -> Result<Vec<Answer>, Unanswered> {
        let mut answers = Vec::with_capacity(questions.len());
        let asking = async {
            // One connection serves for all, unless the other side ends it between two of them.
            while let Some(rest) = questions.get(answers.len()..).filter(|rest| !rest.is_empty()) {
                self.converse(rest, &mut answers).await?;
            }
            Ok(())
        };
        timeout(limit, asking).await.unwrap_or(Err(Unanswered::Late(limit))).map(|()| answers)
    }

    /// Asks over one connection until it ends, and adds at least one answer.
    async fn converse(&self, questions: &[ApiQuestion], answers: &mut Vec<Answer>) -> Result<(), Unanswered> {
        let (host, port) = (self.url.host.as_str(), self.url.port());
        let stream = TcpStream::connect((host, port)).await.map_err(|e| Unanswered::Connect {
            host: host.to_owned(),
            port,
            source: Arc::new(e),
        })?;
        match self.url.scheme {
            Scheme::Http => self.over(stream, questions, answers).await,
            Scheme::Https => {
                let name = ServerName::try_from(host.to_owned());
                let name = name.map_err(|_| cut_off(format!("cannot ask for the TLS name {host:?}")))?;
                let connector = TlsConnector::from(self.access.tls.clone());
                let stream = connector.connect(name, stream).await.map_err(|e| Unanswered::Tls(Arc::new(e)))?;
                self.over(stream, questions, answers).await
            }
        }
    }

    async fn over(
        &self,
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        questions: &[ApiQuestion],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Unanswered> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| cut_off(failure(&e)))?;
        driven(self.all(sender, questions, answers), connection).await
    }

    async fn all(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        questions: &[ApiQuestion],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Unanswered> {
        for (at, question) in questions.iter().enumerate() {
            match sender.ready().await {
                Ok(()) => {}
                Err(_) if at > 0 => return Ok(()),
                Err(e) => return Err(cut_off(failure(&e))),
            }
            let request = self.request(question)?;
            let response = sender.send_request(request).await.map_err(|e| cut_off(failure(&e)))?;
            let status = response.status();
            let elsewhere =
                response.headers().get(LOCATION).map(|l| String::from_utf8_lossy(l.as_bytes()).into_owned());
            let ends = response.headers().get(CONNECTION).is_some_and(|c| c.as_bytes().eq_ignore_ascii_case(b"close"));
            let text = whole(response.into_body()).await?;
            answers.push(match elsewhere.filter(|_| status.is_redirection()) {
                Some(elsewhere) => Err(Deaf::read(status.as_u16(), &elsewhere)),
                None if status.is_success() => Ok(text),
                None => Err(Deaf::read(status.as_u16(), &text)),
            });
            if ends {
                return Ok(());
            }
        }
        Ok(())
    }

    fn request(&self, question: &ApiQuestion) -> Result<Request<Full<Bytes>>, Unanswered> {
        let method = if question.body.is_some() { "PUT" } else { "GET" };
        Request::builder()
            .method(method)
            .uri(format!("{}{}", self.url.base, question.path))
            .header(HOST, self.url.authority())
            .header(AUTHORIZATION, self.access.login.clone())
            .header(USER_AGENT, concat!("pitcrew/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(question.body.unwrap_or_default()))
            .map_err(|e| cut_off(format!("cannot ask for {:?}: {e}", question.path)))
    }
}

/// Reads a whole body, within the limit.
async fn whole(mut body: Incoming) -> Result<String, Unanswered> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|e| cut_off(failure(&e)))?.into_data() {
            if text.len() + data.len() > ANSWER_LIMIT {
                return Err(cut_off(format!("its answer is larger than {} MiB", ANSWER_LIMIT >> 20)));
            }
            text.extend_from_slice(&data);
        }
    }
    Ok(String::from_utf8(text).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn cut_off(why: String) -> Unanswered {
    Unanswered::CutOff(why)
}
