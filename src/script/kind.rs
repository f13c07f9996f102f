//! The scripts by name, and the files that each is made of.

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
    pub(super) fn parts(self) -> &'static [&'static str] {
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
            Self::Prove => shell!("lib", "procs", "web", "listens", "prove"),
            Self::Stop => shell!("lib", "procs", "web", "stop"),
            Self::Log => shell!("lib", "procs", "web", "log"),
            Self::Mark => shell!("lib", "record", "mark"),
            Self::Prune => shell!("lib", "record", "sweep", "prune"),
            Self::Remove => shell!("lib", "sweep", "remove"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_its_parts() {
        for script in Script::ALL {
            assert!(script.parts().len() >= 2, "{}", script.name());
            // Stripping is only right while no part holds a here-document.
            assert!(script.parts().iter().all(|p| !p.contains("<<")), "{}", script.name());
        }
    }
}
