//! Several scripts in one exec: what a server does without a pause between steps costs one login, not one each.
//!
//! Each script keeps its own nonce, parameters and refusals, and runs in a subshell of its own: its answers tell how far
//! the series came. The first that fails ends it.

use super::{Call, Nonce, Param, Piece, Wired, encoded, quote, readable, refusing, wired};

/// Scripts to be run one after the other, each with its nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series(pub Vec<(Call, Nonce)>);

impl Series {
    /// Gives each script a nonce.
    pub fn new(calls: Vec<Call>) -> Self {
        Self(calls.into_iter().map(|call| (call, Nonce::random())).collect())
    }

    /// The command line and what standard input begins with, as [`Call::wired`].
    pub fn wired(&self) -> Wired {
        let nonces: Vec<Nonce> = self.0.iter().map(|(_, nonce)| nonce.clone()).collect();
        wired(&self.name(), &encoded(&self.pieces()), &self.exports(), &nonces)
    }

    /// The text as it runs, readable.
    pub fn text(&self) -> String {
        readable(&self.pieces())
    }

    fn name(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(call, _)| call.script.name()).collect();
        names.join("+")
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut text = format!("# pitcrew-{}\n", self.name());
        // All are for one site, and only the first can have a payload.
        for (name, param) in self.0.first().map(|(call, _)| call.params.as_slice()).unwrap_or_default() {
            if let ("root" | "payload", Param::Text(value)) = (*name, param)
                && let Some(value) = quote::word(value)
            {
                text.push_str(&format!("p_{name}={value}\n"));
            }
        }
        let mut pieces = vec![Piece::Made(text)];
        let mut files: Vec<&'static str> = Vec::new();
        for (call, _) in &self.0 {
            let Some((_, shared)) = call.script.parts().split_last() else { continue };
            for file in shared {
                if !files.contains(file) {
                    files.push(file);
                    pieces.push(Piece::File(file));
                }
            }
        }
        // A signal is for whichever script runs: its own undoing is waited for. The time is asked once for all.
        pieces.push(Piece::Made("trap 'exit 71' HUP INT TERM\nmoment=$(date +%s)\n".into()));
        for (number, (call, nonce)) in self.0.iter().enumerate() {
            let nonce = quote::word(&nonce.0).unwrap_or_default();
            let mut text = format!("(\nnth={number}\nnonce={nonce}\n");
            let mut refused = Vec::new();
            call.assign(&mut text, &mut refused);
            text.push_str(&refusing(&refused));
            pieces.push(Piece::Made(text));
            pieces.extend(call.script.parts().last().map(|file| Piece::File(file)));
            // Only the first reads what is sent.
            let input = if number == 0 { "" } else { " </dev/null" };
            pieces.push(Piece::Made(format!("){input} || exit $?\n")));
        }
        pieces
    }

    /// One line for all: each script takes what is meant for it.
    fn exports(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(|(call, _)| call.exports()).collect();
        let mut others = lines.iter().filter(|line| !line.is_empty());
        let Some(first) = others.next() else { return String::new() };
        if others.all(|line| line == first) {
            return first.clone();
        }
        let cases = lines.iter().enumerate().map(|(number, line)| format!("{number}) {line} ;; "));
        format!("case $nth in {}esac", cases.collect::<String>())
    }
}
