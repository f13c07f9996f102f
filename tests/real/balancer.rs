//! A HAProxy of a case's own on the balancer host, and a witness that samples what it does with its members.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fleet::{self, Host};
use crate::transcript;

/// The backend's name.
pub const BACKEND: &str = "app";
/// The backend of tunnels, where there is one.
pub const TUNNELS: &str = "tunnels";

/// A running HAProxy.
pub struct Balancer {
    /// Its frontend.
    pub port: u16,
    /// `[load_balancer] at`.
    pub at: String,
    host: &'static Host,
    name: String,
    socket: PathBuf,
    backends: &'static [&'static str],
}

/// One member as HAProxy reports it.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the backend.
    pub name: String,
    /// `UP`, `DOWN`, `UP 1/2`, `DRAIN`, `MAINT`, …
    pub status: String,
    /// Bits of `srv_admin_state`; 0: ready.
    pub admin: u32,
}

/// A witness at work.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Samples>>,
    thread: JoinHandle<()>,
}

/// What it saw: each change with seconds since the start.
pub struct Trace(Samples);

/// Each change, with seconds since the start.
type Samples = Vec<(f64, Vec<Member>)>;

impl Member {
    /// It gets traffic.
    pub fn is_in(&self) -> bool {
        self.admin == 0 && self.status.starts_with("UP")
    }
}

impl Balancer {
    /// Starts one for the members, each `(name, address, port)`.
    pub fn start(name: &str, port: u16, members: &[(&str, &str, u16)]) -> Self {
        let mut config = include_str!("../fleet/app/haproxy.cfg").to_owned();
        for (member, addr, port) in members {
            config.push_str(&format!("  server {member} {addr}:{port}\n"));
        }
        Self::of(name, port, &config, &[BACKEND])
    }

    /// Starts one that keeps clients with their member by a cookie, and has a backend [`TUNNELS`] on that port of theirs.
    pub fn sticky(name: &str, port: u16, members: &[(&str, &str, u16)], tunnels: u16) -> Self {
        let mut config = include_str!("../fleet/app/sticky.cfg").to_owned();
        for (backend, own) in [(BACKEND, None), (TUNNELS, Some(tunnels))] {
            config.push_str(&format!("backend {backend}\n  cookie SRV insert indirect nocache\n"));
            for (member, addr, port) in members {
                let port = own.unwrap_or(*port);
                config.push_str(&format!("  server {member} {addr}:{port} cookie {member}\n"));
            }
        }
        Self::of(name, port, &config, &[BACKEND, TUNNELS])
    }

    fn of(name: &str, port: u16, config: &str, backends: &'static [&'static str]) -> Self {
        let host = fleet::host(fleet::BALANCER);
        let inside = format!("/run/{name}.sock");
        let config = config.replace("@SOCKET@", &inside).replace("@PORT@", &port.to_string());
        std::fs::write(host.seen(&format!("/run/{name}.cfg")), config).expect("the balancer's /run can be written");
        host.root_sh(&format!("haproxy -D -f /run/{name}.cfg -p /run/{name}.pid"));
        let at = format!("ssh://{}{inside}", host.address());
        Self { port, at, host, name: name.to_owned(), socket: host.seen(&inside), backends }
    }

    /// `http://…` of its frontend, without the scheme.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host.addr, self.port)
    }

    /// Sends one line and returns the answer.
    pub fn ask(&self, line: &str) -> String {
        ask(&self.socket, line).expect("HAProxy answers")
    }

    /// The members of its application now.
    pub fn members(&self) -> Vec<Member> {
        members(&self.socket, BACKEND).expect("HAProxy answers")
    }

    /// The members of all its backends now.
    pub fn all_members(&self) -> Vec<Member> {
        self.backends.iter().flat_map(|backend| members(&self.socket, backend).expect("HAProxy answers")).collect()
    }

    /// Sets a member's state by hand, in every backend.
    pub fn set(&self, member: &str, state: &str) {
        for backend in self.backends {
            let said = self.ask(&format!("set server {backend}/{member} state {state}"));
            assert_eq!(said.trim(), "", "HAProxy does as it is told");
        }
    }

    /// Waits until every member gets traffic.
    pub fn wait_until_all_up(&self) {
        let up = || self.all_members().iter().all(Member::is_in);
        fleet::wait_for("every member to be up", Duration::from_secs(20), up);
    }

    /// Reloads it: a new process takes over and knows nothing of what operators had set. `without` leaves a member out.
    pub fn reload(&self, without: Option<&str>) {
        let file = self.host.seen(&format!("/run/{}.cfg", self.name));
        if let Some(member) = without {
            let config = std::fs::read_to_string(&file).expect("its configuration");
            let server = format!("  server {member} ");
            let left: Vec<_> = config.lines().filter(|l| !l.starts_with(&server)).collect();
            std::fs::write(&file, left.join("\n") + "\n").expect("its configuration can be written");
        }
        self.host.root_sh(&format!(
            "haproxy -D -f /run/{0}.cfg -p /run/{0}.pid -x /run/{0}.sock -sf $(cat /run/{0}.pid)",
            self.name
        ));
    }

    /// Ends it and starts it again.
    pub fn restart(&self) {
        self.host.root_sh(&format!(
            "kill $(cat /run/{0}.pid); while kill -0 $(cat /run/{0}.pid) 2>/dev/null; do sleep 0.02; done; \
             haproxy -D -f /run/{0}.cfg -p /run/{0}.pid",
            self.name
        ));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        self.host.root_sh(&format!("kill -{signal} $(cat /run/{}.pid)", self.name));
    }

    /// Begins to watch.
    pub fn watch(&self) -> Watch {
        let (socket, stop) = (self.socket.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        // What is so before the case goes on belongs to what was seen.
        let seen = Arc::new(Mutex::new(vec![(0.0, self.members())]));
        let trace = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                // A reload, a restart or a stop of HAProxy takes its socket away for a while.
                let Ok(members) = members(&socket, BACKEND) else {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                };
                let mut trace = trace.lock().expect("no witness panics");
                if trace.last().is_none_or(|(_, last)| *last != members) {
                    trace.push((start.elapsed().as_secs_f64(), members));
                }
                drop(trace);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Watch { stop, seen, thread }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.host.root_sh(&format!("kill -9 $(cat /run/{0}.pid); rm -f /run/{0}.*", self.name));
    }
}

