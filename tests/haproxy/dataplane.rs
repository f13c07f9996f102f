//! A double of the Data Plane API that steers a real haproxy through its socket, as the sources of dataplaneapi and
//! client-native do: the same paths, fields, commands, mistakes and errors; and faults on request.
//!
//! Followed closely: `handlers/runtime_server.go` and `handlers/stats.go` (v2.9), `handlers/runtime/servers/servers.go`,
//! `handlers/dataplane/stats/stats.go` and `adapters/adapters.go` (v3), client-native's `runtime/servers.go`,
//! `runtime/stats.go`, `runtime/runtime_client.go`, `runtime/runtime_single_client.go` and `misc/bits.go`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub const USER: &str = "admin";
pub const PASSWORD: &str = "mypassword:with a colon";

/// What it claims to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    V2_9,
    V3_0,
    /// With the fields of a server that 3.3 added.
    V3_4,
}

impl Release {
    fn base(self) -> &'static str {
        if self == Self::V2_9 { "/v2" } else { "/v3" }
    }
}

/// What it does instead of answering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// HAProxy cannot be reached by it.
    NoHaproxy,
    Silent,
    Garbage,
    /// More than anybody should read.
    Endless,
    Redirect,
    CutOff,
    /// Answers, and ends the connection.
    Closes,
}

