//! What is made of an ssh_config, beside what `ssh -G` makes of it: one case a file in `configs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use pitcrew::config::ConfigFile;
use pitcrew::ssh::config::{Question, Says, SshConfig};

use crate::ssh::generator::Generator;
use crate::ssh::support::{Client, ask};

/// What is compared as it is written.
const COMPARED: &[&str] = &[
    "addressfamily",
    "batchmode",
    "bindaddress",
    "certificatefile",
    "ciphers",
    "connecttimeout",
    "forwardagent",
    "globalknownhostsfile",
    "hashknownhosts",
    "hostkeyalgorithms",
    "hostkeyalias",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "kbdinteractiveauthentication",
    "kexalgorithms",
    "knownhostscommand",
    "macs",
    "nohostauthenticationforlocalhost",
    "numberofpasswordprompts",
    "passwordauthentication",
    "preferredauthentications",
    "proxycommand",
    "proxyjump",
    "pubkeyauthentication",
    "revokedhostkeys",
    "serveralivecountmax",
    "serveraliveinterval",
    "stricthostkeychecking",
];

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh/configs");
    let all = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = all.filter(|p| p.extension().is_some_and(|e| e == "conf")).collect();
    all.sort();
    all
}

/// A home with the files that cases include.
fn home() -> Client {
    let client = Client::configured("");
    let ssh = client.home.path().join(".ssh");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh/configs/included"), &ssh.join("included"));
    client
}

fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
            // ssh refuses what others may write.
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn grouped(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (keyword, value) in text.lines().filter_map(|l| l.split_once(' ')) {
        groups.entry(keyword.to_lowercase()).or_default().push(value.to_owned());
    }
    groups
}

/// What ssh makes of it; the error is what it says against it.
fn real(file: &Path, home: &Path, question: &Question) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut command = Command::new("ssh");
    command.env("HOME", home).arg("-G").arg("-F").arg(file);
    if let Some(user) = &question.user {
        command.args(["-l", user]);
    }
    if let Some(port) = question.port {
        command.args(["-p", &port.to_string()]);
    }
    let out = command.arg("--").arg(&question.host).output().unwrap();
    if !out.status.success() {
        return Err(format!("{}: {}", file.display(), String::from_utf8_lossy(&out.stderr)));
    }
    Ok(grouped(&String::from_utf8(out.stdout).unwrap()))
}

/// Writes a value as `ssh -G` does.
fn normal(keyword: &str, value: &str, dir: &Path) -> String {
    let lower = value.to_lowercase();
    match keyword {
        "connecttimeout" | "serveraliveinterval" => match lower.as_str() {
            "none" => "none".into(),
            text => seconds(text).to_string(),
        },
        "stricthostkeychecking" => match lower.as_str() {
            "yes" => "true".into(),
            "no" | "off" => "false".into(),
            _ => lower,
        },
        // ssh writes the one or the other for the same.
        _ if ["yes", "true"].contains(&lower.as_str()) => "yes".into(),
        _ if ["no", "false"].contains(&lower.as_str()) => "no".into(),
        "hostkeyalias" => lower,
        // Both are tilde-expanded by ssh only.
        "forwardagent" | "identityagent" if value.starts_with("~/") => format!("{}{}", dir.display(), &value[1..]),
        // ssh writes brackets around every address.
        "proxyjump" => value.replace("ssh://", "").split('#').next().unwrap().trim().replace(['[', ']'], ""),
        _ => value.to_owned(),
    }
}

fn seconds(text: &str) -> u64 {
    let mut total = 0;
    let mut number = 0;
    for c in text.chars() {
        match c.to_digit(10) {
            Some(digit) => number = number * 10 + u64::from(digit),
            None => {
                total +=
                    number * [("s", 1), ("m", 60), ("h", 3600)].iter().find(|(u, _)| *u == c.to_string()).unwrap().1;
                number = 0;
            }
        }
    }
    total + number
}

fn ours(says: &Says, keyword: &str) -> Option<Vec<String>> {
    let lines = says.all(keyword);
    let mut values: Vec<String> = lines.iter().map(|l| l.words.join(" ")).collect();
    // What it clears is not printed.
    values.retain(|v| !v.eq_ignore_ascii_case("none") || !keyword.starts_with("proxy"));
    (!lines.is_empty()).then_some(values)
}