impl Watch {
    /// Waits until the witness itself has seen every member in, or one out: what follows is then a change in its trace.
    pub fn wait_until_seen(&self, all_in: bool) {
        let seen = || {
            let seen = self.seen.lock().expect("no witness panics");
            seen.last().is_some_and(|(_, members)| members.iter().all(Member::is_in) == all_in)
        };
        fleet::wait_for("the witness to see it", Duration::from_secs(20), seen);
    }

    /// Ends it.
    pub fn stop(self) -> Trace {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the witness saw everything");
        let trace = Trace(std::mem::take(&mut *self.seen.lock().expect("no witness panics")));
        transcript::note(format!("--- balancer\n{trace}"));
        trace
    }
}

impl Trace {
    /// Fails the case unless no member's administrative state ever changed.
    #[track_caller]
    pub fn assert_never_touched(&self) {
        let touched = self.0.iter().find(|(_, members)| members.iter().any(|m| m.admin != 0));
        assert!(touched.is_none(), "the balancer was touched");
    }

    /// How many members were out at once, at most.
    pub fn most_out(&self) -> usize {
        self.0.iter().map(|(_, members)| members.iter().filter(|m| !m.is_in()).count()).max().unwrap_or(0)
    }

    /// Members in the order in which they were taken out, once for each time.
    pub fn taken_out(&self) -> Vec<&str> {
        let mut out = Vec::new();
        for pair in self.0.windows(2) {
            for (before, after) in pair[0].1.iter().zip(&pair[1].1) {
                if before.admin == 0 && after.admin != 0 {
                    out.push(after.name.as_str());
                }
            }
        }
        out
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, members) in &self.0 {
            write!(f, "{at:8.2}")?;
            for m in members {
                write!(f, "  {}={}/{}", m.name, m.status, m.admin)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn ask(socket: &Path, line: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// One question, so that status and administrative state belong together.
fn members(socket: &Path, backend: &str) -> std::io::Result<Vec<Member>> {
    let answer = ask(socket, &format!("show stat {backend} 4 -1;show servers state {backend}"))?;
    let mut lines = answer.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).expect("HAProxy prints the column");
    let (name, status) = (column("svname"), column("status"));
    let mut members: Vec<Member> = lines
        .by_ref()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|row| Member { name: row[name].to_owned(), status: row[status].to_owned(), admin: 0 })
        .collect();
    for row in lines.filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect::<Vec<_>>()) {
        // be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state …
        if let Some(member) = row.get(3).and_then(|name| members.iter_mut().find(|m| m.name == *name)) {
            member.admin = row[6].parse().expect("srv_admin_state is a number");
        }
    }
    Ok(members)
}
