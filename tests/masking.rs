//! Secrets as real tools print them, and where a limit cuts them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use pitcrew::text::redact::{MASK, Redactor};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// Programs that print the value of `$SECRET` in some spelling: the tool, and its arguments.
const SPELLINGS: [(&str, &[&str]); 27] = [
    ("sh", &["-c", "printf %s \"$SECRET\" | base64 -w 0"]),
    ("sh", &["-c", "printf %s \"$SECRET\" | base64 -w 20"]),
    ("sh", &["-c", "printf %s \"x$SECRET\" | base64"]),
    ("sh", &["-c", "printf %s \"xy$SECRET and more\" | base64"]),
    ("sh", &["-c", "set -x; : \"$SECRET\" 2>&1"]),
    ("bash", &["-c", "printf '%q\\n' \"$SECRET\""]),
    ("bash", &["-c", "set -x; : \"$SECRET\" 2>&1"]),
    ("bash", &["-c", "declare -p SECRET"]),
    ("xxd", &["-p"]),
    ("jq", &["-n", "env.SECRET"]),
    ("jq", &["-nc", "{a: {b: [env.SECRET | tojson]}}"]),
    ("jq", &["-nr", "env.SECRET | @uri, @html, @sh, @base64, @csv \"\\([.])\""]),
    ("python3", &["-c", "import os; print(repr(os.environ['SECRET']))"]),
    ("python3", &["-c", "import os; print(ascii(os.environ['SECRET']), os.environb[b'SECRET'])"]),
    ("python3", &["-c", "import os, json; print(json.dumps({'a': os.environ['SECRET']}))"]),
    ("python3", &["-c", "import os, json; print(json.dumps(json.dumps(os.environ['SECRET'])))"]),
    ("python3", &["-c", "import os, urllib.parse as u; print(u.quote(os.environ['SECRET'], safe=''))"]),
    ("python3", &["-c", "import os, urllib.parse as u; print(u.urlencode({'a': os.environ['SECRET']}))"]),
    (
        "python3",
        &["-c", "import os, shlex, html; print(shlex.quote(os.environ['SECRET']), html.escape(os.environ['SECRET']))"],
    ),
    (
        "python3",
        &["-c", "import os, base64; print(base64.urlsafe_b64encode(b'user:' + os.environb[b'SECRET']).decode())"],
    ),
    ("ruby", &["-e", "p ENV['SECRET']; puts ENV['SECRET'].dump"]),
    (
        "ruby",
        &[
            "-r",
            "json",
            "-e",
            "puts JSON.generate([ENV['SECRET']], script_safe: true), ENV.to_h.slice('SECRET').inspect",
        ],
    ),
    (
        "ruby",
        &[
            "-r",
            "cgi",
            "-r",
            "shellwords",
            "-e",
            "puts CGI.escape(ENV['SECRET']), CGI.escapeHTML(ENV['SECRET']), ENV['SECRET'].shellescape",
        ],
    ),
    // As Rails and Go write JSON that may stand in HTML.
    (
        "ruby",
        &[
            "-r",
            "json",
            "-e",
            "puts ENV['SECRET'].to_json.gsub(/[&<>\\u2028\\u2029]/) { |c| format('\\\\u%04x', c.ord) }",
        ],
    ),
    ("ruby", &["-r", "yaml", "-e", "puts({ 'a' => ENV['SECRET'] }.to_yaml(line_width: -1))"]),
    (
        "node",
        &["-e", "const s = process.env.SECRET; console.log(JSON.stringify(s), [s], encodeURIComponent(s), escape(s))"],
    ),
    ("perl", &["-e", "my $s = $ENV{SECRET}; $s =~ s/(\\W)/sprintf('%%%02x', ord $1)/ge; print $s"]),
];

fn printed(program: &str, arguments: &[&str], secret: &str) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("SECRET", secret)
        .env("LANG", "C.UTF-8")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // Some read it there, and others are gone before.
    let _ = child.stdin.take()?.write_all(secret.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

/// Undoes what a person would who looks for the secret in what is shown.
fn has_leaked(shown: &str, secret: &str) -> bool {
    let secret: Vec<char> = secret.chars().collect();
    secret.windows(5).any(|part| {
        let part: String = part.iter().collect();
        // What is common to many texts gives nothing away.
        part.chars().filter(char::is_ascii_alphanumeric).count() >= 4 && shown.contains(&part)
    })
}

fn secrets() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let drawn =
        "[A-Za-z0-9&<>/+ '\"%=?:@#$é\\\\!.-]{3}[A-Za-z0-9]{5}[A-Za-z0-9&<>/+ '\"%=?:@#$é\\\\!-]{4,20}[A-Za-z0-9]";
    let drawn = drawn.prop_map(|secret: String| format!("q{secret}"));
    let mut all: Vec<String> = (0..6).map(|_| drawn.new_tree(&mut runner).unwrap().current()).collect();
    all.push("p&ss<w>/'rd\"\\+é%41 $HOME`x`".into());
    all.push("s3cr3t&hunter22".into());
    all
}

