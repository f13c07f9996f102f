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
    keyword("ignoreunknown", Reading::Word),
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
    (keyword("bindinterface", Reading::Word), "BindInterface"),
    (keyword("casignaturealgorithms", Reading::Word), "CASignatureAlgorithms"),
    (keyword("checkhostip", Reading::Word), "CheckHostIP"),
    (keyword("localcommand", Reading::Rest), "LocalCommand"),
    (keyword("pkcs11provider", Reading::Word), "PKCS11Provider"),
    (keyword("pubkeyacceptedalgorithms", Reading::Word), "PubkeyAcceptedAlgorithms"),
    (keyword("requiredrsasize", Reading::Word), "RequiredRSASize"),
    (keyword("securitykeyprovider", Reading::Word), "SecurityKeyProvider"),
    (keyword("verifyhostkeydns", Reading::Word), "VerifyHostKeyDNS"),
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

/// Keywords that ssh knows and that mean nothing to pitcrew, with one word behind them.
const IDLE: &[&str] = &[
    "canonicalizefallbacklocal",
    "canonicalizehostname",
    "canonicalizemaxdots",
    "clearallforwardings",
    "compression",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "hostbasedacceptedalgorithms",
    "hostbasedauthentication",
    "hostbasedkeytypes",
    "kbdinteractivedevices",
    "keepalive",
    "loglevel",
    "permitlocalcommand",
    "refuseconnection",
    "requesttty",
    "sessiontype",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tag",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "visualhostkey",
    "warnweakcrypto",
    "xauthlocation",
    // What Debian, Fedora and others add.
    "gssapiclientidentity",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "protocolkeepalives",
    "rsaminsize",
    "setuptimeout",
];

/// The same, with any number of words: lists, commands, and what ssh no longer honours.
const IDLE_LISTS: &[&str] = &[
    "addkeystoagent",
    "afstokenpassing",
    "canonicaldomains",
    "canonicalizepermittedcnames",
    "channeltimeout",
    "cipher",
    "compressionlevel",
    "dynamicforward",
    "fallbacktorsh",
    "globalknownhostsfile2",
    "ipqos",
    "kerberosauthentication",
    "kerberostgtpassing",
    "localforward",
    "logverbose",
    "obscurekeystroketiming",
    "permitremoteopen",
    "protocol",
    "rekeylimit",
    "remotecommand",
    "remoteforward",
    "rhostsauthentication",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "sendenv",
    "setenv",
    "useprivilegedport",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
    "versionaddendum",
];

/// The name under which lines are kept whose keyword ssh does not know either.
pub(in crate::ssh) const UNKNOWN: &str = "?";

/// Tells whether ssh takes a single word behind a keyword in lower case; `None`: ssh does not know it.
pub(super) fn takes_one_word(name: &str) -> Option<bool> {
    match known(name) {
        Some(keyword) => Some(matches!(keyword.reading, Reading::Word | Reading::Every)),
        None if IDLE.contains(&name) => Some(true),
        None if IDLE_LISTS.contains(&name) => Some(false),
        // Apple's ssh alone has it.
        None if name == "usekeychain" && cfg!(target_os = "macos") => Some(true),
        None => None,
    }
}

/// Finds the keyword that an unknown one is a misspelling of.
pub(super) fn meant(written: &str) -> Option<&'static str> {
    let written = written.to_lowercase();
    let names = KEYWORDS.iter().map(|keyword| keyword.name).chain(["host", "match", "include"]);
    let far = |name: &str| strsim::damerau_levenshtein(&written, name);
    names.filter(|name| far(name) <= 1 + usize::from(name.len() > 5)).min_by_key(|name| far(name))
}

/// Finds a keyword that is honoured or told of, by its newer or older name in lower case.
pub(super) fn known(name: &str) -> Option<&'static Keyword> {
    let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    KEYWORDS.iter().chain(PASSED.iter().map(|(keyword, _)| keyword)).find(|k| k.name == name)
}

/// Lists the keywords that are told of and not honoured: each in lower case, and its name.
pub(in crate::ssh) fn passed_over() -> impl Iterator<Item = (&'static str, &'static str)> {
    PASSED.iter().map(|(keyword, name)| (keyword.name, *name))
}
