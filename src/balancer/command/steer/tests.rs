//! Commands of a test's own, on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::balancer::{Balancer, Snapshot, testing};
use crate::config::BalancerKind;
use crate::name::ServerName;
use crate::text::redact::Redactor;

fn server(name: &str) -> Server {
    Server {
        name: ServerName(format!("{name}.example.com")),
        host: format!("{name}.example.com"),
        user: None,
        port: None,
        roles: vec!["web".into()],
        lb: vec![name.into()],
        line: 1,
    }
}

fn balancer(dir: &Path, status: &str) -> Balancer {
    let commands = SteeringCommands {
        drain:
            "env | grep -E '^(PITCREW_[A-Z]*|TOKEN)=' | grep -v ^PITCREW_COMMAND= | sort >>env; touch out.$PITCREW_LB; echo $PITCREW_ACTION >>log"
                .into(),
        status: status.into(),
        restore: "rm -f out.$PITCREW_LB; echo $PITCREW_ACTION >>log".into(),
        run_on: None,
    };
    let config = testing::config(BalancerKind::Command(commands));
    let around = Around {
        app: "shop".into(),
        base: dir.into(),
        servers: vec![server("web1"), server("web2")],
        env: vec![("TOKEN".into(), "it's a\nsecret".into())],
        redactor: Redactor::new(["it's a\nsecret"]),
        ..Around::default()
    };
    Balancer::new(&config, around).unwrap()
}

const STATUS: &str = "[ -e out.$PITCREW_LB ] && exit 196; echo 0; exit 193";

#[tokio::test]
async fn commands_take_a_server_out_and_put_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = balancer(dir.path(), STATUS);
    let found = Snapshot { members: balancer.facts(&["web1".into()]).await.unwrap() };
    let member = &found.members[0];
    assert_eq!((member.at.as_str(), member.status.as_str(), member.sessions), ("here", "in service", Some(0)));
    assert_eq!((member.others_in_service, member.size), (1, 2));
    let stop = CancellationToken::new();
    let drained = balancer.drain("web1", &found, &mut |_| {}, &stop).await.unwrap();
    assert_eq!(drained.left, Some(0));
    assert!(dir.path().join("out.web1").exists() && balancer.still_out("web1").await.unwrap());
    balancer.restore("web1", &found, &mut |_| {}, &stop).await.unwrap();
    assert!(!dir.path().join("out.web1").exists());
    let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("log"), "drain\nrestore\n");
    assert_eq!(
        read("env"),
        "PITCREW_ACTION=drain\nPITCREW_APP=shop\nPITCREW_HOST=web1.example.com\nPITCREW_LB=web1\n\
         PITCREW_SERVER=web1.example.com\nTOKEN=it's a\n"
    );
}

#[tokio::test]
async fn only_the_agreed_statuses_say_how_a_server_stands() {
    for (status, expected) in [
        ("echo 7; exit 193", Ok((Admin::Ready, true, Some(7), "in service"))),
        ("exit 194", Ok((Admin::Ready, false, None, "not healthy yet"))),
        ("echo noise; echo 12; exit 195", Ok((Admin::Drain, false, Some(12), "draining"))),
        ("printf 'by\\033[31m hand\\n\\n'; exit 196", Ok((Admin::Maint, false, None, "out: by hand"))),
        ("true", Err("its `status` command ended with exit status 0")),
        ("echo no such host >&2; exit 1", Err("its `status` command ended with exit status 1: no such host")),
        ("printf '?%s' \"$TOKEN\"; exit 193", Ok((Admin::Ready, true, None, "in service: ?[REDACTED]"))),
        (
            "echo \"asked /?token=$TOKEN\"; exit 22",
            Err("its `status` command ended with exit status 22: asked /?token=[REDACTED]"),
        ),
        ("kill -9 $$", Err("its `status` command was ended by signal KILL")),
        ("no-such-program", Err("its `status` command ended with exit status 127")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let facts = balancer(dir.path(), status).facts(&["web1".into()]).await;
        match (facts, expected) {
            (Ok(facts), Ok(expected)) => {
                let m = &facts[0];
                assert_eq!((m.admin, m.in_service, m.sessions, m.status.as_str()), expected, "{status}");
            }
            (Err(errors), Err(expected)) => {
                assert!(errors[0].detail().starts_with(expected), "{status}: {errors:?}");
                assert_eq!(errors[0].is_unreachable(), !status.starts_with("no-such"), "{status}");
            }
            (facts, _) => panic!("{status}: {facts:?}"),
        }
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_with_all_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("hang");
    std::fs::write(&script, "#!/bin/sh\nsleep 600 & echo $! >child\ntrap '' TERM\nwhile :; do sleep 1; done\n")
        .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let balancer = balancer(dir.path(), "[ $PITCREW_LB = web2 ] && exit 193; ./hang").within(Duration::from_secs(1));
    let errors = balancer.facts(&["web1".into()]).await.unwrap_err();
    assert!(errors[0].is_unreachable() && errors[0].detail().contains("within 1s"), "{errors:?}");
    let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
    let stat = format!("/proc/{}/stat", child.trim());
    let gone = || std::fs::read_to_string(&stat).map_or(true, |s| s.contains(") Z "));
    let ended = async {
        while !gone() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
}
