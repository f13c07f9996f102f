//! The scripts of a site in one text, which servers keep beside their releases.
//!
//! A run that meets the text there names it instead of sending it. Its name is its SHA-256, and each exec compares
//! what it has read before it runs a line of it. Where it is missing, damaged, or cannot be kept, all is sent as before. It
//! holds what a configuration says of the web server, and no value of the environment.

use sha2::{Digest, Sha256};

use super::call::{Call, Param};
use super::kind::Script;
use super::quote;
use super::wire::{COMMAND_LIMIT, Piece, TAKE_NONCE, Wired, encoded, readable, wired};
use crate::answer::Nonce;

/// Scripts that one exec runs one after the other: those that start nothing of the user's.
///
/// A process that a user's command leaves in the background stays in the process group of its exec, and must not be
/// ended with a later script. A health check, asked again and again, has no business to leave anything.
const SHARED: [Script; 10] = [
    Script::Probe,
    Script::Lock,
    Script::Note,
    Script::Link,
    Script::Switch,
    Script::Prove,
    Script::Mark,
    Script::Prune,
    Script::Unlock,
    Script::Check,
];
/// Scripts with an exec of their own.
const ALONE: [Script; 5] = [Script::Transfer, Script::Command, Script::Restart, Script::Stop, Script::Remove];
/// What comes first: how the text was started decides what its input begins with.
const FIRST: &str = "nl='\n'\np_payload=yes\nif [ \"$script\" != standing ]; then\np_payload=\n\
                     IFS= read -r params || params='exit 71'\neval \"$params\"\nfi\n";
/// What stands in the loop before the first script, and after the last.
const BEGIN: &str = "while IFS=' ' read -r name nonce moment && IFS= read -r params && IFS= read -r user_env; do\n\
                     mark=$own_mark${nonce#\"$own_nonce\"}\nsay go\nfind_real\ncase $name in\n";
const END: &str = "esac </dev/null\nover $?\ndone\nexit 0\n";
/// Reads the kept text, `$f`, and compares what was read with its name: what runs is what was compared.
const READ: &str = r#"t=$(cat "$f" 2>/dev/null) && s=$(printf "%s\n" "$t" | sha256sum) && [ "${s%% *}" = "${f##*/}" ] || { echo "@pitcrew:$nonce unkept"; exit 72; }"#;

/// Scripts of one site in one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it knows of the site: `root`, the web server's snippets and parameters.
    site: Call,
    /// The text in one word.
    code: String,
    /// Where a server keeps it, from its login's home or absolute; `None`: at no place that can be named.
    path: Option<String>,
}

impl Kept {
    /// Assembles it; `site` is what [`super::calls::all_of`] makes.
    ///
    /// `None` for a site of which something cannot be said: its scripts are refused one by one.
    pub fn new(site: Call) -> Option<Self> {
        let mut unsaid = Vec::new();
        site.assign(&mut String::new(), &mut unsaid);
        if !unsaid.is_empty() {
            return None;
        }
        let pieces = pieces(&site);
        let digest = Sha256::digest(readable(&pieces).trim_end_matches('\n').to_owned() + "\n");
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = site.text_of("root").and_then(place).map(|own| format!("{own}/.pitcrew/scripts/{name}"));
        let code = encoded(&pieces);
        Some(Self { site, code, path })
    }

    /// The text as it runs, readable.
    pub fn text(&self) -> String {
        readable(&pieces(&self.site))
    }

    /// The command line of an exec that waits for scripts, and what its input begins with.
    ///
    /// `whole`: with the text. Without it the exec answers `unkept` where the server does not keep the text; `None` where it
    /// cannot be named.
    pub fn standing(&self, nonce: &Nonce, whole: bool) -> Option<Wired> {
        if whole {
            return Some(wired("standing", &self.code, "", nonce));
        }
        self.named("standing", nonce).map(|command| Wired { command, head: format!("{}\n\n", nonce.0).into() })
    }

