//! Answers of the probe as facts: sorted, whole, and strange ones refused.

use super::*;
use proptest::prelude::*;

fn answers(lines: &[(&str, &str)]) -> Vec<Answer> {
    lines.iter().map(|(k, v)| Answer { key: (*k).into(), value: (*v).into() }).collect()
}

const LEAST: [(&str, &str); 3] = [("root", "/srv/shop"), ("time", "1795423815"), ("done", "")];

fn with(more: &[(&str, &str)]) -> Result<ServerFacts, String> {
    ServerFacts::read(&answers(&[&LEAST[..], more].concat()))
}

#[test]
fn releases_are_sorted_and_have_states() {
    let facts = with(&[
        ("release", "20260102000000 good 0a1b2c"),
        ("release", "20260101000000 foreign "),
        ("current", "20260102000000"),
        ("lock", "held"),
        ("owner", "command=pitcrew deploy a=b"),
        ("age", "12"),
        ("process", "77 20260102000000"),
        ("process", "78 -"),
    ])
    .unwrap();
    let seen: Vec<_> = facts.releases.iter().map(|r| (r.id.as_str(), r.state, r.revision.is_some())).collect();
    assert_eq!(seen, [("20260101000000", ReleaseState::Foreign, false), ("20260102000000", ReleaseState::Good, true)]);
    let lock = facts.lock.unwrap();
    assert_eq!((lock.age, lock.owner["command"].as_str()), (Some(12), "pitcrew deploy a=b"));
    assert_eq!(facts.processes.iter().filter(|p| p.release.is_some()).count(), 1);
}

#[test]
fn half_an_answer_is_refused() {
    for missing in 0..LEAST.len() {
        let mut lines = LEAST.to_vec();
        let (key, _) = lines.remove(missing);
        assert!(ServerFacts::read(&answers(&lines)).is_err(), "{key}");
    }
    assert!(with(&[("fail", "bad_root no HOME")]).unwrap_err().contains("no HOME"));
}

#[test]
fn a_cache_that_cannot_be_read_is_none() {
    let tree = "0123456789abcdef".repeat(4);
    let cache = |value: &str| with(&[("cache", value)]).unwrap().cache;
    assert_eq!(cache(&format!("{tree} 512")), Some(CacheFacts { tree: tree.clone(), kb: 512 }));
    assert_eq!(cache(&format!("{tree} lots")), Some(CacheFacts { tree: tree.clone(), kb: 0 }));
    for odd in ["", "0123", &tree.to_uppercase(), "../../../etc 1"] {
        assert_eq!(cache(odd), None, "{odd}");
    }
}

#[test]
fn how_a_server_stood_before_it_was_taken_out_is_what_was_recorded_of_where_it_is_out_now() {
    let place = |at: &str, admin| MemberFacts { at: at.into(), admin, ..MemberFacts::default() };
    let stood = |own: &ServerFacts, now: &[MemberFacts]| {
        before(Some(own), now).into_iter().map(|m| (m.at, m.admin, m.agent)).collect::<Vec<_>>()
    };
    let (ready, maint, drain) = (Admin::Ready, Admin::Maint, Admin::Drain);
    let with_agent = MemberFacts { agent: true, ..place("a", ready) };
    let found = vec![with_agent, place("b", drain), place("gone", ready)];
    let recorded = ServerFacts { taken_out: Some(TakenOut { found, ..TakenOut::default() }), ..ServerFacts::default() };
    let now = [place("a", maint), place("b", maint), place("c", maint)];
    let expected = [
        ("a".to_owned(), ready, true),
        ("b".to_owned(), drain, false),
        // There is no record of why it is out there.
        ("c".to_owned(), maint, false),
        ("gone".to_owned(), ready, false),
    ];
    assert_eq!(stood(&recorded, &now), expected);
    // It came back there by other ways: that is how it stands.
    assert_eq!(stood(&recorded, &[place("b", ready)])[0], ("b".to_owned(), ready, false));
    let left = ServerFacts { behind: Some("run-1 drained".into()), ..ServerFacts::default() };
    assert_eq!(stood(&left, &[place("a", maint)]), [("a".to_owned(), ready, true)]);
    // The journal of that run tells of each place.
    let found = Snapshot { members: vec![place("a", maint), place("b", ready)] };
    let told = format!("7 drain {}", serde_json::to_string(&found).unwrap());
    let left = with(&[("behind", "run-1 drained"), ("found", "6 transfer x"), ("found", &told)]).unwrap();
    let now = [place("a", maint), place("b", maint), place("c", maint)];
    let expected = [("a".to_owned(), maint, false), ("b".to_owned(), ready, false), ("c".to_owned(), ready, true)];
    assert_eq!(stood(&left, &now), expected);
    assert_eq!(stood(&ServerFacts::default(), &[place("a", maint)]), [("a".to_owned(), maint, false)]);
    assert_eq!(before(None, &[place("a", maint)]), [place("a", maint)]);
}

#[test]
fn a_strange_answer_names_itself() {
    for (key, value) in
        [("time", "noon"), ("current", "../../etc"), ("release", "x good y"), ("process", "-1 x"), ("age", "-3")]
    {
        let said = with(&[(key, value)]).unwrap_err();
        assert!(said.contains(key), "{said}");
    }
    assert!(with(&[("colour", "blue")]).is_ok());
}

proptest! {
    #[test]
    fn nothing_a_server_says_panics(lines in proptest::collection::vec(("[a-z_]{0,9}|time|release|process|owner|age", ".{0,30}"), 0..20)) {
        let lines: Vec<_> = lines.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let _ = with(&lines);
        let _ = LockFacts::read(&answers(&lines));
    }
}
