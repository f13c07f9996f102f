//! Makes ssh_configs as people write them: the same from the same seed.

/// A source of configurations.
pub struct Generator(u64);

/// Values that a keyword may have.
type Values = (&'static str, &'static [&'static str]);

const KEYWORDS: &[Values] = &[
    ("HostName", &["10.0.0.7", "%h.example.com", "web-%h", "Web1.Example.COM", "localhost", "192.0.2.1"]),
    ("User", &["ann", "deploy", "root", "first.last", "me@corp"]),
    ("Port", &["22", "2222", "65535"]),
    ("IdentityFile", &["~/.ssh/id_a", "\"~/.ssh/my key\"", "/keys/%r@%h", "none", "~/.ssh/%n", "~root/.ssh/k", "%d/k"]),
    ("CertificateFile", &["~/.ssh/id_a-cert.pub", "/keys/c"]),
    ("IdentitiesOnly", &["yes", "no", "true", "false"]),
    ("KnownHostsCommand", &["none", "/bin/true %H", "\"/bin/the keys\" %h %t"]),
    ("ProxyJump", &["jump", "ann@jump:2222", "none", "a,b", "ssh://ann@jump:22", "[2001:db8::1]:22"]),
    ("ProxyCommand", &["none", "nc -X connect %h %p", "ssh -W %h:%p jump", "sh -c \"nc %h %p\"", "/bin/nc '%h' %p"]),
    ("StrictHostKeyChecking", &["accept-new", "no", "yes", "ask", "off"]),
    ("UserKnownHostsFile", &["/dev/null", "~/.ssh/kh ~/.ssh/kh2", "\"~/k h\"", "~/.ssh/known/%k"]),
    ("GlobalKnownHostsFile", &["/etc/ssh/kh", "/dev/null"]),
    ("HostKeyAlias", &["alias", "Alias.Example"]),
    ("ConnectTimeout", &["5", "1m", "1m30s", "none", "0"]),
    ("ServerAliveInterval", &["30", "0", "2m"]),
    ("ServerAliveCountMax", &["2", "10"]),
    ("AddressFamily", &["inet", "inet6", "any"]),
    ("BatchMode", &["no"]),
    ("BindAddress", &["127.0.0.1"]),
    ("PreferredAuthentications", &["publickey", "publickey,password", "keyboard-interactive,publickey"]),
    ("PubkeyAuthentication", &["yes", "no"]),
    ("PasswordAuthentication", &["yes", "no"]),
    ("KbdInteractiveAuthentication", &["yes", "no"]),
    ("ChallengeResponseAuthentication", &["no"]),
    ("Ciphers", &["aes256-ctr", "+aes128-cbc", "-aes*", "^aes128-ctr", "aes128-ctr,aes256-gcm@openssh.com"]),
    ("KexAlgorithms", &["curve25519-sha256", "-diffie-hellman*", "^ecdh-sha2-nistp256"]),
    ("MACs", &["hmac-sha2-256", "+hmac-sha1"]),
    ("HostKeyAlgorithms", &["ssh-ed25519", "+ssh-rsa", "^rsa-sha2-512"]),
    ("ForwardAgent", &["yes", "no"]),
    ("IdentityAgent", &["none", "SSH_AUTH_SOCK", "~/agent", "/run/agent"]),
    ("NumberOfPasswordPrompts", &["1", "5"]),
    ("HashKnownHosts", &["yes", "no"]),
    ("NoHostAuthenticationForLocalhost", &["yes", "no"]),
    ("RevokedHostKeys", &["/dev/null", "none"]),
    // What means nothing to pitcrew.
    ("Compression", &["yes"]),
    ("ControlMaster", &["auto"]),
    ("ControlPath", &["~/.ssh/cm-%C"]),
    ("ControlPersist", &["10m"]),
    ("LogLevel", &["ERROR"]),
    ("SendEnv", &["LANG LC_*"]),
    ("SetEnv", &["A=b", "A=\"b c\""]),
    ("LocalForward", &["8080 localhost:80"]),
    ("RequestTTY", &["no"]),
    ("VisualHostKey", &["yes"]),
    ("TCPKeepAlive", &["yes"]),
    ("GSSAPIAuthentication", &["no"]),
    ("AddKeysToAgent", &["yes"]),
    ("UpdateHostKeys", &["no"]),
];

const BLOCKS: &[&str] = &[
    "Host web1",
    "Host web1 web2.example.com",
    "Host *",
    "Host *.example.com !web2.example.com",
    "Host !web1 *",
    "Host web?",
    "Host \"web1\"",
    "Host=web1",
    "Host WEB1",
    "Host jump",
    "Host web1,web2",
    "Match all",
    "Match host web*",
    "Match originalhost web1",
    "Match host web1,web2.example.com user ann",
    "Match !host web1",
    "Match user deploy",
    "Match exec \"true\"",
    "Match exec false host web1",
    "Match final host *.example.com",
    "Match localuser root",
];

impl Generator {
    /// Begins anew.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Makes one, with the host to ask about in a comment.
    pub fn config(&mut self) -> String {
        let asked = self.one(&["web1", "web2.example.com", "ann@web1", "web1:2222", "jump", "WEB1", "10.0.0.7"]);
        let mut text = format!("# ask: {asked}\n");
        for _ in 0..self.below(4) {
            self.line(&mut text, "");
        }
        // A `Match` is left to ssh itself, and half of them shall not be.
        let blocks = if self.below(2) == 0 { 11 } else { BLOCKS.len() };
        for _ in 0..=self.below(5) {
            text.push_str(self.one(&BLOCKS[..blocks]));
            text.push_str(self.one(&["\n", "\n", "  \n", " # a note\n", "\r\n"]));
            let indent = self.one(&["  ", "\t", "    ", ""]);
            for _ in 0..=self.below(6) {
                self.line(&mut text, indent);
            }
        }
        text
    }

    fn line(&mut self, text: &mut String, indent: &str) {
        if self.below(8) == 0 {
            text.push_str(self.one(&["\n", "# HostName commented\n", "   # Port 1\n", "\t\n"]));
        }
        let (keyword, values) = KEYWORDS[self.below(KEYWORDS.len())];
        let keyword = match self.below(4) {
            0 => keyword.to_lowercase(),
            1 => keyword.to_uppercase(),
            _ => keyword.to_owned(),
        };
        let value = self.one(values);
        let quoted =
            self.below(6) == 0 && !value.contains(['"', ' ', '\'']) && !keyword.to_lowercase().starts_with("proxy");
        let value = if quoted { format!("\"{value}\"") } else { value.to_owned() };
        let between = self.one(&[" ", " ", "  ", "\t", "=", " = "]);
        let end = self.one(&["\n", "\n", "\n", " \n", "\r\n"]);
        text.push_str(&format!("{indent}{keyword}{between}{value}{end}"));
    }
}
