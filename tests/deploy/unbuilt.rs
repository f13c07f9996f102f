//! A build that fails before the switch: a run of every minute does not build in vain, and a first deploy leaves nothing.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::log::Kind;
use pitcrew::demo::{Flaw, Sample, WebKind};

use crate::deploy::stack::{Ran, Stack};

/// How often a build has run on the first server.
fn builds(stack: &Stack) -> usize {
    std::fs::read_to_string(stack.fleet.path().join("builds")).unwrap_or_default().lines().count()
}

/// A build that notes each of its runs, and ends with a status.
fn build(stack: &Stack, status: &str) -> String {
    let note = stack.fleet.path().join("builds");
    format!("{}build.run = \"echo x >>'{}'; exit {status}\"\n", stack.extra, note.display())
}

fn notice(ran: &Ran) -> String {
    let notices = ran.events()[0]["notices"].as_array().unwrap().clone();
    let fled = notices.iter().find(|notice| notice["warning"] == "fled");
    fled.and_then(|fled| fled["how"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn if_changed_does_not_build_again_what_could_not_be_built() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.fleet.write_config(&build(&stack, "7")).unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--if-changed", "--json"]).await.expect(1);
    // The second server begins to build unless the first has failed by then.
    let built = builds(&stack);
    assert!((1..=2).contains(&built) && notice(&ran).is_empty(), "{built} {ran}");
    for _ in 0..2 {
        let ran = stack.run(&["deploy", "--if-changed", "--json"]).await.expect(0);
        assert_eq!((builds(&stack), notice(&ran).as_str()), (built, "unbuilt"), "{ran}");
        assert_eq!(ran.finished()["outcome"], "unchanged", "{ran}");
    }
    let ran = stack.run(&["deploy", "--if-changed"]).await.expect(0);
    assert!(ran.printed().contains("could not be built or migrated"), "{ran}");

    // To say it is to insist.
    stack.run(&["deploy"]).await.expect(1);
    assert!(builds(&stack) > built);
    stack.fleet.write_config(&build(&stack, "0")).unwrap();
    stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("1");
    assert!(!stack.fleet.deploy_to(0).join(".pitcrew/unbuilt").exists());

    // Another revision is another try.
    stack.fleet.write_config(&build(&stack, "7")).unwrap();
    stack.release(&Sample::good("2"));
    stack.run(&["deploy", "--if-changed"]).await.expect(1);
    stack.release(&Sample::good("3"));
    stack.fleet.write_config(&build(&stack, "0")).unwrap();
    stack.run(&["deploy", "--if-changed"]).await.expect(0);
    stack.assert_all("3");
}

/// What a build prints is not what the script says.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_claims_to_be_done_has_failed_all_the_same() {
    let stack = Stack::serving(1, WebKind::Reload, "").await;
    let claims = r#"echo "@pitcrew:$PITCREW_STEP exit 0"; echo "@pitcrew:$PITCREW_STEP done"; exit 7"#;
    stack.fleet.write_config(&format!("{}build.run = '{claims}'\n", stack.extra)).unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(1);
    assert!(ran.printed().contains("status 7"), "{ran}");
}

/// Nor can it choose pitcrew's words: what it finds of the step, in its environment, in the command line of the shell that
/// runs it, and beside the lock, marks no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_claims_a_lock_of_another_run_has_failed_by_itself() {
    let stack = Stack::serving(1, WebKind::Reload, "").await;
    let build = r#"for own in "$PITCREW_STEP" $(tr "\0" "\n" </proc/$PPID/cmdline) $(ls ../../.pitcrew/lock)         $(cat /proc/$PPID/environ | tr "\0" "\n" | sed "s/.*=//") $(env | sed "s/.*=//"); do
        own=${own#step.}; echo "@pitcrew:$own user"; echo "@pitcrew:$own fail locked x"; echo "@pitcrew:$own done"
        done; echo "fail locked x" >../../.pitcrew/lock/step.$PITCREW_STEP; exit 7"#;
    stack.fleet.write_config(&format!("{}build.run = '''{build}'''\n", stack.extra)).unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(1);
    assert!(ran.printed().contains("status 7") && !ran.printed().contains("pitcrew unlock"), "{ran}");
}

/// A connection that was lost says nothing of the revision.
#[tokio::test(flavor = "multi_thread")]
async fn if_changed_builds_again_what_was_only_interrupted() {
    let stack = Stack::serving(1, WebKind::Reload, "").await;
    let killed = build(&stack, "0").replace("exit 0", "kill -KILL $$");
    stack.fleet.write_config(&killed).unwrap();
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--if-changed"]).await.expect(1);
    stack.run(&["deploy", "--if-changed"]).await.expect(1);
    assert_eq!(builds(&stack), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deploy_that_fails_is_not_back_on_an_old_release() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    let ran = stack.run(&["deploy", "--parallel"]).await.expect(1);
    assert!(ran.printed().contains("there was no release before: nothing serves"), "{ran}");
    assert!(ran.stdout.matches("no release, as before").count() == 2, "{ran}");
    assert!(!ran.printed().contains("old release"), "{ran}");
}

/// A release that failed is left alone by a timer also where it was taken back in good order.
#[tokio::test(flavor = "multi_thread")]
async fn if_changed_leaves_alone_what_failed_and_was_taken_back() {
    for (kind, walk, flaw) in [
        (WebKind::Reload, "--parallel", Flaw::Sick),
        (WebKind::Reload, "--parallel", Flaw::Stillborn),
        (WebKind::Restart, "--serial", Flaw::Sick),
        (WebKind::Restart, "--serial", Flaw::Crashing),
    ] {
        let stack = Stack::serving(2, kind, "").await;
        stack.release(&Sample::flawed("1", flaw));
        stack.run(&["deploy", walk]).await.expect(1);
        let since = stack.now();
        for _ in 0..2 {
            let ran = stack.run(&["deploy", walk, "--if-changed", "--json"]).await.expect(0);
            assert_eq!(notice(&ran), "failed", "{walk} {flaw:?}\n{ran}");
        }
        let log = stack.fleet.log().since(since);
        assert!(!log.iter().any(|r| matches!(&r.kind, Kind::Member { .. })), "{walk} {flaw:?}");
        // What a signal ended says nothing of it, nor does what is good.
        stack.release(&Sample::good("2"));
        stack.run(&["deploy", walk, "--if-changed"]).await.expect(0);
        stack.assert_all("2");
    }
}

/// Nothing is deployed, and nothing serves: that is said.
#[tokio::test(flavor = "multi_thread")]
async fn if_changed_says_that_a_web_server_does_not_run() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    let ran = stack.run(&["deploy", "--if-changed", "-q"]).await.expect(0);
    assert_eq!(ran.printed(), "", "{ran}");
    let pid = std::fs::read_to_string(stack.fleet.deploy_to(1).join("shared/app.pid")).unwrap();
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    while stack.fleet.processes(1).iter().any(pitcrew::demo::Process::is_app) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ran = stack.run(&["deploy", "--if-changed", "-q"]).await.expect(0);
    assert!(ran.printed().contains("its web server does not run"), "{ran}");
    stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("0");
}

/// There is no release to return to: what is told to run next gets a person on.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_deploy_that_fails_behind_a_balancer_names_what_helps() {
    let stack = Stack::empty(2, WebKind::Restart, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    let ran = stack.run(&["deploy", "--serial"]).await.expect(3);
    assert!(ran.printed().contains("pitcrew unlock\n"), "{ran}");
    assert!(!ran.printed().contains("pitcrew recover"), "{ran}");
    stack.run(&["unlock"]).await.expect(0);
    stack.release(&Sample::good("2"));
    stack.run(&["deploy", "--serial"]).await.expect(0);
    stack.assert_all("2");
}
