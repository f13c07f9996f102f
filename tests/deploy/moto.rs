//! moto, which speaks AWS's interfaces: a server of it for a test.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that ends with the value.
pub struct Moto {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub at: SocketAddr,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// Starts one, at home in `directory`; says loudly that a test is skipped when it is not installed, and fails it where
    /// that is not allowed.
    pub async fn start(directory: &Path) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/moto/bin/moto_server");
        if !program.is_file() {
            assert!(std::env::var_os("PITCREW_REQUIRE_REAL").is_none(), "moto_server is not installed: see tests/run");
            #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
            {
                eprintln!("\n*** SKIPPED: moto_server is not installed; nothing was tested against it ***\n");
            }
            return None;
        }
        for _ in 0..10 {
            let at = SocketAddr::from(([127, 0, 0, 1], crate::port::own()));
            let log = directory.join("moto.log");
            let mut command = Command::new(&program);
            command.args(["-H", "127.0.0.1", "-p", &at.port().to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
            // No real credentials are looked for, and signatures are not asked of those who make what the test needs.
            command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", directory).current_dir(directory);
            let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
            for _ in 0..1500 {
                if TcpStream::connect(at).is_ok() {
                    return Some(Self { child, log, at });
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("moto does not start");
    }

    /// Asks a service for something that pitcrew never asks for; returns the answer.
    #[cfg(feature = "elb")]
    pub fn tell(&self, service: &str, form: &str) -> String {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {service}.us-east-1.amazonaws.com\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n"
        );
        self.request(&head, service, form.as_bytes())
    }

    /// Puts an object, or makes a bucket.
    pub fn put(&self, path: &str, body: &[u8]) {
        self.request(&format!("PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"), "s3", body);
    }

    /// How often an object was asked for.
    pub fn gets(&self, path: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|l| l.contains(&format!("GET {path}"))).count()
    }

    fn request(&self, head: &str, service: &str, body: &[u8]) -> String {
        let mut to = TcpStream::connect(self.at).unwrap();
        let whole = format!(
            "{head}Content-Length: {}\r\nConnection: close\r\nAuthorization: AWS4-HMAC-SHA256 Credential=maker/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=x\r\n\r\n",
            body.len()
        );
        to.write_all(whole.as_bytes()).unwrap();
        to.write_all(body).unwrap();
        let mut answer = String::new();
        to.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{head}: {answer}");
        answer
    }
}
