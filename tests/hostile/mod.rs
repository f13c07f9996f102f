//! A server that lies stands between two honest ones: in every verb these end as if it were not there.
//!
//! `PITCREW_HOSTILE=all cargo test --test embedded hostile -- --include-ignored` tries every lie in every verb, which takes
//! minutes; by default some lies meet the verbs that do most.

use pitcrew::demo::{FleetOptions, Sample, WebKind};

use crate::deploy::stack::{PITCREW, Ran, Stack};

/// The one of three servers that lies.
const LIAR: usize = 1;
const HONEST: [usize; 2] = [0, 2];

/// Three servers that serve release 0, of which one lies from now on, as `login.sh` has it.
async fn stack(lie: &str) -> Stack {
    let mut options = FleetOptions::new(PITCREW);
    options.servers = 3;
    options.web = WebKind::Reload;
    options.shell = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/login.sh").to_owned()];
    let stack = Stack::with(options, "ssh.connect_timeout = \"3s\"\ntimeouts.step = \"8s\"\n").await;
    stack.settle().await;
    tell(&stack, lie);
    stack
}

fn tell(stack: &Stack, lie: &str) {
    std::fs::write(stack.fleet.servers()[LIAR].home().join("lie"), format!("{lie}\n")).unwrap();
}

/// What an operator may run with such a server in the file, and what it is to do.
const VERBS: [(&[&str], Honest); 12] = [
    (&["check"], Honest::AreTold),
    (&["deploy", "--parallel"], Honest::AreAlike),
    (&["deploy", "--except"], Honest::GetIt(0)),
    (&["deploy", "--skip-unreachable"], Honest::GetIt(3)),
    (&["status"], Honest::AreTold),
    (&["releases"], Honest::AreAlike),
    (&["lb", "status"], Honest::AreTold),
    (&["deploy", "--serial"], Honest::AreAlike),
    (&["rollback"], Honest::AreAlike),
    (&["recover"], Honest::AreAlike),
    (&["lock", "--reason", "audit"], Honest::AreAlike),
    (&["unlock"], Honest::AreAlike),
];

/// What becomes of the honest servers.
#[derive(Clone, Copy, PartialEq)]
enum Honest {
    /// The output has a line of each.
    AreTold,
    /// They end on one release.
    AreAlike,
    /// They get the new release, and the exit code is this, unless the liar speaks well enough not to be skipped.
    GetIt(i32),
}

/// How much of the story is told by default.
#[derive(Clone, Copy)]
enum Told {
    /// The first verbs.
    Four,
    /// Of one that takes its time, those that a limit could fail in.
    Two,
}

async fn story(lie: &str, speaks: bool, told: Told) {
    let verbs = match told {
        _ if std::env::var_os("PITCREW_HOSTILE").is_some() => &VERBS[..],
        Told::Four => &VERBS[..4],
        Told::Two => &VERBS[1..3],
    };
    let stack = stack(lie).await;
    let ip = |index: usize| stack.fleet.servers()[index].ip().to_string();
    for (number, (line, honest)) in verbs.iter().enumerate() {
        let release = (number + 1).to_string();
        stack.release(&Sample::good(&release));
        let liar = ip(LIAR);
        let mut line = line.to_vec();
        if line.ends_with(&["--except"]) {
            line.push(&liar);
        }
        let ran = stack.run(&line).await;
        assert_tame(&ran);
        assert!(ran.code == 0 || ran.printed().contains(&liar), "{lie}, {line:?}: the liar is named: {ran}");
        let versions = stack.versions();
        match honest {
            Honest::AreTold => {
                assert!(HONEST.iter().all(|i| ran.printed().contains(&ip(*i))), "{lie}, {line:?}: {ran}");
            }
            Honest::GetIt(code) if !speaks || *code == 0 => {
                assert_eq!(ran.code, *code, "{lie}, {line:?}: {ran}");
                assert!(HONEST.iter().all(|i| versions[*i] == release), "{lie}, {line:?}: {versions:?} {ran}");
            }
            Honest::GetIt(_) | Honest::AreAlike => {}
        }
        assert_eq!(versions[HONEST[0]], versions[HONEST[1]], "{lie}, {line:?}: {ran}");
        for index in HONEST.into_iter().filter(|_| line[0] != "lock") {
            assert!(!stack.fleet.lock_present(index), "{lie}, {line:?}: {} is locked: {ran}", ip(index));
        }
    }
    // Once it tells the truth, all is well without more.
    tell(&stack, "");
    stack.run(&["unlock", "--force"]).await;
    stack.release(&Sample::good("last"));
    let ran = stack.run(&["deploy", "--parallel"]).await;
    assert_eq!(ran.code, 0, "{lie}: {ran}");
    stack.assert_all("last");
}

/// Nothing in it moves a cursor, and it is no flood.
fn assert_tame(ran: &Ran) {
    let text = ran.printed();
    let bad = text.chars().find(|c| c.is_control() && *c != '\n');
    assert!(bad.is_none() && text.len() < 100_000, "{bad:?} in {} bytes: {ran}", text.len());
}

/// Its lock is taken over, and named as another's again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_never_ends_ends_a_recovery() {
    let stack = stack("locked").await;
    let ran = stack.run(&["recover", "--force"]).await;
    assert_tame(&ran);
    let liar = stack.fleet.servers()[LIAR].ip().to_string();
    assert!(ran.code == 3 && ran.printed().contains(&format!("{liar} still names another holder")), "{ran}");
    assert!(HONEST.iter().all(|i| !stack.fleet.lock_present(*i)), "{ran}");
}

macro_rules! lies {
    ($($(#[$meta:meta])* $lie:ident: $speaks:literal, $told:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        $(#[$meta])*
        async fn $lie() {
            story(stringify!($lie), $speaks, Told::$told).await;
        }
    )*};
}
lies! {
    #[ignore = "like one that refuses"]
    echoes: false, Four;
    floods: false, Two;
    #[ignore = "like a flood"]
    one_line: false, Two;
    #[ignore = "like one that refuses"]
    agrees: false, Four;
    refuses: false, Four;
    #[ignore = "takes its time, as the limits of other tests do"]
    hangs: false, Two;
    #[ignore = "like one that paints"]
    forgets: false, Four;
    dates: true, Four;
    paints: false, Four;
    #[ignore = "nothing fails"]
    repeats: true, Four;
}
