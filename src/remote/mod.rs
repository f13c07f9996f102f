//! The shell that runs on servers: scripts, their parameters, how they are quoted, and what they answer.
//!
//! Every line of it lies in `templates/remote/*.sh`. This module assembles and parses; it sends nothing.
//!
//! One step is one exec. The command line is `sh -c '…' pitcrew-STEP ENCODED NONCE`: [`quote::encode`] makes the script one
//! word that every login shell passes on unchanged, and `sh` decodes and evaluates it. The environment arrives as the first line of
//! standard input ([`Call::head`]), so it is in no command line and no process list; what follows it is the script's payload.

pub mod calls;
pub mod kept;
pub mod quote;
pub mod standing;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::name::RunId;

/// The longest command line that is made, in bytes; Linux takes single arguments of up to 128 KiB.
pub const COMMAND_LIMIT: usize = 96 * 1024;

/// The scripts, one file a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the name of its file")]
pub enum Script {
    Probe,
    Lock,
    Unlock,
    Transfer,
    Fetch,
    Download,
    Listing,
    Link,
    Command,
    Check,
    Switch,
    Restart,
    Prove,
    Stop,
    Log,
    Mark,
    Prune,
    Remove,
    History,
    Ask,
    Note,
    Aside,
    Takeover,
    Identity,
}

/// One remote script with its parameters: what one step executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub script: Script,
    /// Shell variables it sees as `$p_NAME`; a list arrives as quoted words for `eval "set -- $p_NAME"`.
    pub params: Vec<(&'static str, Param)>,
    /// Snippets of the web server template it needs, by name (`web_processes`, …), made functions.
    pub snippets: Vec<(&'static str, String)>,
    /// The template's parameters, `$w_NAME`.
    pub web: Vec<(String, String)>,
    /// Environment and secrets; they arrive on standard input.
    pub env: Vec<(String, String)>,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// One word, whatever it holds.
    Text(String),
    /// Several.
    List(Vec<String>),
}

/// Marks the lines by which a script answers, so that no noise on its output can be taken for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(pub String);

/// A line by which a script answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its first word: `release`, `fail`, …
    pub key: String,
    /// The rest.
    pub value: String,
}

/// Who takes a lock; written into it as `key=value` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The token.
    pub run: RunId,
    /// Local user's name.
    pub who: String,
    /// Local host's name.
    pub host: String,
    /// Local process.
    pub pid: u32,
    /// Command line as people would type it.
    pub command: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// Which process of which boot of which machine, beyond doubt; `None` where the system cannot tell.
    pub process: Option<crate::lease::Process>,
    /// Seconds without a sign of life after which others may take the run for dead.
    pub lease: u64,
}

/// A script's own refusal: the `fail` answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `locked`, `lock_lost`, `no_space`, `not_proven`, …
    pub code: String,
    /// What the script saw.
    pub detail: String,
}

impl Script {
    /// Every script, for tests and listings.
    pub const ALL: [Self; 24] = [
        Self::Probe,
        Self::Lock,
        Self::Unlock,
        Self::Transfer,
        Self::Fetch,
        Self::Download,
        Self::Listing,
        Self::Link,
        Self::Command,
        Self::Check,
        Self::Switch,
        Self::Restart,
        Self::Prove,
        Self::Stop,
        Self::Log,
        Self::Mark,
        Self::Prune,
        Self::Remove,
        Self::History,
        Self::Ask,
        Self::Note,
        Self::Aside,
        Self::Takeover,
        Self::Identity,
    ];