    /// The command line and input of a script with an exec of its own, from the kept text.
    ///
    /// `None`: the script is not in the text. Answers `unkept` where the server does not keep the text.
    pub fn alone(&self, call: &Call, nonce: &Nonce) -> Option<Wired> {
        if !ALONE.contains(&call.script) || !self.fits(call) {
            return None;
        }
        let name = call.script.name();
        let command = self.named(name, nonce)?;
        let head = format!("{}\n{}\n{}\n", nonce.0, params(call)?, call.exports());
        Some(Wired { command, head: head.into() })
    }

    /// The parameters, in one line, of a script that the exec which waits for scripts runs.
    ///
    /// `None`: that exec does not run the script.
    pub fn shared(&self, call: &Call) -> Option<String> {
        if !SHARED.contains(&call.script) || call.text_of("payload").is_some() || !self.fits(call) {
            return None;
        }
        params(call)
    }

    fn fits(&self, call: &Call) -> bool {
        call.text_of("root") == self.site.text_of("root")
            && call.snippets.iter().all(|snippet| self.site.snippets.contains(snippet))
            && (call.web.is_empty() || call.web == self.site.web)
    }

    /// The command line that runs the kept text; `None` where it would be too long.
    fn named(&self, name: &str, nonce: &Nonce) -> Option<String> {
        let path = self.path.as_ref()?;
        let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        // A process less, nearly everywhere.
        let place = if plain { "f=$1" } else { r#"f=$(printf %b "$1")"# };
        let start = format!("{TAKE_NONCE}; {place}; {READ}; script={name}; eval \"$t\"");
        let line = format!("sh -c '{start}' pitcrew-{name} '{}' '{}'", quote::encode(path), nonce.mark());
        (line.len() <= COMMAND_LIMIT).then_some(line)
    }
}

/// The parameters in one line of shell code.
fn params(call: &Call) -> Option<String> {
    let params = call.params.iter().map(|(name, param)| {
        let value = match param {
            Param::Text(value) => quote::line(value),
            Param::List(list) => quote::words(list).and_then(|l| quote::line(&l)),
        };
        value.map(|value| format!("p_{name}={value} "))
    });
    params.collect()
}

/// `deploy_to` as seen from the login's home, where an exec begins.
fn place(root: &str) -> Option<&str> {
    let own = root.strip_prefix("~/").unwrap_or(root).trim_end_matches('/');
    // sha256sum begins its line with a backslash where a name has one, or a line break; a dash would make it an option.
    (!own.is_empty() && !own.starts_with(['-', '~']) && !own.contains(['\\', '\n', '\r'])).then_some(own)
}

fn pieces(site: &Call) -> Vec<Piece> {
    let mut text = String::from("# pitcrew\n");
    text.push_str(FIRST);
    site.assign(&mut text, &mut Vec::new());
    let mut pieces = vec![Piece::Made(text)];
    let mut files: Vec<&'static str> = Vec::new();
    for script in SHARED.into_iter().chain(ALONE) {
        let Some((_, shared)) = script.parts().split_last() else { continue };
        for file in shared {
            if !files.contains(file) {
                files.push(file);
                pieces.push(Piece::File(file));
            }
        }
    }
    let body = |script: Script| script.parts().last().map(|file| Piece::File(file));
    pieces.push(Piece::Made("case $script in\nstanding) ;;\n".into()));
    for script in ALONE {
        pieces.push(Piece::Made(format!("{})\n", script.name())));
        pieces.extend(body(script));
        pieces.push(Piece::Made("exit\n;;\n".into()));
    }
    pieces.push(Piece::Made("esac\n".into()));
    pieces.push(Piece::File(include_str!("../../templates/remote/standing.sh")));
    pieces.push(Piece::File(BEGIN));
    for script in SHARED {
        // A subshell forgets what its shell catches.
        pieces.push(Piece::Made(format!("{}) (\ntrap : PIPE\neval \"$params\"\n", script.name())));
        pieces.extend(body(script));
        pieces.push(Piece::Made(") ;;\n".into()));
    }
    pieces.push(Piece::File(END));
    pieces
}
