//! What `lb` may say, and what a server may say of itself.

use super::*;

#[test]
fn an_lb_is_read() {
    let ip = |s: &str| s.parse::<IpAddr>().unwrap();
    for (text, expected) in [
        ("i-0abc123", LbId::Instance("i-0abc123".into(), None)),
        ("i-0abc123:8080", LbId::Instance("i-0abc123".into(), Some(8080))),
        ("10.0.0.4", LbId::Address(ip("10.0.0.4"), None)),
        ("10.0.0.4:80", LbId::Address(ip("10.0.0.4"), Some(80))),
        ("fd00::4", LbId::Address(ip("fd00::4"), None)),
        ("[fd00::4]:80", LbId::Address(ip("fd00::4"), Some(80))),
        ("web1", LbId::Name),
        ("i-", LbId::Name),
        ("i-xyz", LbId::Name),
        ("i-0abc:99999", LbId::Name),
        ("i-0abc:", LbId::Name),
    ] {
        assert_eq!(LbId::read(text), expected, "{text}");
    }
}

#[test]
fn what_a_server_tells_is_taken_only_where_it_can_be_true() {
    let answer = |key: &str, value: &str| Answer { key: key.into(), value: value.into() };
    let told = Claims::of(&[
        answer("instance", "i-0a; rm"),
        answer("address", "127.0.0.1"),
        answer("address", "10.0.0.4"),
        answer("address", "nonsense"),
        answer("why", "no answer"),
    ]);
    assert_eq!(told, Claims { instance: None, why: "no answer".into(), addresses: vec!["10.0.0.4".parse().unwrap()] });
    assert_eq!(Claims::of(&[answer("instance", "i-0a1")]).instance.as_deref(), Some("i-0a1"));
}