    /// The name of its file and, after `pitcrew-`, its name in the server's process list.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Transfer => "transfer",
            Self::Fetch => "fetch",
            Self::Download => "download",
            Self::Listing => "listing",
            Self::Link => "link",
            Self::Command => "command",
            Self::Check => "check",
            Self::Switch => "switch",
            Self::Restart => "restart",
            Self::Prove => "prove",
            Self::Stop => "stop",
            Self::Log => "log",
            Self::Mark => "mark",
            Self::Prune => "prune",
            Self::Remove => "remove",
            Self::History => "history",
            Self::Ask => "ask",
            Self::Note => "note",
            Self::Aside => "aside",
            Self::Takeover => "takeover",
            Self::Identity => "identity",
        }
    }

    /// The files it is made of, in order.
    fn parts(self) -> &'static [&'static str] {
        macro_rules! shell {
            ($($file:literal),*) => {
                &[$(include_str!(concat!("../../templates/remote/", $file, ".sh"))),*]
            };
        }
        match self {
            Self::Probe => shell!("lib", "procs", "web", "tell", "disk", "probe"),
            Self::Lock => shell!("lib", "tell", "claim", "lock"),
            Self::History => shell!("lib", "history"),
            Self::Ask => shell!("lib", "ask"),
            Self::Note => shell!("lib", "note"),
            Self::Aside => shell!("lib", "tell", "aside"),
            Self::Takeover => shell!("lib", "claim", "stat", "takeover"),
            Self::Identity => shell!("lib", "identity"),
            Self::Unlock => shell!("lib", "unlock"),
            Self::Fetch => shell!("lib", "disk", "receive", "fetch"),
            Self::Download => shell!("lib", "disk", "receive", "download"),
            Self::Transfer => shell!("lib", "tree", "transfer"),
            Self::Listing => shell!("lib", "listing"),
            Self::Link => shell!("lib", "link"),
            Self::Command => shell!("lib", "stat", "session", "command"),
            Self::Check => shell!("lib", "command"),
            Self::Switch => shell!("lib", "switch"),
            Self::Restart => shell!("lib", "procs", "web", "restart"),
            Self::Prove => shell!("lib", "procs", "web", "prove"),
            Self::Stop => shell!("lib", "procs", "web", "stop"),
            Self::Log => shell!("lib", "procs", "web", "log"),
            Self::Mark => shell!("lib", "record", "mark"),
            Self::Prune => shell!("lib", "record", "sweep", "prune"),
            Self::Remove => shell!("lib", "sweep", "remove"),
        }
    }
}

/// What to do about a script whose connection was lost while it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLoss {
    /// The server knows how it ended: it works under the lock, and leaves word there.
    Ask,
    /// It changes nothing, or nothing that a second time would change: it is run again.
    Again,
    /// Nobody can tell.
    Fail,
}

impl Call {
    /// What to do when the connection is lost while it runs.
    pub fn after_loss(&self) -> AfterLoss {
        match self.script {
            Script::Probe | Script::Lock | Script::Unlock | Script::Prove | Script::Log => AfterLoss::Again,
            Script::History | Script::Ask | Script::Takeover | Script::Listing | Script::Identity => AfterLoss::Again,
            Script::Aside => AfterLoss::Again,
            _ if self.text_of("token").is_some_and(|t| !t.is_empty()) => AfterLoss::Ask,
            _ => AfterLoss::Fail,
        }
    }

    /// Tells whether its exit status is that of a user's command, which `done` says nothing about.
    pub fn has_status(&self) -> bool {
        matches!(self.script, Script::Command | Script::Check)
    }

    /// The value of a parameter that is one word.
    fn text_of(&self, wanted: &str) -> Option<&str> {
        self.params.iter().find_map(|(name, param)| match param {
            Param::Text(text) if *name == wanted => Some(text.as_str()),
            _ => None,
        })
    }

    /// The command line for the server's login shell. Holds no secret: those are in [`Call::head`].
    pub fn command(&self, nonce: &Nonce) -> String {
        self.wired(nonce).command
    }

    /// What standard input begins with: the environment, and before it the script when it is too long for an argument.
    pub fn head(&self) -> Bytes {
        self.wired(&Nonce(String::new())).head
    }

    /// Both at once.
    pub fn wired(&self, nonce: &Nonce) -> Wired {
        wired(self.script.name(), &encoded(&self.pieces()), &self.exports(), std::slice::from_ref(nonce))
    }

    /// The script as it runs, readable, without the environment's values: what `--dry-run -v` shows.
    pub fn text(&self) -> String {
        readable(&self.pieces())
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut text = format!("# pitcrew-{}\n", self.script.name());
        if !self.env.is_empty() {
            let names: Vec<&str> =
                self.env.iter().map(|(name, _)| name.as_str()).filter(|n| quote::is_name(n)).collect();
            text.push_str(&format!("# environment, on standard input: {}\n", names.join(" ")));
        }
        let mut refused = Vec::new();
        self.assign(&mut text, &mut refused);
        let mut pieces = vec![Piece::Made(text)];
        for (part, source) in self.script.parts().iter().enumerate() {
            pieces.push(Piece::File(source));
            if part == 0 {
                pieces.push(Piece::Made(refusing(&refused)));
            }
        }
        pieces
    }

