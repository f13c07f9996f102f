//! What a deploy to very many servers costs the client: it is measured, so it is run by hand.
//!
//! `MANY=1000 cargo test --test embedded -- many --ignored --nocapture`; `PITCREW` names another build of the program.

use pitcrew::demo::{FleetOptions, Sample};

use crate::deploy::stack::{PITCREW, Stack};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures time"]
async fn very_many_servers_are_all_deployed() {
    let servers = std::env::var("MANY").map_or(1000, |n| n.parse().expect("a number of servers"));
    let mut options = FleetOptions::new(PITCREW);
    (options.servers, options.balancers) = (servers, 0);
    let stack = Stack::with(options, "").await;
    let mut config = stack.fleet.config();
    for section in ["web", "health"] {
        config.remove(section);
    }
    // Scripts of so many servers on one machine take their time.
    let limits: toml::Table = toml::toml! { step = "10m" lease = "20m" };
    config.insert("timeouts".into(), limits.into());
    config["app"].as_table_mut().unwrap().insert("web_server".into(), "static".into());
    config["ssh"].as_table_mut().unwrap().insert("connect_timeout".into(), "2m".into());
    std::fs::write(stack.fleet.path().join("pitcrew.toml"), config.to_string()).unwrap();
    let program = std::env::var("PITCREW").unwrap_or_else(|_| PITCREW.to_owned());
    for release in ["1", "2"] {
        stack.release(&Sample::good(release));
        let measured = stack.fleet.path().join("measured");
        let mut command = std::process::Command::new("/usr/bin/time");
        command.args(["-f", "%e s, CPU %U + %S s, %M kB", "-o"]).arg(&measured).args([&program, "deploy", "-q"]);
        command.current_dir(stack.fleet.path()).env("HOME", stack.home());
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let right = stack.versions().iter().filter(|v| *v == release).count();
        assert_eq!(right, servers);
        stack.assert_unlocked();
        #[expect(clippy::print_stderr, reason = "that is what it is for")]
        {
            eprintln!("{right} servers deployed: {}", std::fs::read_to_string(measured).unwrap().trim());
        }
    }
}