/// What one configuration is compared with.
struct Bench {
    client: Client,
    defaults: BTreeMap<String, Vec<String>>,
    /// ssh takes `~` from the password database, and not from the environment.
    person: PathBuf,
    /// Whether ssh takes a command behind `ProxyJump none`: 9.2 does not, 10.0 does, and so does pitcrew.
    has_command_after_none: bool,
    asked: usize,
    /// Those that pitcrew reads without ssh.
    natively: usize,
    wrong: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        let client = home();
        let home = client.home.path();
        let nothing = home.join("nothing");
        std::fs::write(&nothing, "").unwrap();
        let defaults = real(&nothing, home, &ask("default")).unwrap();
        let person = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().dir;
        std::fs::write(&nothing, "ProxyJump none\nProxyCommand nc\n").unwrap();
        let has_command_after_none = real(&nothing, home, &ask("default")).unwrap().contains_key("proxycommand");
        Self { client, defaults, person, has_command_after_none, asked: 0, natively: 0, wrong: Vec::new() }
    }

    /// Compares what is made of one file, for all hosts that its comments ask about.
    async fn compare(&mut self, case: &Path) {
        let text = std::fs::read_to_string(case).unwrap();
        let mut ssh = self.client.ssh.clone();
        ssh.config_file = ConfigFile::Path(case.to_path_buf());
        let network = pitcrew::ssh::Network::new(&ssh, self.client.local(), self.client.answers.clone())
            .unwrap_or_else(|e| panic!("{}: {e:?}", case.display()));
        let config = SshConfig::load(Some(case), self.client.home.path()).unwrap();
        self.natively += usize::from(config.asks().is_none());
        for address in text.lines().filter_map(|l| l.strip_prefix("# ask: ")) {
            self.asked += 1;
            // A host that is no name for pitcrew.toml can be one for ssh.
            let question = match pitcrew::config::hosts::parse_one(address) {
                Ok(_) => ask(address),
                Err(_) => Question { host: address.into(), ..Question::default() },
            };
            let real = match real(case, self.client.home.path(), &question) {
                Ok(real) => real,
                Err(why) if why.contains("loop") => continue,
                Err(why) => panic!("{why}"),
            };
            config.prepare(std::slice::from_ref(&question)).await.unwrap();
            let says = config.says(&question).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
            match network.prepare(std::slice::from_ref(&question)).await {
                Ok(()) => {}
                Err(e) if e.to_string().contains("loop") => continue,
                Err(e) => panic!("{}: {e:?}: {e}", case.display()),
            }
            let target = match network.target("server", &question) {
                Ok(target) => target,
                // ssh would start itself again and again.
                Err(e) if e.to_string().contains("again and again") => continue,
                Err(e) => panic!("{}: {e:?}: {e}", case.display()),
            };
            let found = self.differences(&says, &target, &real);
            let case = case.file_name().unwrap().to_string_lossy();
            self.wrong.extend(found.into_iter().map(|found| format!("{case}, {address}: {found}")));
        }
    }

    fn differences(
        &self,
        says: &Says,
        target: &pitcrew::ssh::Target,
        real: &BTreeMap<String, Vec<String>>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut compare = |keyword: &str, ours: Vec<String>, real: Vec<String>| {
            if ours != real {
                wrong.push(format!("{keyword}: {ours:?}, but ssh has {real:?}"));
            }
        };
        let no_jump = says.first("proxyjump").is_some_and(|w| w.words.concat().eq_ignore_ascii_case("none"));
        let is_other = no_jump && says.first("proxycommand").is_some() && !self.has_command_after_none;
        for keyword in COMPARED {
            if *keyword == "proxycommand" && is_other {
                continue;
            }
            let values = |groups: &BTreeMap<String, Vec<String>>| groups.get(*keyword).cloned().unwrap_or_default();
            // Debian's ssh means it so.
            if *keyword == "serveraliveinterval" && real["batchmode"] == ["yes"] {
                continue;
            }
            let all = |values: Vec<String>| values.iter().map(|v| normal(keyword, v, &self.person)).collect::<Vec<_>>();
            let ours = ours(says, keyword).unwrap_or_else(|| values(&self.defaults));
            // Of a change to the defaults ssh prints the outcome, and of none nothing.
            let changes = |v: &String| {
                v.starts_with(['+', '-', '^'])
                    || (["revokedhostkeys", "knownhostscommand"].contains(keyword) && v == "none")
            };
            if !ours.iter().any(changes) {
                compare(keyword, all(ours), all(values(real)));
            }
        }
        let one = |keyword: &str| real.get(keyword).cloned().unwrap_or_default();
        compare("hostname", vec![target.host.clone()], one("hostname"));
        compare("user", vec![target.user.clone()], one("user"));
        let commands = real.contains_key("proxycommand") && !real.contains_key("proxyjump");
        let by_command = matches!(target.via, pitcrew::ssh::Transport::Command(_));
        if !is_other {
            compare("a command", vec![by_command.to_string()], vec![commands.to_string()]);
        }
        compare("port", vec![target.port.to_string()], one("port"));
        // Expanded by ssh too.
        let own = target.settings.known_hosts.iter().take(target.settings.own_known_hosts);
        let own: Vec<String> = own.map(|p| p.display().to_string()).collect();
        let home = self.client.home.path().display().to_string();
        let files = one("userknownhostsfile").concat().replace(&self.person.display().to_string(), &home);
        let own = own.join(" ").replace(&self.person.display().to_string(), &home);
        compare("userknownhostsfile", vec![own], vec![files.replace("none", "")]);
        wrong
    }
}