    /// Writes the assignments of all that the script is given; what cannot be one is `refused`.
    fn assign(&self, text: &mut String, refused: &mut Vec<String>) {
        let mut assign = |prefix: &str, name: &str, value: Option<String>| match value {
            Some(value) if quote::is_name(name) => text.push_str(&format!("{prefix}{name}={value}\n")),
            _ => refused.push(name.to_owned()),
        };
        for (name, param) in &self.params {
            let value = match param {
                Param::Text(value) => quote::word(value),
                Param::List(list) => quote::words(list).and_then(|l| quote::word(&l)),
            };
            assign("p_", name, value);
        }
        for (name, value) in &self.web {
            assign("w_", name, quote::word(value));
        }
        for (name, snippet) in &self.snippets {
            assign("s_", name.strip_prefix("web_").unwrap_or(name), quote::word(snippet));
        }
    }

    /// The environment as one line of shell code, without its newline.
    fn exports(&self) -> String {
        let mut line = String::new();
        for (name, value) in &self.env {
            match quote::line(value) {
                Some(value) if quote::is_name(name) => {
                    line.push_str("export ");
                    line.push_str(name);
                    line.push('=');
                    line.push_str(&value);
                    line.push_str("; ");
                }
                // Refused on the server, since a step must not run without a variable that it was to have.
                _ => {
                    let name: String = name.chars().filter(|c| c.is_ascii_graphic() && *c != '\'').collect();
                    line.push_str(&format!(
                        "echo 'cannot export {name}: not a name, or a NUL in its value' >&2; exit 71; "
                    ));
                }
            }
        }
        line
    }
}

/// A script as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wired {
    /// The command line.
    pub command: String,
    /// What standard input begins with.
    pub head: Bytes,
}

/// A piece of a script's text.
enum Piece {
    File(&'static str),
    Made(String),
}

/// What says on the server that parameters could not be passed on.
fn refusing(refused: &[String]) -> String {
    let said = refused.iter().map(|name| {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("fail bad_parameter '{name} holds a NUL byte or is no name'\n")
    });
    said.collect()
}

fn readable(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::File(source) => stripped(source),
            Piece::Made(text) => text.clone(),
        })
        .collect()
}

/// The text in one word. What lies in files is encoded once, however many servers get it.
fn encoded(pieces: &[Piece]) -> String {
    static FILES: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut code = String::new();
    for piece in pieces {
        match piece {
            Piece::File(source) => {
                code.push_str(files.entry(source).or_insert_with(|| quote::encode(&stripped(source))));
            }
            Piece::Made(text) => code.push_str(&quote::encode(text)),
        }
    }
    code
}

/// Makes the command line and the input of a script; `exports` is its environment's line.
fn wired(name: &str, code: &str, exports: &str, nonces: &[Nonce]) -> Wired {
    // A nonce is made here, but nobody shall be able to break out of the quotes with one.
    let nonces: Vec<String> = nonces.iter().map(|nonce| format!("'{}'", quote::encode(&nonce.0))).collect();
    let nonces = nonces.join(" ");
    // What waits for scripts leaves its own text on the server.
    let (take, run) = match name {
        "standing" => ("full=", "script=standing; eval \"$full\""),
        _ => ("code=", "eval \"$code\""),
    };
    if code.len() + 512 <= COMMAND_LIMIT {
        return Wired {
            command: format!(r#"sh -c '{take}$(printf %b "$1"); {run}' pitcrew-{name} '{code}' {nonces}"#),
            head: Bytes::from(format!("{exports}\n")),
        };
    }
    Wired {
        command: format!(
            r#"sh -c 'IFS= read -r code && {take}$(printf %b "$code") && {run}' pitcrew-{name} stdin {nonces}"#
        ),
        head: Bytes::from(format!("{code}\n{exports}\n")),
    }
}

/// Drops comment lines, blank lines and indentation: a server needs none of them, and a thousand servers get them all.
fn stripped(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        out.push_str(line);
        out.push('\n');
    }
    out
}

impl Nonce {
    /// Makes a new one.
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    /// Reads an answer from a line of a script's standard output; anything that stands before it is not looked at.
    pub fn read(&self, line: &str) -> Option<Answer> {
        self.split(line).1
    }

    /// What a script's last line holds, however it ends by itself.
    pub fn last_words(&self) -> Vec<String> {
        ["done", "fail ", "unkept"].iter().map(|word| format!("@pitcrew:{} {word}", self.0)).collect()
    }