#[test]
fn no_tool_prints_a_secret_past_the_mask() {
    let (mut asked, mut failed) = (0, Vec::new());
    for secret in secrets() {
        let redactor = Redactor::new([&secret]);
        for (program, arguments) in SPELLINGS {
            let Some(text) = printed(program, arguments, &secret) else { continue };
            asked += 1;
            let shown: Vec<String> = text.lines().map(|line| redactor.line(line)).collect();
            let shown = shown.join("\n");
            // Of each word that the mask has broken, less is left than a word of the secret.
            let rests = shown.split(MASK).flat_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()));
            let longest = rests.map(str::len).max().unwrap_or_default();
            if !shown.contains(MASK) || has_leaked(&shown, &secret) || longest >= 14 {
                failed.push(format!("{secret:?} by {program} {arguments:?}: {text} -> {shown}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(asked >= 80, "{asked}");
}

/// `Authorization: Basic …` of users whose names have any length, and a password in a URL.
#[test]
fn curl_shows_no_password() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 4096]);
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    for user in ["u", "us", "use", "user"] {
        let secret = "s3cr3t-hunter22";
        let url = format!("http://127.0.0.1:{port}/?token={secret}");
        let Some(text) = printed("curl", &["-sv", "-u", &format!("{user}:{secret}"), &url], secret) else { return };
        let basic = text.lines().find(|line| line.contains("Authorization: Basic")).unwrap();
        let shown = Redactor::new([secret]).line(basic);
        let (_, sent) = shown.split_once("Basic ").unwrap();
        assert!(sent.contains(MASK) && sent.replace(MASK, "").len() <= 10, "{basic} -> {shown}");
        let shown = Redactor::new([secret]).text(&text);
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

/// A key with its lines as they stand, in base64, with escaped line ends, and by one of its lines.
#[test]
fn each_line_of_a_key_is_masked() {
    let body: Vec<String> =
        (0..8).map(|n| format!("{n}MIIEvQIBADANBgkqhkiG9w0BAQEFAASC{n}KcwggSjAgEAAoIBAQDx/{n}yz")).collect();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", body.join("\n"));
    let redactor = Redactor::new([key.as_str()]);
    let words = |text: &str| text.contains("MII") || text.contains("KcwggSj");
    for (program, arguments) in [
        ("cat", &[][..]),
        ("base64", &[]),
        ("base64", &["-w", "64"]),
        ("base64", &["-w", "0"]),
        ("jq", &["-Rs", "."]),
        ("sh", &["-c", "sed 's/^/  | /'"]),
        ("sh", &["-c", "while read -r line; do printf '%s' \"$line\" | base64; done"]),
        ("sh", &["-c", "(printf 'user:'; cat) | base64"]),
        ("xxd", &["-p"]),
    ] {
        let Some(text) = printed(program, arguments, &key) else { continue };
        for line in text.lines().filter(|line| line.trim().len() > 12) {
            let shown = redactor.line(line);
            assert!(shown.contains(MASK) && !words(&shown), "{program} {arguments:?}: {line} -> {shown}");
            let longest = shown.split(MASK).map(str::len).max().unwrap();
            assert!(longest < 14, "{program} {arguments:?}: {line} -> {shown}");
        }
    }
}

/// Lines are cut at a length; half of a secret must not stand there.
#[test]
fn a_cut_leaves_no_half_of_a_secret() {
    let secret = "hunter2&correct-horse";
    let redactor = Redactor::new([secret]);
    for spelled in [secret, "hunter2\\u0026correct-horse", "hunter2%26correct-horse", "aHVudGVyMiZjb3JyZWN0LWhvcnNl"] {
        for shown in 4..spelled.len() {
            let line = format!("{}{}", " ".repeat(8 * 1024 - shown), &spelled[..shown]);
            let masked = redactor.line(&line);
            assert!(!masked.contains(&spelled[..4]), "{spelled} after {shown}: {}", masked.trim_start());
            let body = format!("the answer: {}", &spelled[..shown]);
            let masked = redactor.beginning(&body);
            assert!(!masked.contains(&spelled[..4]), "{spelled} after {shown}: {masked}");
        }
    }
    // A line that was not cut shows what only looks alike.
    assert_eq!(redactor.line("the hunt"), "the hunt");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Each byte in a way of its own.
    #[test]
    fn mixed_spellings_are_masked(secret in "[a-zé&/'\"% ]{6,12}", ways in prop::collection::vec(0..6usize, 12)) {
        let secret = secret.trim();
        prop_assume!(secret.chars().count() >= 4);
        let mut text = String::from("x ");
        for (c, way) in secret.chars().zip(ways) {
            match way {
                0 => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                1 => c.to_string().bytes().for_each(|b| text.push_str(&format!("%{b:02X}"))),
                2 => text.push_str(&format!("&#{};", u32::from(c))),
                3 => c.to_string().bytes().for_each(|b| text.push_str(&format!("\\x{b:02x}"))),
                4 if !c.is_alphabetic() => text.push_str(&format!("\\{c}")),
                _ => text.push(c),
            }
        }
        let masked = Redactor::new([secret]).text(&format!("{text} y"));
        prop_assert!(masked.starts_with("x") && masked.ends_with(" y") && masked.contains(MASK), "{} -> {}", text, masked);
        prop_assert!(masked.len() <= MASK.len() + 5, "{} -> {}", text, masked);
    }
}

/// Whatever hostile text stands around, masking ends soon: in another way this would take minutes.
#[test]
fn hostile_text_costs_little() {
    let redactor = Redactor::new(["\\\\\\\\\\\\\\\\", "''''''''", "%25%25%25", "&amp;&amp;"]);
    for one in ["\\", "'", "%25", "&amp;", "\\u005c", "\\'", "&amp;amp;"] {
        redactor.line(&one.repeat(8 * 1024 / one.len()));
    }
}