/// A running double; ends when dropped.
pub struct Api {
    pub port: u16,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

struct Inner {
    socket: PathBuf,
    release: Release,
    /// How many requests meet the fault; `usize::MAX`: all.
    fault: Mutex<Option<(Fault, usize)>>,
    heard: Mutex<Vec<String>>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Api {
    /// Starts one before a haproxy's socket; with TLS when there is a directory with `key.pem` and `cert.pem`.
    pub async fn start(socket: PathBuf, release: Release, tls: Option<&Path>) -> Self {
        let acceptor = tls.map(|dir| {
            let certificates =
                CertificateDer::pem_file_iter(dir.join("cert.pem")).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
            let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
            let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(certificates, key)
                .unwrap();
            TlsAcceptor::from(Arc::new(config))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner { socket, release, fault: Mutex::default(), heard: Mutex::default() });
        let shared = inner.clone();
        let task = tokio::spawn(async move {
            // Connections end with the double.
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, acceptor) = (shared.clone(), acceptor.clone());
                all.spawn(async move {
                    match acceptor {
                        None => shared.serve(stream).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                shared.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, inner, task }
    }

    /// Lets so many requests meet a fault.
    pub fn fail(&self, fault: Fault, times: usize) {
        *self.inner.fault.lock().unwrap() = Some((fault, times));
    }

    /// Answers again.
    pub fn mend(&self) {
        *self.inner.fault.lock().unwrap() = None;
    }

    /// What was asked since the last call: `PUT /v3/… {body}`.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.heard.lock().unwrap())
    }
}

type Answer = (u16, Value);

impl Inner {
    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(|request| {
            let inner = self.clone();
            async move { inner.respond(request).await.ok_or(std::io::Error::other("cut off")) }
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn respond(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path_and_query().unwrap().to_string();
        let heard = format!("{} {path} {}", head.method, String::from_utf8_lossy(&body));
        self.heard.lock().unwrap().push(heard.trim_end().to_owned());
        let text = |status: u16, text: Vec<u8>| Response::builder().status(status).body(Full::from(text)).unwrap();
        let fault = self.next_fault();
        let (away, closes) = (fault == Some(Fault::NoHaproxy), fault == Some(Fault::Closes));
        match fault {
            Some(Fault::Silent) => return std::future::pending().await,
            Some(Fault::Garbage) => return Some(text(200, b"<html>\x1b[31mlogin</html>".to_vec())),
            Some(Fault::Endless) => return Some(text(200, vec![b' '; 40 << 20])),
            Some(Fault::Redirect) => {
                let response = Response::builder().status(302).header("location", "https://sso.example.com/");
                return Some(response.body(Full::default()).unwrap());
            }
            Some(Fault::CutOff) => return None,
            Some(Fault::NoHaproxy | Fault::Closes) | None => {}
        }
        let login = head.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let (status, value) = match login
            == format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}")))
        {
            true => self.route(head.method.as_str(), &path, &body, away).await,
            false => (401, json!({"code": 401, "message": "missing or invalid authorization"})),
        };
        let mut response = text(status, value.to_string().into_bytes());
        if closes {
            response.headers_mut().insert("connection", hyper::header::HeaderValue::from_static("close"));
        }
        Some(response)
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut fault = self.fault.lock().unwrap();
        let (what, left) = fault.take()?;
        *fault = (left > 1).then_some((what, left - 1));
        Some(what)
    }

    async fn route(&self, method: &str, path: &str, body: &[u8], away: bool) -> Answer {
        let haproxy =
            Haproxy { socket: if away { Path::new("/nonexistent") } else { &self.socket }, release: self.release };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parameter =
            |name: &str| query.split('&').find_map(|p| p.strip_prefix(&format!("{name}=")).map(str::to_owned));
        let unknown = || (404, json!({"code": 404, "message": format!("path {path} was not found")}));
        let Some(rest) = path.strip_prefix(self.release.base()) else { return unknown() };
        let words: Vec<&str> = rest.split('/').skip(1).collect();
        match (method, &words[..], self.release) {
            ("GET", ["info"], _) => (200, json!({"api": {"version": format!("{:?}", self.release)}})),
            ("GET", ["services", "haproxy", "stats", "native"], _) => {
                haproxy.stats(parameter("type"), parameter("parent"), parameter("name")).await
            }
            ("GET", ["services", "haproxy", "runtime", "servers"], Release::V2_9) => {
                haproxy.servers(&parameter("backend").unwrap()).await
            }
            (
                "GET",
                ["services", "haproxy", "runtime", "backends", backend, "servers"],
                Release::V3_0 | Release::V3_4,
            ) => haproxy.servers(backend).await,
            ("PUT", ["services", "haproxy", "runtime", "servers", name], Release::V2_9) => {
                haproxy.replace(&parameter("backend").unwrap(), name, body).await
            }
            (
                "PUT",
                ["services", "haproxy", "runtime", "backends", backend, "servers", name],
                Release::V3_0 | Release::V3_4,
            ) => haproxy.replace(backend, name, body).await,
            _ => unknown(),
        }
    }
}

/// client-native's client.
struct Haproxy<'a> {
    socket: &'a Path,
    release: Release,
}

impl Haproxy<'_> {
    /// `ExecuteWithResponse`: one command, errors told by their severity.
    async fn execute(&self, command: &str) -> Result<String, String> {
        let mut wire = UnixStream::connect(self.socket).await.map_err(|e| format!("dial unix: {e} [{command}]"))?;
        wire.write_all(format!("set severity-output number;{command}\n").as_bytes())
            .await
            .map_err(|e| e.to_string())?;
        let mut answer = String::new();
        wire.read_to_string(&mut answer).await.map_err(|e| e.to_string())?;
        let answer = answer.trim();
        match answer.get(..4) {
            Some("[3]:" | "[2]:" | "[1]:" | "[0]:") => Err(format!("[{}] {} [{command}]", &answer[1..2], &answer[4..])),
            _ => Ok(answer.to_owned()),
        }
    }

    async fn servers(&self, backend: &str) -> Answer {
        match self.execute(&format!("show servers state {backend}")).await {
            Ok(text) => (
                200,
                text.lines()
                    .skip(1)
                    .filter(|l| !l.trim().is_empty() && !l.starts_with('#'))
                    .map(|l| self.server(l))
                    .collect(),
            ),
            // The error is dropped, whatever it was: no list, which v2 makes an empty one.
            Err(_) if self.release == Release::V2_9 => (200, json!([])),
            Err(_) => (404, json!({"code": 404, "message": format!("no data for {backend}: not found")})),
        }
    }

    async fn find(&self, backend: &str, name: &str) -> Result<Value, Answer> {
        let text = self.execute(&format!("show servers state {backend}")).await.unwrap_or_default();
        let line = text.lines().skip(1).find(|l| l.split(' ').nth(3) == Some(name));
        let message = format!("no data for {backend}/{name}: not found");
        line.map(|l| self.server(l)).ok_or_else(|| (404, json!({"code": 404, "message": message})))
    }

    /// `parseRuntimeServer`.
    fn server(&self, line: &str) -> Value {
        let fields: Vec<&str> = line.split(' ').collect();
        let operational = match fields[5] {
            "0" => "down",
            "3" => "stopping",
            _ => "up",
        };
        // `GetServerAdminState` reads decimal digits as hexadecimal ones.
        let mask = u64::from_str_radix(fields[6], 16).unwrap();
        let admin = if mask & 0b10_0011 != 0 {
            "maint"
        } else if mask & 0b1_1000 != 0 {
            "drain"
        } else {
            "ready"
        };
        let number = |at: usize| fields[at].parse::<i64>().ok();
        let mut server = json!({
            "id": fields[2], "name": fields[3], "address": fields[4], "port": number(18),
            "admin_state": admin, "operational_state": operational,
        });
        if self.release == Release::V3_4 {
            for (name, at) in
                [("backend_id", 0), ("weight", 7), ("uweight", 7), ("check_state", 13), ("agent_state", 14)]
            {
                server[name] = json!(number(at));
            }
        }
        server
    }

    /// `ReplaceRuntimeServer`: only what is named, and differs from what was read, is set.
    async fn replace(&self, backend: &str, name: &str, body: &[u8]) -> Answer {
        let wanted: Value = serde_json::from_slice(body).unwrap();
        let found = match self.find(backend, name).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        for (field, word) in [("operational_state", "health"), ("admin_state", "state")] {
            let Some(value) = wanted[field].as_str().filter(|v| Some(*v) != found[field].as_str()) else { continue };
            if let Err(message) = self.execute(&format!("set server {backend}/{name} {word} {value}")).await {
                let message = format!("{} {message}", self.socket.display());
                return (500, json!({"code": 500, "message": message}));
            }
        }
        self.find(backend, name).await.map_or_else(|e| e, |found| (200, found))
    }

    /// `GetStats`: commas are believed to separate, and a row whose numbers are none is left out.
    async fn stats(&self, kind: Option<String>, parent: Option<String>, name: Option<String>) -> Answer {
        let wrapped = |stats: Value| if self.release == Release::V2_9 { json!([stats]) } else { stats };
        let text = match self.execute("show stat").await {
            Ok(text) => text,
            Err(error) => return (500, wrapped(json!({"error": error}))),
        };
        let mut lines = text[2..].lines();
        let keys: Vec<&str> = lines.next().unwrap().split(',').collect();
        let words = [
            "status",
            "check_status",
            "check_desc",
            "last_chk",
            "agent_status",
            "last_agt",
            "tracked",
            "addr",
            "mode",
            "algo",
            "cookie",
            "hanafail",
            "agent_desc",
            "pxname",
            "svname",
        ];
        let mut stats = Vec::new();
        for line in lines {
            let fields: Vec<&str> = line.split(',').collect();
            if fields.len() < keys.len() {
                continue;
            }
            let mut counters = serde_json::Map::new();
            let mut whole = true;
            let known = [
                "scur",
                "qcur",
                "bck",
                "act",
                "weight",
                "lastchg",
                "check_code",
                "check_rise",
                "check_fall",
                "check_health",
                "pid",
                "iid",
                "sid",
            ];
            for (key, value) in keys.iter().zip(&fields).filter(|(_, v)| !v.is_empty()) {
                if known.contains(key) {
                    whole &= value.parse::<i64>().map(|v| counters.insert((*key).to_owned(), json!(v))).is_ok();
                } else if words.contains(key) && !["pxname", "svname"].contains(key) {
                    counters.insert((*key).to_owned(), json!(value));
                }
            }
            let kind_at = keys.iter().position(|k| *k == "type").unwrap();
            let mut stat = match fields[kind_at] {
                "0" | "1" => json!({"name": fields[0], "type": fields[1].to_lowercase()}),
                "2" => json!({"name": fields[1], "type": "server", "backend_name": fields[0]}),
                _ => json!({}),
            };
            stat["stats"] = counters.into();
            let is = |key: &str, wanted: &Option<String>| wanted.as_deref().is_none_or(|w| stat[key] == w);
            if whole && is("type", &kind) && is("name", &name) && is("backend_name", &parent) {
                stats.push(stat);
            }
        }
        (200, wrapped(json!({"runtimeAPI": self.socket, "stats": stats})))
    }
}

/// Makes an authority (`ca.pem`), and a certificate of its for localhost with its key; tells whether that was possible.
pub fn certify(dir: &Path) {
    let openssl = |arguments: &str| {
        let out = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(out.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&out.stderr));
    };
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    openssl(&format!("req -new {key} -keyout key.pem -out request -subj /CN=localhost"));
    openssl("x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext");
}

/// A while that is long for a call and short for a test.
pub const SOON: Duration = Duration::from_millis(700);