#[tokio::test]
async fn ssh_config_means_what_it_means_to_ssh() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut bench = Bench::new();
    for case in &cases {
        let text = std::fs::read_to_string(case).unwrap();
        let config = SshConfig::load(Some(case), bench.client.home.path()).unwrap();
        assert_eq!(
            config.asks().is_some(),
            ["Match", "CanonicalizeHostname always", "matching"].iter().any(|w| text.contains(w))
        );
        bench.compare(case).await;
    }
    let Bench { asked, natively, wrong, .. } = bench;
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 100 && natively >= 60, "{asked} {natively}");
}

/// As people write them, and as they should not.
#[tokio::test]
async fn generated_ssh_configs_mean_what_they_mean_to_ssh() {
    let mut bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for seed in 0..300 {
        let case = dir.path().join(format!("{seed}.conf"));
        let text = Generator::new(seed).config();
        std::fs::write(&case, &text).unwrap();
        if real(&case, bench.client.home.path(), &ask("web1")).is_err() {
            refused += 1;
            continue;
        }
        let before = bench.wrong.len();
        bench.compare(&case).await;
        if bench.wrong.len() > before {
            bench.wrong.push(text);
        }
    }
    let Bench { wrong, natively, .. } = bench;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused < 60 && natively > 100, "{refused} {natively}");
}

/// Some of it is refused, and the rest is told, as `check -v` does, with the place of the line.
#[tokio::test]
async fn what_ssh_refuses_is_refused_or_told() {
    let mut bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    bench.client.ssh.config_file = ConfigFile::Path(case.clone());
    for (text, at, said) in [
        ("HostName web1 web2", 1, "HostName takes one word"),
        ("Host *\n  IdentityFile ~/.ssh/my key", 2, "IdentityFile takes one word"),
        ("Host other\n  User ann lee", 2, "User takes one word"),
        ("LogLevel ERROR VERBOSE", 1, "LogLevel takes one word"),
        ("Hostnmae web9", 1, "Hostnmae is no keyword"),
        ("Host other\n  Hostnmae web9", 2, "Hostnmae is no keyword"),
        ("Hots other\n  HostName web9", 1, "it looks like host"),
        ("\u{feff}Host other\n  HostName web9", 1, "byte order mark"),
        ("Frobnicate yes", 1, "Frobnicate (not honoured: "),
        ("IgnoreUnknown A*,C\nAb x\nB x", 3, "B (not honoured: "),
        ("B x\nIgnoreUnknown B", 1, "B (not honoured: "),
        ("Host other\n  IgnoreUnknown B\nHost *\n  B x", 4, "B (not honoured: "),
        ("IgnoreUnknown A\nIgnoreUnknown B\nB x", 3, "B (not honoured: "),
        ("HostKeyAlgorithms ssh-ed25519,foo", 1, "ssh-ed25519,foo (not offered: foo)"),
        ("Ciphers +foo,bar", 1, "+foo,bar (not offered: foo, bar)"),
    ] {
        std::fs::write(&case, format!("{text}\n")).unwrap();
        let question = ask("web1");
        assert!(real(&case, bench.client.home.path(), &question).is_err(), "{text}");
        let network = pitcrew::ssh::Network::new(&bench.client.ssh, bench.client.local(), bench.client.answers.clone());
        let told = match network.and_then(|network| network.target("server", &question)) {
            Ok(target) => target.settings.explained.iter().map(|e| format!("{} ({})\n", e.value, e.from)).collect(),
            Err(e) => e.to_string(),
        };
        let place = format!("{}:{at}", case.display());
        let line = told.lines().find(|line| line.contains(said));
        assert!(line.is_some_and(|line| line.contains(&place)), "{text}: {told}");
    }
}

#[tokio::test]
async fn jump_hosts_are_asked_about_too() {
    let text = "Match host web\n  ProxyJump inner\nMatch host inner\n  ProxyJump ann@outer:2222\n";
    // The client owns the file that ssh reads.
    let client = Client::configured(text);
    let network = client.network();
    let web = [ask("web")];
    let e = network.link("web", &web[0]).err().unwrap();
    assert!(e.to_string().contains("what ssh's configuration says of web"), "{e}");
    network.prepare(&web).await.unwrap();
    let target = network.target("web", &web[0]).unwrap();
    let hosts: Vec<&str> = target.way.iter().filter_map(|place| place.split_once('@')).map(|(_, host)| host).collect();
    assert_eq!(hosts, ["outer:2222", "inner:22", "web:22"]);
}

#[tokio::test]
async fn what_match_exec_runs_ends_with_the_question() {
    let dir = tempfile::tempdir().unwrap();
    let told = dir.path().join("pid");
    let text =
        format!("Match exec \"echo $$ >{0}.new; mv {0}.new {0}; sleep 300; true\"\n  User ann\n", told.display());
    let client = Client::configured(&text);
    let network = client.network();
    let web = [ask("web")];
    let running = async {
        while !told.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        asked = network.prepare(&web) => panic!("it was to wait: {:?}", asked.err().map(|e| e.to_string())),
        () = running => {}
    }
    let process = Path::new("/proc").join(std::fs::read_to_string(&told).unwrap().trim());
    for _ in 0..1000 {
        // Its parent is gone; a zombie is one that nothing has waited for yet.
        let status = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        if status.is_empty() || status.contains(") Z ") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{} goes on", process.display());
}
