//! What is said to HAProxy, and what it says.

use super::*;

#[test]
fn an_answer_has_one_section_per_command() {
    assert_eq!(sections("\n", 1).unwrap(), [""]);
    assert_eq!(sections("No such server.\n\n\nadmin\n\n", 3).unwrap(), ["No such server.\n", "", "admin\n"]);
    assert!(sections("", 1).unwrap_err().contains("without an answer"));
    assert!(sections("1\n# be_id", 1).unwrap_err().contains("broke off"));
    assert!(sections("\n\n", 1).unwrap_err().contains("without an answer"));
    assert!(sections("a\n\nb\n\n", 1).unwrap_err().contains("no sense"));
}

#[test]
fn any_text_after_a_change_is_a_refusal() {
    assert_eq!(ChangeRefusal::read(""), None);
    assert_eq!(ChangeRefusal::read("\n"), None);
    for (text, hint) in [
        ("No such server.\n", "`lb`"),
        ("[3]:No such backend.\n", "`backends`"),
        ("Permission denied\n", "level admin"),
    ] {
        let refusal = ChangeRefusal::read(text).unwrap();
        assert!(refusal.to_string().contains(text.trim()) && refusal.hint().contains(hint), "{refusal:?}");
    }
    let other = ChangeRefusal::read("Unknown command, but\nmany more").unwrap();
    assert_eq!(other.to_string(), "it refused: `Unknown command, but`");
}

#[test]
fn only_names_that_haproxy_can_have_are_sent() {
    for good in ["web1", "a-b_c.d:e", "::1", "10.0.0.1"] {
        assert_eq!(name(good), Ok(()), "{good}");
    }
    for bad in ["", "a b", "a;b", "a/b", "a\nb", "a\0b", "é", "#1", "a\\b", "<<", &"x".repeat(257)] {
        assert!(name(bad).is_err(), "{bad}");
    }
    assert_eq!(ServerChange::Maint.command("shop", "web1"), "set server shop/web1 state maint");
    assert_eq!(ServerChange::KillSessions.command("shop", "web1"), "shutdown sessions server shop/web1");
}

#[test]
fn workers_that_were_replaced_are_listed() {
    let text = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
                13025           master          2 [failed: 0]   0d00h00m53s     2.6.12\n\
                # workers\n13805           worker          0               0d00h00m00s     2.6.12\n\
                # old workers\n13028           worker          1               0d00h00m40s     2.6.12\n\
                13011           worker          2               0d00h00m53s     2.6.12\n# programs\n";
    assert!(is_master(text));
    assert_eq!(old_workers(text), [13028, 13011]);
    assert_eq!(old_workers("# workers\n7 worker\n# programs\n"), [0; 0]);
    assert_eq!(line(&["a".into(), "b".into()], Listener::Old(7)), "@!7 a;@!7 b;quit\n");
}

#[test]
fn sessions_with_a_server_are_ended_one_by_one() {
    let text = "0x55d5539a3ad0: proto=unix_stream src=unix:1 fe=f be=shop srv=web1 ts=00 epoch=0 age=5s\n\
                0x7fe54c039e60: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n\
                0x1: proto=tcpv4 fe=f be=shop srv=web10 ts=00\n0x2: fe=f be=other srv=web1 ts=00\nodd;quit: be=shop srv=web1\n";
    assert_eq!(end_sessions(text, "shop", "web1"), ["shutdown session 0x55d5539a3ad0"]);
}

#[test]
fn backends_are_listed() {
    assert_eq!(backends("# name\nweb\nother\n"), ["web", "other"]);
    assert!(backends("Permission denied\n").is_empty());
}
