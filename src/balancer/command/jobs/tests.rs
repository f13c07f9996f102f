//! What a host's shell reads, under the shells of a test's own.

use std::process::Stdio;

use super::*;

#[tokio::test]
async fn what_a_hosts_shell_reads_runs_every_job() {
    let nonce = Nonce("n".into());
    let job = |command: &str, lb: &str| SteeringJob { command: command.into(), facts: vec![("LB".into(), lb.into())] };
    let env = [("TOKEN".to_owned(), "a'b\nc\\".to_owned()), ("no name".to_owned(), "x".to_owned())];
    let jobs =
        [job("printf '%s|%s' \"$LB\" \"$TOKEN\"; exit 193", "it's $(1)"), job("read x; echo \"read $?\"; exit 4", "2")];
    let text = script(&nonce, &env, &jobs).unwrap();
    for shell in ["sh", "bash", "busybox"] {
        let mut command = std::process::Command::new(shell);
        if shell == "busybox" {
            command.arg("sh");
        }
        let spawned = command.arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = spawned else { continue };
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(out.stdout).unwrap(),
            "it's $(1)|a'b\nc\\\n@pitcrew:n 193\nread 1\n\n@pitcrew:n 4\n@pitcrew:n done\n",
            "{shell}"
        );
    }
    assert!(script(&nonce, &[("A".into(), "\0".into())], &[]).is_none());
}
