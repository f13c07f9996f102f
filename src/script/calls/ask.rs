//! Scripts that ask, and change nothing.

use std::time::Duration;

use super::site::{Site, seconds};
use crate::answer::Nonce;
use crate::script::call::{Call, Param};
use crate::script::kind::Script;

/// Asks for everything a plan depends on, and changes nothing.
///
/// [`crate::facts::ServerFacts::read`] reads the answers.
pub fn probe(site: &Site<'_>, files: &[String]) -> Call {
    site.call(Script::Probe)
        .list("files", files.to_vec())
        .list("tools", site.web.tools.clone())
        .proof(site)
        .web(site, &["processes", "facts"])
}

/// Asks the probe how much room the running release takes.
///
/// It serves only where the size of the next release is unknown.
pub fn measuring(probe: Call) -> Call {
    probe.with("measure", "yes")
}

/// Asks the probe for the server's own addresses, too.
pub fn locating(probe: Call) -> Call {
    probe.with("addresses", "yes")
}

/// Asks what became of another script of this run whose connection was lost.
///
/// Waits up to `limit` while that script still runs.
///
/// Answers `became done`, `became fail CODE DETAIL`, `became exit STATUS`, `became begun` (it ended without saying how),
/// or `became never`. Refuses with `lock_lost`, `still_running`.
pub fn ask(lost: &Call, nonce: &Nonce, limit: Duration) -> Call {
    let copied = |name: &'static str| (name, Param::Text(lost.text_of(name).unwrap_or_default().to_owned()));
    let params = vec![copied("root"), copied("token")];
    let (own, rest) = nonce.mark_parts();
    let (first, second) = own.split_at(own.len() / 2);
    // One that reads a payload waits for ever: the rest is never sent.
    let end = if lost.script == Script::Transfer { "yes" } else { "no" };
    Call { script: Script::Ask, params, snippets: Vec::new(), web: Vec::new(), env: Vec::new() }
        .with("first", first)
        .with("second", second)
        .with("rest", rest)
        .with("limit", seconds(limit))
        .with("end", end)
}

/// Asks what a cloud machine knows of itself.
///
/// Answers `instance ID`, `address IP` (several), and `why TEXT` without the first.
///
/// `limit` is for each of at most two questions; `meta` is the metadata service's root, `dmi` the firmware's tag.
pub fn identity(meta: &str, dmi: &str, limit: Duration) -> Call {
    // It looks into no site; a directory must be given all the same.
    let params = vec![("root", Param::Text("/nonexistent".to_owned()))];
    Call { script: Script::Identity, params, snippets: Vec::new(), web: Vec::new(), env: Vec::new() }
        .with("meta", meta)
        .with("dmi", dmi)
        .with("limit", seconds(limit))
}

/// What a [`crate::script::standing::Feed`] exec must know of the site.
///
/// It is not to be executed by itself.
pub fn all_of(site: &Site<'_>) -> Call {
    let call = site.call(Script::Restart).web(site, &["processes", "start", "restart", "stop", "log", "facts"]);
    Call { env: Vec::new(), ..call }
}

impl Call {
    /// Makes a [`probe`] look who listens on a port, where nothing of the web server runs.
    #[must_use]
    pub fn listening(self, port: u16) -> Self {
        self.with("port", port.to_string())
    }

    /// Makes a [`probe`] look for these tools as well.
    #[must_use]
    pub fn needing(mut self, tools: &[&str]) -> Self {
        for (name, param) in &mut self.params {
            if let (&mut "tools", Param::List(list)) = (name, param) {
                list.extend(tools.iter().map(|t| (*t).to_owned()));
            }
        }
        self
    }
}
