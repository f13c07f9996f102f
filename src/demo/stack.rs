//! The stack on a fleet: its `pitcrew.toml`, sample releases, and what lies on the servers.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use toml::{Table, Value};

use super::fleet::{Fleet, FleetError, Reach};
use super::fleet::{SOCKET, USER, write};
use super::{exec, processes};

/// What a sample release holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its `VERSION`, which the application reports; it makes two samples differ.
    pub version: String,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// What can be wrong with a sample release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It answers 500 to everything.
    Sick,
    /// It fails to boot.
    Stillborn,
    /// It boots, and its worker dies soon, again and again.
    Crashing,
    /// Its worker is told of libraries in another release, as of a bundle that was inherited.
    Mixed,
    /// It answers in the name of another revision.
    Lying,
}

impl Flaw {
    /// Every flaw.
    pub const ALL: [Self; 5] = [Self::Sick, Self::Stillborn, Self::Crashing, Self::Mixed, Self::Lying];

    /// The file by which the application is told.
    pub fn file(self) -> &'static str {
        match self {
            Self::Sick => "BROKEN",
            Self::Stillborn => "BROKEN_BOOT",
            Self::Crashing => "CRASHING",
            Self::Mixed => "MIXED",
            Self::Lying => "LYING",
        }
    }
}

impl Sample {
    /// Describes a release that works.
    pub fn good(version: impl Into<String>) -> Self {
        Self { version: version.into(), flaw: None }
    }

    /// Describes a release with a flaw.
    pub fn flawed(version: impl Into<String>, flaw: Flaw) -> Self {
        Self { version: version.into(), flaw: Some(flaw) }
    }
}

/// A process of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its command line.
    pub command: String,
    /// Where it runs.
    pub directory: PathBuf,
}

impl Process {
    /// Tells whether it is the application.
    ///
    /// A shell that was sent the scripts has the name in its command line, too.
    pub fn is_app(&self) -> bool {
        self.command.split(' ').nth(1) == Some("demo-app")
    }
}

fn processes_below(directory: &Path) -> Vec<Process> {
    let found = processes::below(directory).into_iter();
    found.map(|(pid, directory)| Process { pid, command: processes::command_of(pid), directory }).collect()
}

