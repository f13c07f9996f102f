//! The keywords of ssh_config(5) that pitcrew honours, and how it reads their values.

/// How the values of a keyword are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// One word; the first line wins.
    Word,
    /// All words of the first line.
    Words,
    /// One word of every line.
    Every,
    /// The rest of the line; the first of `ProxyCommand` and `ProxyJump` wins.
    Proxy,
}

/// A keyword that pitcrew honours.
#[derive(Debug)]
pub(super) struct Keyword {
    /// In lower case.
    pub(super) name: &'static str,
    pub(super) reading: Reading,
}

const fn keyword(name: &'static str, reading: Reading) -> Keyword {
    Keyword { name, reading }
}

/// The keywords that pitcrew honours; it passes over all others.
const KEYWORDS: &[Keyword] = &[
    keyword("addressfamily", Reading::Word),
    keyword("batchmode", Reading::Word),
    keyword("bindaddress", Reading::Word),
    keyword("certificatefile", Reading::Every),
    keyword("ciphers", Reading::Word),
    keyword("connecttimeout", Reading::Word),
    keyword("forwardagent", Reading::Word),
    keyword("globalknownhostsfile", Reading::Words),
    keyword("hostkeyalgorithms", Reading::Word),
    keyword("hostkeyalias", Reading::Word),
    keyword("hostname", Reading::Word),
    keyword("identitiesonly", Reading::Word),
    keyword("identityagent", Reading::Word),
    keyword("identityfile", Reading::Every),
    keyword("kbdinteractiveauthentication", Reading::Word),
    keyword("kexalgorithms", Reading::Word),
    keyword("macs", Reading::Word),
    keyword("numberofpasswordprompts", Reading::Word),
    keyword("passwordauthentication", Reading::Word),
    keyword("port", Reading::Word),
    keyword("preferredauthentications", Reading::Word),
    keyword("proxycommand", Reading::Proxy),
    keyword("proxyjump", Reading::Proxy),
    keyword("proxyusefdpass", Reading::Word),
    keyword("pubkeyauthentication", Reading::Word),
    keyword("revokedhostkeys", Reading::Word),
    keyword("serveralivecountmax", Reading::Word),
    keyword("serveraliveinterval", Reading::Word),
    keyword("stricthostkeychecking", Reading::Word),
    keyword("user", Reading::Word),
    keyword("userknownhostsfile", Reading::Words),
];

/// Older names of keywords.
const ALIASES: &[(&str, &str)] = &[
    ("challengeresponseauthentication", "kbdinteractiveauthentication"),
    ("skeyauthentication", "kbdinteractiveauthentication"),
    ("dsaauthentication", "pubkeyauthentication"),
    ("identityfile2", "identityfile"),
    ("globalknownhostsfile2", "globalknownhostsfile"),
    ("userknownhostsfile2", "userknownhostsfile"),
];

/// Finds a keyword, by its newer or older name in lower case.
pub(super) fn honoured(name: &str) -> Option<&'static Keyword> {
    let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    KEYWORDS.iter().find(|k| k.name == name)
}
