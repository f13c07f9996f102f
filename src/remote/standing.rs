//! One exec that waits for scripts: what a run does to a server by short scripts costs it one login, not one each.
//!
//! The scripts and all that they share lie in the command line, and so do the nonces of those that change something; what differs
//! from one script to the next, its parameters and the environment, arrives on standard input, three lines a script.

use bytes::Bytes;

use super::{AfterLoss, Call, Nonce, Param, Piece, Script, Wired, encoded, quote, readable, wired};

/// Scripts that may be asked for: those that run nothing of the user's. What a user's command leaves in the background stays in
/// the process group of its exec, and must not be ended with a later script.
const SCRIPTS: [Script; 8] = [
    Script::Probe,
    Script::Lock,
    Script::Link,
    Script::Switch,
    Script::Prove,
    Script::Mark,
    Script::Prune,
    Script::Unlock,
];
/// How many scripts that change something one exec runs at most; what comes after them gets an exec of its own.
const NONCES: usize = 48;
/// What stands in the loop before the first script, and after the last.
const BEGIN: &str = "while IFS=' ' read -r name nonce moment && IFS= read -r params && IFS= read -r user_env; do\n\
                     say go\nfind_real\ncase $name in\n";
const END: &str = "esac </dev/null\nover $?\ndone\nexit 0\n";

/// Scripts of one site in one exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it knows of the site: `root`, the web server's snippets and parameters.
    site: Call,
    /// Nonces not yet given to a script; all of them stand in the command line, by which a lost script is found.
    nonces: Vec<Nonce>,
}

impl Standing {
    /// Prepares one; `site` is what [`super::calls::all_of`] makes.
    ///
    /// `None` for a site of which something cannot be said: its scripts are refused one by one.
    pub fn new(site: Call) -> Option<Self> {
        let mut unsaid = Vec::new();
        site.assign(&mut String::new(), &mut unsaid);
        unsaid.is_empty().then(|| Self { site, nonces: (0..NONCES).map(|_| Nonce::random()).collect() })
    }

    /// The command line and what standard input begins with.
    pub fn wired(&self) -> Wired {
        wired("standing", &encoded(&self.pieces()), "", &self.nonces)
    }

    /// The text as it runs, readable.
    pub fn text(&self) -> String {
        readable(&self.pieces())
    }

    /// The input that makes it run a script, and the nonce by which that answers; `None`: it cannot run this one.
    pub fn ask(&mut self, call: &Call) -> Option<(Bytes, Nonce)> {
        let fits = SCRIPTS.contains(&call.script)
            && call.text_of("root") == self.site.text_of("root")
            && call.text_of("payload").is_none()
            && call.snippets.iter().all(|snippet| self.site.snippets.contains(snippet))
            && (call.web.is_empty() || call.web == self.site.web);
        if !fits {
            return None;
        }
        let params = call.params.iter().map(|(name, param)| {
            let value = match param {
                Param::Text(value) => quote::line(value),
                Param::List(list) => quote::words(list).and_then(|l| quote::line(&l)),
            };
            value.map(|value| format!("p_{name}={value} "))
        });
        let params: String = params.collect::<Option<_>>()?;
        let nonce = match call.after_loss() {
            // Nobody will ask what became of it.
            AfterLoss::Again => Nonce::random(),
            AfterLoss::Ask | AfterLoss::Fail => self.nonces.pop()?,
        };
        let moment = call.text_of("at").unwrap_or_default();
        let (name, exports) = (call.script.name(), call.exports());
        Some((Bytes::from(format!("{name} {} {moment}\n{params}\n{exports}\n", nonce.0)), nonce))
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut text = String::from("# pitcrew-standing\np_payload=yes\n");
        self.site.assign(&mut text, &mut Vec::new());
        let mut pieces = vec![Piece::Made(text)];
        let mut files: Vec<&'static str> = Vec::new();
        for script in SCRIPTS {
            let Some((_, shared)) = script.parts().split_last() else { continue };
            for file in shared {
                if !files.contains(file) {
                    files.push(file);
                    pieces.push(Piece::File(file));
                }
            }
        }
        pieces.push(Piece::File(include_str!("../../templates/remote/standing.sh")));
        pieces.push(Piece::File(BEGIN));
        for script in SCRIPTS {
            pieces.push(Piece::Made(format!("{}) (\neval \"$params\"\n", script.name())));
            pieces.extend(script.parts().last().map(|file| Piece::File(file)));
            pieces.push(Piece::Made(") ;;\n".into()));
        }
        pieces.push(Piece::File(END));
        pieces
    }
}
