//! What a journal and a lock say of a dead run.

use super::*;

const OLD: &str = "20260101000000";
const NEW: &str = "20260102000000";

fn id(text: &str) -> ReleaseId {
    ReleaseId::parse(text).unwrap()
}

fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(|l| format!("1795423815 {l}")).collect()
}

fn left(journal: &[&str], current: &str, out: Option<bool>) -> (bool, bool, Record) {
    let name = ServerName("web1".into());
    let intent = Intent {
        verb: Verb::Deploy,
        strategy: Strategy::Serial,
        on_failure: OnFailure::Revert,
        release: id(NEW),
        revision: Revision("abc".into()),
        batch: Some(0),
        previous: Some(id(OLD)),
        who: "ann".into(),
        migrate_on: None,
        server: Some(name.clone()),
        servers: Vec::new(),
    };
    let current = id(current);
    let journal = Journal::read(&lines(journal));
    let left = Left {
        name: &name,
        intent,
        journal,
        current: Some(&current),
        proves: true,
        asked: false,
        alone: false,
        healthy: false,
        out,
    };
    (left.is_new(), left.is_old(), left.record(false))
}

#[test]
fn what_was_proven_once_is_asked_again() {
    let (switch, restart, proven) = (format!("switch {OLD} {NEW}"), format!("restart {NEW}"), format!("proven {NEW}"));
    let name = ServerName("web1".into());
    let current = id(NEW);
    for healthy in [false, true] {
        let left = Left {
            name: &name,
            intent: Intent {
                batch: Some(0),
                release: id(NEW),
                ..Intent::of(&Wreck::of_nothing(&[]).plan, &name, "ann")
            },
            journal: Journal::read(&lines(&[&switch, &restart, &proven])),
            current: Some(&current),
            proves: true,
            asked: true,
            alone: false,
            healthy,
            out: Some(false),
        };
        assert!(left.is_in_place() && left.is_new() == healthy);
    }
}

#[test]
fn the_journal_says_how_far_a_server_got() {
    let drain = r#"drain {"members":[]}"#;
    let switch = format!("switch {OLD} {NEW}");
    let (restart, proven) = (format!("restart {NEW}"), format!("proven {NEW}"));
    let all = ["transfer x", drain, &switch, &restart, &proven];
    assert!(left(&all, NEW, Some(false)).0, "restored");
    assert!(!left(&all, NEW, Some(true)).0, "still out");
    assert!(!left(&all, OLD, Some(false)).0, "it was switched since");
    assert!(!left(&all[..4], NEW, Some(false)).0, "never proven");
    let record = left(&all[..3], NEW, Some(true)).2;
    assert!(record.prepared && record.drained && !record.restored && !record.restarted && record.locked);
    assert_eq!(record.switched, Some(Switched { from: Some(id(OLD)), to: id(NEW) }));
    // What is not known is taken for served: it is drained before its processes are touched.
    assert!(left(&all, NEW, None).2.restored);
}

#[test]
fn what_was_taken_back_is_left_alone_only_when_that_was_proven() {
    let back = [
        format!("switch {OLD} {NEW}"),
        format!("restart {NEW}"),
        format!("switch {NEW} {OLD}"),
        format!("restart {OLD}"),
        format!("proven {OLD}"),
    ];
    let back: Vec<&str> = back.iter().map(String::as_str).collect();
    assert!(left(&back, OLD, None).1);
    assert!(!left(&back[..4], OLD, None).1);
    assert!(!left(&back, NEW, None).1);
    assert!(!left(&back[..2], NEW, None).1);
}

#[test]
fn the_first_finding_of_a_drain_stands_and_rubbish_is_passed_over() {
    let first = Snapshot { members: vec![MemberFacts { at: "unix:///a".into(), ..MemberFacts::default() }] };
    let words = Journal::drain(&first);
    let journal = Journal::read(&lines(&[&words, "drain {}", "", "switch", "what ever", "proven x"]));
    assert_eq!(journal.drained, Some(Some(first)));
    assert_eq!(journal.switches, [(None, None)]);
    assert_eq!(Journal::read(&lines(&["drain {broken"])).drained, Some(None));
    let later = Snapshot { members: vec![MemberFacts { admin: Admin::Maint, ..MemberFacts::default() }] };
    let journal = Journal::read(&lines(&[&words, &Journal::found_since(&later), &words, "found {broken"]));
    assert_eq!(journal.drained, Some(Some(later)), "it was back in between");
    assert_eq!(Journal::read(&["".into(), "x".into()]), Journal::default());
}

#[test]
fn an_intent_is_one_line_that_reads_back() {
    let wreck = Wreck::of_nothing(&[ServerName("web1".into())]);
    let intent = Intent::of(&wreck.plan, &ServerName("web1".into()), "ann\n\"x\"");
    assert!(!intent.line().contains('\n'));
    assert_eq!(Intent::read(&["rubbish".into(), intent.line()]), Some(intent));
}
