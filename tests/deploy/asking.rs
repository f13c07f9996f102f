//! Health asked by a command, which the exec that stands ready runs.

use pitcrew::demo::{Sample, WebKind};

use crate::deploy::stack::{Stack, of, spans};

/// A profile whose health check is this command.
fn asking(command: &str) -> String {
    format!("[profiles.asking.health]\ncommand = '''{command}'''\ntimeout = \"2s\"\nwithin = \"20s\"\nsuccesses = 1\n")
}

fn sleepers(stack: &Stack) -> Vec<String> {
    let all = (0..stack.fleet.servers().len()).flat_map(|i| stack.fleet.processes(i));
    all.map(|p| p.command).filter(|c| c.contains("sleep 301")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_says_that_all_is_well() {
    // What it needs is there: the directory, the environment, no input, and nobody else's functions.
    let command = "[ -e REVISION ] && [ \"$MOOD\" = \"it's fine\" ] && ! read -r line && ! say hello 2>/dev/null";
    let stack = Stack::serving(2, WebKind::Reload, &format!("env.MOOD = \"it's fine\"\n{}", asking(command))).await;
    let since = stack.now();
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "-p", "asking"]).await.expect(0);
    stack.assert_all("1");
    let records = stack.fleet.log().since(since);
    assert_eq!(of(&spans(&records), "check").len(), 2, "one command a server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_hangs_is_ended_and_asked_again() {
    // Another exec asks again: the one that stood ready was ended with the command.
    let command = "[ -e ../../asked ] || { touch ../../asked; sleep 301; }";
    let stack = Stack::serving(2, WebKind::Restart, &asking(command)).await;
    stack.release(&Sample::good("1"));
    let since = stack.now();
    stack.run(&["deploy", "-p", "asking"]).await.expect(0);
    stack.assert_all("1");
    assert_eq!(sleepers(&stack), [""; 0]);
    let records = stack.fleet.log().since(since);
    assert_eq!(of(&spans(&records), "check").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_takes_the_release_back_and_is_shown() {
    let command = "echo \"the queue is stuck\"; [ \"$(cat REVISION)\" = \"$(cat ../../wanted)\" ]";
    let extra = asking(command).replace("20s", "3s");
    let stack = Stack::serving(2, WebKind::Reload, &extra).await;
    for index in 0..2 {
        let site = stack.fleet.deploy_to(index);
        std::fs::copy(site.join("current/REVISION"), site.join("wanted")).unwrap();
    }
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "-p", "asking"]).await.expect(1);
    assert!(ran.printed().contains("the queue is stuck"), "{ran}");
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reads_the_release_in_a_deploy_on_the_way_back_and_outside_runs() {
    let asks =
        "[ \"$(basename \"$(readlink ../../current)\")\" = \"$PITCREW_RELEASE\" ] && [ -n \"$PITCREW_REVISION\" ]";
    let name = "[ -n \"$PITCREW_SERVER\" ] && [ -n \"$PITCREW_SERVERS\" ] && ! grep -qx 2 VERSION";
    let extra = asking(&format!("{asks} && {name}")).replace("20s", "2s");
    let stack = Stack::serving(2, WebKind::Reload, &extra).await;
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "-p", "asking"]).await.expect(0);
    stack.run(&["status", "-p", "asking"]).await.expect(0);
    stack.run(&["lb", "status", "-p", "asking"]).await.expect(0);
    let server = stack.fleet.servers()[0].ip().to_string();
    stack.run(&["lb", "drain", "-p", "asking", &server]).await.expect(0);
    stack.run(&["lb", "restore", "-p", "asking", &server]).await.expect(0);
    stack.assert_in_service();
    stack.release(&Sample::good("2"));
    stack.run(&["deploy", "-p", "asking"]).await.expect(1);
    stack.assert_all("1");
    stack.assert_unlocked();
}