    /// Parts a line into what a command or a login shell printed without a newline, and the answer that follows.
    pub fn split<'a>(&self, line: &'a str) -> (&'a str, Option<Answer>) {
        let marker = format!("@pitcrew:{} ", self.0);
        let Some(at) = line.find(&marker) else { return (line, None) };
        let (before, rest) = line.split_at(at);
        let rest = rest.strip_prefix(&marker).unwrap_or_default();
        let rest = rest.strip_suffix('\r').unwrap_or(rest);
        let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
        (before, Some(Answer { key: key.chars().map(tame).collect(), value: unescaped(value) }))
    }
}

/// Takes back what `say` escapes: `\n` and `\\`. Of control characters only newlines remain, whoever sent the others: answers
/// are printed in many places.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars().map(tame);
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}

/// What a terminal would act on becomes `?`, as `say` itself has it.
fn tame(c: char) -> char {
    // Bidirectional marks, overrides and isolates move text as escapes do.
    let moves = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if c.is_control() || moves { '?' } else { c }
}

impl Answer {
    /// Finds the refusal among a script's answers.
    pub fn refusal(answers: &[Self]) -> Option<Refusal> {
        let fail = answers.iter().find(|a| a.key == "fail")?;
        let (code, detail) = fail.value.split_once(' ').unwrap_or((&fail.value, ""));
        Some(Refusal { code: code.to_owned(), detail: detail.to_owned() })
    }

    /// Tells whether the script ran to its end: without this a good exit status proves nothing.
    pub fn is_done(answers: &[Self]) -> bool {
        answers.iter().any(|a| a.key == "done")
    }
}

impl Owner {
    /// The `key=value` lines that a lock holds; line breaks within values become spaces.
    pub fn lines(&self) -> String {
        let mut lines = vec![
            ("run", self.run.0.clone()),
            ("who", self.who.clone()),
            ("host", self.host.clone()),
            ("pid", self.pid.to_string()),
            ("command", self.command.clone()),
            ("since", self.since.clone()),
            ("lease", self.lease.to_string()),
        ];
        lines.extend(self.process.as_ref().map(|p| ("process", p.to_string())));
        let lines = lines.into_iter();
        lines.map(|(key, value)| format!("{key}={}", one_line(&value))).collect::<Vec<_>>().join("\n")
    }
}

/// A value of a `key=value` line.
fn one_line(value: &str) -> String {
    value.replace(['\n', '\r', '\0'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce() -> Nonce {
        Nonce("0123456789abcdef".into())
    }

    #[test]
    fn answers_are_found_behind_noise_and_nowhere_else() {
        let read = |line: &str| nonce().read(line).map(|a| (a.key, a.value));
        let pair = |k: &str, v: &str| Some((k.to_owned(), v.to_owned()));
        assert_eq!(read("@pitcrew:0123456789abcdef current 20260101000000"), pair("current", "20260101000000"));
        assert_eq!(read("NOISE@pitcrew:0123456789abcdef done"), pair("done", ""));
        assert_eq!(read("@pitcrew:0123456789abcdef done\r"), pair("done", ""));
        assert_eq!(read(r"@pitcrew:0123456789abcdef odd a\nb\\n"), pair("odd", "a\nb\\n"));
        assert_eq!(read("@pitcrew:0123456789abcdef user \u{1b}[2J\u{9b}m\u{202e}x"), pair("user", "?[2J?m?x"));
        assert_eq!(read("@pitcrew:0123456789abcdee done"), None);
        assert_eq!(read("@pitcrew: done"), None);
        assert_eq!(read(""), None);
        assert_eq!(nonce().split("50%@pitcrew:0123456789abcdef exit 0").0, "50%");
    }

    #[test]
    fn stripping_keeps_every_command() {
        assert_eq!(stripped("# a\n\n  if x; then\n      # b\n      y '#z'\n  fi\n"), "if x; then\ny '#z'\nfi\n");
    }

    #[test]
    fn every_script_has_its_parts() {
        for script in Script::ALL {
            assert!(script.parts().len() >= 2, "{}", script.name());
            // Stripping is only right while no part holds a here-document.
            assert!(script.parts().iter().all(|p| !p.contains("<<")), "{}", script.name());
        }
    }

    #[test]
    fn two_nonces_differ() {
        assert_ne!(Nonce::random(), Nonce::random());
    }
}