/// Writes a sample release into a directory, which is created, in place of the one that was there.
///
/// # Errors
///
/// A file cannot be written or removed.
pub fn make_release(directory: &Path, sample: &Sample) -> Result<(), FleetError> {
    let failed = |error: std::io::Error| FleetError::new(format!("cannot write {}: {error}", directory.display()));
    std::fs::create_dir_all(directory.join("lib")).map_err(failed)?;
    write(&directory.join("VERSION"), &format!("{}\n", sample.version))?;
    write(&directory.join("lib/app.rb"), &format!("VERSION = {:?}\n", sample.version))?;
    for flaw in Flaw::ALL {
        let path = directory.join(flaw.file());
        if sample.flaw == Some(flaw) {
            write(&path, "")?;
        } else if path.exists() {
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

impl Fleet {
    /// Returns the stack's configuration.
    pub fn config(&self) -> Table {
        let mut config = Table::new();
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        config.insert(
            "app".to_owned(),
            table([
                ("name", "demo".into()),
                ("deploy_to", "app".into()),
                ("web_server", path(self.template_file()).into()),
            ]),
        );
        config.insert(
            "web".to_owned(),
            table([
                ("port", i64::from(self.app_port).into()),
                ("pid_file", "shared/app.pid".into()),
                ("boot_ms", i64::try_from(self.options.boot.as_millis()).unwrap_or(i64::MAX).into()),
            ]),
        );
        let source = path(self.release_directory());
        config.insert("source".to_owned(), table([("kind", "archive".into()), ("path", source.into())]));
        config.insert(
            "ssh".to_owned(),
            table([
                ("user", USER.into()),
                ("port", i64::from(self.ssh_port).into()),
                ("identity_file", path(self.key_file()).into()),
                ("known_hosts", path(self.known_hosts_file()).into()),
                ("config_file", false.into()),
                ("connect_timeout", "5s".into()),
                ("auth_timeout", "5s".into()),
            ]),
        );
        let servers = self
            .servers
            .iter()
            .map(|server| table([("host", server.ip().to_string().into()), ("lb", server.name().into())]));
        config.insert("servers".to_owned(), Value::Array(servers.collect()));
        if !self.balancers.is_empty() {
            let at = Value::Array(self.balancer_addresses().into_iter().map(Value::String).collect());
            config.insert(
                "load_balancer".to_owned(),
                table([
                    ("kind", "haproxy".into()),
                    ("at", at),
                    ("backends", Value::Array(vec!["app".into()])),
                    ("drain_timeout", "5s".into()),
                    ("restore_timeout", "20s".into()),
                ]),
            );
        }
        config.insert(
            "health".to_owned(),
            table([
                ("path", "/up".into()),
                ("port", i64::from(self.app_port).into()),
                ("timeout", "2s".into()),
                ("within", "20s".into()),
                ("interval", "100ms".into()),
                ("successes", 2.into()),
            ]),
        );
        config
    }

    /// Returns the stack's `pitcrew.toml` with these keys, written as TOML, laid over it.
    ///
    /// Tables are merged, all else is replaced.
    ///
    /// # Errors
    ///
    /// The keys are not TOML.
    pub fn config_text(&self, overrides: &str) -> Result<String, FleetError> {
        let mut config = self.config();
        let over: Table = overrides.parse().map_err(FleetError::with("cannot read the overrides"))?;
        lay_over(&mut config, over);
        toml::to_string(&config).map_err(FleetError::with("cannot write the configuration"))
    }

    /// Writes [`Self::config_text`] into the fleet's directory and returns the file.
    ///
    /// # Errors
    ///
    /// The keys are not TOML, or the file cannot be written.
    pub fn write_config(&self, overrides: &str) -> Result<PathBuf, FleetError> {
        let file = self.path().join("pitcrew.toml");
        write(&file, &self.config_text(overrides)?)?;
        Ok(file)
    }

    /// Returns the balancers' addresses as the configuration has them.
    pub fn balancer_addresses(&self) -> Vec<String> {
        self.balancers
            .iter()
            .zip(&self.hosts)
            .map(|(balancer, host)| match (self.options.reach, balancer.tcp_api()) {
                (Reach::Tcp, Some(at)) => format!("tcp://{at}"),
                (Reach::Unix, _) => format!("unix://{}", balancer.socket().display()),
                _ => format!("ssh://{USER}@{}/{SOCKET}", host.at()),
            })
            .collect()
    }

    /// Returns the directory that the configuration deploys from.
    pub fn release_directory(&self) -> PathBuf {
        self.path().join("release")
    }

    /// Makes the next deploy deploy this.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn next_release(&self, sample: &Sample) -> Result<(), FleetError> {
        make_release(&self.release_directory(), sample)
    }

    /// Returns the directory that a server is deployed to.
    pub fn deploy_to(&self, index: usize) -> PathBuf {
        self.servers.get(index).map(|server| server.home().join("app")).unwrap_or_default()
    }

    /// Returns the release that a server's `current` links to.
    pub fn current(&self, index: usize) -> Option<String> {
        let target = std::fs::read_link(self.deploy_to(index).join("current")).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Returns what a server's current release was made from.
    pub fn revision(&self, index: usize) -> Option<String> {
        let text = std::fs::read_to_string(self.deploy_to(index).join("current/REVISION")).ok()?;
        Some(text.trim().to_owned())
    }

    /// Returns the `VERSION` of a server's current release.
    pub fn version(&self, index: usize) -> Option<String> {
        let text = std::fs::read_to_string(self.deploy_to(index).join("current/VERSION")).ok()?;
        Some(text.trim().to_owned())
    }

    /// Lists what lies in a server's `releases`, in order.
    pub fn releases(&self, index: usize) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.deploy_to(index).join("releases")) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Tells whether a lock lies on a server.
    pub fn lock_present(&self, index: usize) -> bool {
        self.deploy_to(index).join(".pitcrew/lock").exists()
    }

    /// Lists the live processes that run in a server's directory tree.
    pub fn processes(&self, index: usize) -> Vec<Process> {
        self.servers.get(index).map(|server| processes_below(server.root())).unwrap_or_default()
    }

    /// Lists the same for every server, for the price of one.
    pub fn all_processes(&self) -> Vec<Vec<Process>> {
        let all = processes_below(self.path());
        let of = |root: &Path| all.iter().filter(|p| p.directory.starts_with(root)).cloned().collect();
        self.servers.iter().map(|server| of(server.root())).collect()
    }

    /// Puts a release on a server and makes it current, as Capistrano would have.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn install(&self, index: usize, id: &str, sample: &Sample) -> Result<(), FleetError> {
        let root = self.deploy_to(index);
        let release = root.join("releases").join(id);
        make_release(&release, sample)?;
        write(&release.join("REVISION"), &format!("{}\n", sample.version))?;
        let failed = |error: std::io::Error| FleetError::new(format!("cannot write {}: {error}", root.display()));
        std::fs::create_dir_all(root.join("shared")).map_err(failed)?;
        let fresh = root.join("current.new");
        std::os::unix::fs::symlink(Path::new("releases").join(id), &fresh).map_err(failed)?;
        std::fs::rename(&fresh, root.join("current")).map_err(failed)
    }

    /// Starts a server's application in its current release, as an init script would.
    ///
    /// # Errors
    ///
    /// It does not start; the message is the application's.
    pub async fn start_app(&self, index: usize) -> Result<(), FleetError> {
        let Some(server) = self.servers.get(index) else {
            return Err(FleetError::new(format!("cannot find server number {index}")));
        };
        let root = self.deploy_to(index);
        let (mark, id) = exec::mark(&self.id);
        let output = tokio::process::Command::new(&self.options.app)
            .args(["demo-app", "--port", &self.app_port.to_string()])
            .args(["--boot-ms", &self.options.boot.as_millis().to_string()])
            .arg("--pid-file")
            .arg(root.join("shared/app.pid"))
            .arg("--current")
            .arg(root.join("current"))
            .env_clear()
            .env(mark, id)
            .env("PITCREW_DEMO_ADDR", server.ip().to_string())
            .current_dir(root.join("current"))
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(FleetError::with("cannot start the application"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(FleetError::new(format!(
            "cannot start the application on {}: {}",
            server.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn lay_over(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay_over(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_names_the_application_is_not_it() {
        let of = |command: &str| Process { pid: 1, command: command.into(), directory: PathBuf::new() }.is_app();
        assert!(of("/opt/pitcrew demo-app --role worker --port 1"));
        assert!(!of("sh -c full=$(printf %b \"$1\") pitcrew-standing s_start='\"$PITCREW_DEMO_APP\" demo-app --port'"));
    }
}
