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
    /// The rest of the first line.
    Rest,
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

/// The keywords that pitcrew honours; it passes over all others, and says so of [`PASSED`].
const KEYWORDS: &[Keyword] = &[
    keyword("addressfamily", Reading::Word),
    keyword("batchmode", Reading::Word),
    keyword("bindaddress", Reading::Word),
    keyword("certificatefile", Reading::Every),
    keyword("ciphers", Reading::Word),
    keyword("connecttimeout", Reading::Word),
    keyword("forwardagent", Reading::Word),
    keyword("globalknownhostsfile", Reading::Words),
    keyword("hashknownhosts", Reading::Word),
    keyword("hostkeyalgorithms", Reading::Word),
    keyword("hostkeyalias", Reading::Word),
    keyword("hostname", Reading::Word),
    keyword("identitiesonly", Reading::Word),
    keyword("identityagent", Reading::Word),
    keyword("identityfile", Reading::Every),
    keyword("kbdinteractiveauthentication", Reading::Word),
    keyword("kexalgorithms", Reading::Word),
    keyword("knownhostscommand", Reading::Rest),
    keyword("macs", Reading::Word),
    keyword("nohostauthenticationforlocalhost", Reading::Word),
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

/// Keywords that change what or whom ssh connects to, and that pitcrew passes over, with their names.
const PASSED: &[(Keyword, &str)] = &[
    (keyword("bindinterface", Reading::Words), "BindInterface"),
    (keyword("casignaturealgorithms", Reading::Words), "CASignatureAlgorithms"),
    (keyword("checkhostip", Reading::Words), "CheckHostIP"),
    (keyword("localcommand", Reading::Words), "LocalCommand"),
    (keyword("pkcs11provider", Reading::Words), "PKCS11Provider"),
    (keyword("pubkeyacceptedalgorithms", Reading::Words), "PubkeyAcceptedAlgorithms"),
    (keyword("requiredrsasize", Reading::Words), "RequiredRSASize"),
    (keyword("securitykeyprovider", Reading::Words), "SecurityKeyProvider"),
    (keyword("verifyhostkeydns", Reading::Words), "VerifyHostKeyDNS"),
];

/// Older names of keywords.
const ALIASES: &[(&str, &str)] = &[
    ("challengeresponseauthentication", "kbdinteractiveauthentication"),
    ("skeyauthentication", "kbdinteractiveauthentication"),
    ("tisauthentication", "kbdinteractiveauthentication"),
    ("dsaauthentication", "pubkeyauthentication"),
    ("pubkeyacceptedkeytypes", "pubkeyacceptedalgorithms"),
    ("identityfile2", "identityfile"),
    ("smartcarddevice", "pkcs11provider"),
];

/// Finds a keyword that is honoured or told of, by its newer or older name in lower case.
pub(super) fn known(name: &str) -> Option<&'static Keyword> {
    let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    KEYWORDS.iter().chain(PASSED.iter().map(|(keyword, _)| keyword)).find(|k| k.name == name)
}

/// Lists the keywords that are told of and not honoured: each in lower case, and its name.
pub(in crate::ssh) fn passed_over() -> impl Iterator<Item = (&'static str, &'static str)> {
    PASSED.iter().map(|(keyword, name)| (keyword.name, *name))
}
