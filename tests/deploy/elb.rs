//! Deploys behind AWS's load balancers: against a responder that lets time pass as AWS does, and against moto.
//!
//! Nothing here can reach AWS: the program gets its endpoint from [`aws`], which refuses all that is not on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use pitcrew::demo::log::Kind;
use pitcrew::demo::{Sample, WebKind};
use tokio::process::Command;
use toml::{Table, Value};

use crate::deploy::moto::Moto;
use crate::deploy::stack::{Ran, Stack, of, spans};
use crate::responder::{Classic, Group, Responder, State, Target};

/// Gives a run of the program this endpoint, and credentials of nobody.
fn aws(mut command: Command, endpoint: &str) -> Command {
    let address: Option<SocketAddr> = endpoint.strip_prefix("http://").and_then(|a| a.parse().ok());
    assert!(address.is_some_and(|a| a.ip().is_loopback()), "a test must not reach {endpoint}");
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

async fn run(stack: &Stack, endpoint: &str, args: &[&str]) -> Ran {
    let child = aws(stack.command(args), endpoint).spawn().unwrap();
    Ran::from(tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await.unwrap().unwrap())
}

/// Puts the stack's servers behind this balancer, each under its name there.
fn behind(stack: &Stack, names: &[&str], balancer: &str) {
    let mut config: Table = stack.fleet.config_text(&stack.extra).unwrap().parse().unwrap();
    config.insert("load_balancer".into(), Value::Table(balancer.parse().unwrap()));
    let servers = config["servers"].as_array_mut().unwrap();
    assert_eq!(servers.len(), names.len());
    for (server, name) in servers.iter_mut().zip(names) {
        server.as_table_mut().unwrap().insert("lb".into(), Value::String((*name).into()));
    }
    std::fs::write(stack.fleet.path().join("pitcrew.toml"), toml::to_string(&config).unwrap()).unwrap();
}

const IDS: [&str; 3] = ["i-0a", "i-0b", "i-0c"];
const QUICK: &str = "region = \"us-east-1\"\npoll = \"20ms\"\nmin_drain = \"0s\"\n";

fn groups(names: &[&str]) -> String {
    let arn =
        |n: &&str| format!("\"arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{n}/0123456789abcdef\"");
    let arns: Vec<String> = names.iter().map(arn).collect();
    format!("kind = \"elb\"\ntarget_groups = [{}]\n{QUICK}", arns.join(", "))
}

/// Two groups, the second of which has the first server on two ports.
async fn web_and_api(stack: &Stack) -> Responder {
    let mut api = Group::of(9000, &IDS);
    let second = api.targets[&(IDS[0].to_owned(), 9000)].clone();
    api.targets.insert((IDS[0].to_owned(), 9001), Target { state: "healthy".into(), ..second });
    let groups_of = [("web".to_owned(), Group::of(80, &IDS)), ("api".to_owned(), api)];
    let responder = Responder::start(State { groups: groups_of.into(), ..State::default() }).await;
    behind(stack, &IDS, &groups(&["web", "api"]));
    responder
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_is_unregistered_everywhere_while_it_changes() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    let responder = web_and_api(&stack).await;
    let ran = run(&stack, &responder.endpoint, &["check"]).await.expect(0);
    assert!(
        ran.stdout.contains("balancer  api:9001/i-0a on elb: healthy, 2 others in service; up to 300 s to take it out"),
        "{ran}"
    );
    assert!(responder.calls().iter().all(|c| c.starts_with("Describe")), "a check changes nothing");

    stack.release(&Sample::good("1"));
    let since = stack.now();
    let deploy = run(&stack, &responder.endpoint, &["deploy"]);
    // Whoever switches or restarts must be registered nowhere at that moment, and everybody else everywhere.
    let watch = async {
        let mut seen = 0;
        while seen < 6 {
            let records = stack.fleet.log().since(since);
            let steps = records.iter().filter_map(|r| match &r.kind {
                Kind::Exec { step: Some(step), .. } if step == "switch" || step == "restart" => Some(r.server.clone()),
                _ => None,
            });
            for server in steps.skip(seen) {
                seen += 1;
                let this = server.trim_start_matches('s').parse::<usize>().unwrap() - 1;
                for (at, id) in IDS.iter().enumerate() {
                    for (group, port) in [("web", 80), ("api", 9000)] {
                        let state = responder.target(group, id, port);
                        assert_eq!(state.is_none(), at == this, "{group} {id} while {server} changes: {state:?}");
                    }
                }
                assert_eq!(responder.target("api", IDS[0], 9001).is_none(), this == 0);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (ran, watched) = tokio::join!(deploy, tokio::time::timeout(Duration::from_secs(100), watch));
    let ran = ran.expect(0);
    watched.unwrap();
    // Three turns of 300 s of delay, and 60 s until the checks are good.
    assert!(ran.printed().contains("waiting for the balancer to follow takes 18m"), "{ran}");
    stack.assert_all("1");
    assert_eq!(of(&spans(&stack.fleet.log().since(since)), "switch").len(), 3);
    for id in IDS {
        assert_eq!(responder.target("web", id, 80).as_deref(), Some("healthy"));
        assert_eq!(responder.target("api", id, 9000).as_deref(), Some("healthy"));
    }
    assert_eq!(responder.target("api", IDS[0], 9001).as_deref(), Some("healthy"));
    let calls: Vec<String> = responder.calls().into_iter().filter(|c| !c.starts_with("Describe")).collect();
    assert_eq!(calls.len(), 2 * 7, "{calls:?}");
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_out_by_hand_is_put_back_on_every_port_by_another_process() {
    let mut stack = Stack::serving(3, WebKind::Restart, "").await;
    let responder = web_and_api(&stack).await;
    let first = stack.fleet.servers()[0].ip().to_string();
    run(&stack, &responder.endpoint, &["lb", "drain", &first]).await.expect(0);
    let places = [("web", 80), ("api", 9000), ("api", 9001)];
    let there = || places.map(|(group, port)| responder.target(group, IDS[0], port));
    assert!(there().iter().all(Option::is_none), "{:?}", there());
    let told = run(&stack, &responder.endpoint, &["lb", "status"]).await.expect(3).stdout;
    assert_eq!(told.matches("by hand by ").count(), 3, "AWS has forgotten it, and its server has not: {told}");
    assert!(told.contains("api:9001/i-0a"), "{told}");
    // A deploy leaves it so.
    stack.release(&Sample::good("1"));
    let ran = run(&stack, &responder.endpoint, &["deploy", "--json"]).await.expect(0);
    let notices = ran.events()[0]["notices"].to_string();
    assert_eq!(notices.matches("found_out").count(), 3, "{notices}");
    assert!(there().iter().all(Option::is_none), "{:?}", there());
    run(&stack, &responder.endpoint, &["lb", "restore", &first]).await.expect(0);
    assert!(there().iter().all(|t| t.as_deref() == Some("healthy")), "{:?}", there());
    run(&stack, &responder.endpoint, &["lb", "status", "-q"]).await.expect(0);
    stack.assert_all("1");

    // The same after a run that died over it: its journal knows.
    let marker = stack.fleet.path().join("builds");
    let build = format!("build.run = [\"touch {}; sleep 60\"]\n", marker.display());
    stack.extra.push_str(&build);
    behind(&stack, &IDS, &groups(&["web", "api"]));
    stack.release(&Sample::good("2"));
    let mut child = aws(stack.command(&["deploy"]), &responder.endpoint).spawn().unwrap();
    let building = async {
        while !marker.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), building).await.unwrap();
    assert!(there().iter().all(Option::is_none), "{:?}", there());
    child.kill().await.unwrap();
    run(&stack, &responder.endpoint, &["lb", "restore", &first]).await.expect(0);
    assert!(there().iter().all(|t| t.as_deref() == Some("healthy")), "{:?}", there());
    run(&stack, &responder.endpoint, &["recover"]).await.expect(0);
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_the_balancer_finds_unhealthy_ends_the_walk_and_stays_out() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    let mut web = Group::of(80, &IDS);
    web.sick = vec![IDS[0].to_owned()];
    let responder = Responder::start(State { groups: [("web".to_owned(), web)].into(), ..State::default() }).await;
    behind(&stack, &IDS, &format!("{}restore_timeout = \"500ms\"\n", groups(&["web"])));
    stack.release(&Sample::good("1"));
    let ran = run(&stack, &responder.endpoint, &["deploy"]).await.expect(3);
    assert!(ran.printed().contains("unhealthy (Target.FailedHealthChecks)"), "{ran}");
    assert!(matches!(responder.target("web", IDS[0], 80).as_deref(), None | Some("draining")));
    for id in &IDS[1..] {
        assert_eq!(responder.target("web", id, 80).as_deref(), Some("healthy"), "nobody else was touched");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_balancers_draining_instance_is_not_taken_for_one_in_service() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let up = |id: &str| (id.to_owned(), ("in".to_owned(), None));
    let classic = Classic {
        draining: Some(300),
        drains_for: Some(Duration::from_millis(150)),
        initial_for: Duration::from_millis(50),
        lists_draining: true,
        instances: IDS[..2].iter().map(|id| up(id)).collect(),
    };
    let responder =
        Responder::start(State { classic: [("shop-elb".to_owned(), classic)].into(), ..State::default() }).await;
    behind(&stack, &IDS[..2], &format!("kind = \"elb-classic\"\nnames = [\"shop-elb\"]\n{QUICK}"));
    stack.release(&Sample::good("1"));
    run(&stack, &responder.endpoint, &["deploy"]).await.expect(0);
    stack.assert_all("1");
    let calls: Vec<String> = responder.calls().into_iter().filter(|c| !c.starts_with("Describe")).collect();
    let order = ["Deregister", "Register"].iter().cycle().zip(["i-0a", "i-0a", "i-0b", "i-0b"]);
    assert_eq!(calls.len(), 4, "{calls:?}");
    for (call, (verb, id)) in calls.iter().zip(order) {
        assert!(call.starts_with(verb) && call.ends_with(id), "{calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_begins_and_that_is_said() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let responder = Responder::start(State::default()).await;
    behind(&stack, &IDS[..2], &groups(&["web"]));
    let mut command = aws(stack.command(&["deploy"]), &responder.endpoint);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let ran = Ran::from(command.output().await.unwrap());
    assert!(ran.code != 0 && ran.printed().contains("DescribeTargetGroups needs credentials"), "{ran}");
    assert!(ran.printed().contains("set AWS_PROFILE or `profile`"), "{ran}");
    assert_eq!(responder.calls(), [""; 0]);
    stack.assert_all("0");
    // A profile that the file names wins over variables that happen to be set.
    behind(&stack, &IDS[..2], &format!("{}profile = \"nobody\"\n", groups(&["web"])));
    let ran = run(&stack, &responder.endpoint, &["deploy"]).await;
    assert!(ran.code != 0 && ran.printed().contains("nobody"), "{ran}");
    assert_eq!(responder.calls(), [""; 0]);
}

/// Tells whoever asks it properly that it is this instance; returns its port.
fn metadata(id: &'static str) -> u16 {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let has = |text: &str| request.iter().any(|line| line.starts_with(text));
            let body = match (
                has("PUT /latest/api/token"),
                has("GET /latest/meta-data/instance-id"),
                has("X-aws-ec2-metadata-token: T"),
            ) {
                (true, _, _) => "T",
                (_, true, true) => id,
                _ => "",
            };
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_who_they_are() {
    let firmware = std::fs::read_to_string("/sys/devices/virtual/dmi/id/board_asset_tag").unwrap_or_default();
    if firmware.starts_with("i-") {
        // This machine is an instance itself, and all its servers would say so.
        return;
    }
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    for (server, id) in stack.fleet.servers().iter().zip(IDS) {
        // What is asked of the metadata service's address goes to this machine's loopback instead.
        let rule = format!("connect-to = \"169.254.169.254:80:127.0.0.1:{}\"\n", metadata(id));
        std::fs::write(server.home().join(".curlrc"), rule).unwrap();
    }
    let web = Group::of(80, &IDS[..2]);
    let responder = Responder::start(State { groups: [("web".to_owned(), web)].into(), ..State::default() }).await;
    let hosts: Vec<String> = stack.fleet.servers().iter().map(|s| s.ip().to_string()).collect();
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    behind(&stack, &names, &groups(&["web"]));
    stack.release(&Sample::good("1"));
    run(&stack, &responder.endpoint, &["deploy"]).await.expect(0);
    stack.assert_all("1");
    let calls: Vec<String> = responder.calls().into_iter().filter(|c| !c.starts_with("Describe")).collect();
    assert_eq!(calls[..2], ["DeregisterTargets web i-0a:80", "RegisterTargets web i-0a:80"]);
    // By hand, in processes of their own: nobody lists it any more, and its server says which it is.
    run(&stack, &responder.endpoint, &["lb", "drain", names[1]]).await.expect(0);
    assert_eq!(responder.target("web", IDS[1], 80), None);
    let ran = run(&stack, &responder.endpoint, &["lb", "status"]).await.expect(3);
    assert!(ran.stdout.contains("not registered") && ran.stdout.contains("web on elb: 1 of 2 in service"), "{ran}");
    run(&stack, &responder.endpoint, &["lb", "restore", names[1]]).await.expect(0);
    assert_eq!(responder.target("web", IDS[1], 80).as_deref(), Some("healthy"));
    // A slip in the file is noticed, since the server knows better.
    responder.with(|s| drop(s.groups.get_mut("web").unwrap().targets.remove(&(IDS[1].to_owned(), 80))));
    behind(&stack, &[IDS[0], IDS[2]], &groups(&["web"]));
    let ran = run(&stack, &responder.endpoint, &["check"]).await;
    assert!(
        ran.code != 0 && ran.printed().contains("the file says that it is i-0c, and it says that it is i-0b"),
        "{ran}"
    );
}

/// The texts of an element, wherever it is.
fn all_of(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_takes_both_kinds_for_real() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let Some(moto) = Moto::start(stack.fleet.path()).await else { return };
    let endpoint = format!("http://{}", moto.at);
    let made = moto.tell("ec2", "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount=2&MaxCount=2");
    let ids = all_of(&made, "instanceId");
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(ids.len(), 2, "{made}");
    let vpcs = moto.tell("ec2", "Action=DescribeVpcs&Version=2016-11-15");
    let vpc = all_of(&vpcs, "vpcId").remove(0);
    let elb = |form: &str| moto.tell("elasticloadbalancing", form);
    let made = elb(&format!(
        "Action=CreateTargetGroup&Version=2015-12-01&Name=web&Protocol=HTTP&Port=80&TargetType=instance&VpcId={vpc}"
    ));
    let arn = all_of(&made, "TargetGroupArn").remove(0);
    let targets = format!("Targets.member.1.Id={}&Targets.member.2.Id={}&Targets.member.2.Port=8080", ids[0], ids[1]);
    elb(&format!("Action=RegisterTargets&Version=2015-12-01&TargetGroupArn={arn}&{targets}"));

    behind(&stack, &ids, &format!("kind = \"elb\"\ntarget_groups = [\"{arn}\"]\n{QUICK}"));
    let ran = run(&stack, &endpoint, &["check"]).await.expect(0);
    assert!(
        ran.stdout.contains(&format!("balancer  web:8080/{} on elb: healthy, 1 others in service", ids[1])),
        "{ran}"
    );
    stack.release(&Sample::good("1"));
    run(&stack, &endpoint, &["deploy"]).await.expect(0);
    stack.assert_all("1");
    let health = elb(&format!("Action=DescribeTargetHealth&Version=2015-12-01&TargetGroupArn={arn}"));
    let mut ports = all_of(&health, "Port");
    ports.sort();
    assert_eq!(
        (all_of(&health, "State"), ports),
        (vec!["healthy".to_owned(); 2], vec!["80".to_owned(), "8080".into()])
    );
    let ran = run(&stack, &endpoint, &["lb", "drain", &stack.fleet.servers()[0].ip().to_string()]).await.expect(0);
    assert!(ran.stderr.contains("is out"), "{ran}");
    let health = elb(&format!("Action=DescribeTargetHealth&Version=2015-12-01&TargetGroupArn={arn}"));
    assert_eq!(all_of(&health, "Id"), [ids[1]]);
    // A group that is not there.
    behind(&stack, &ids, &format!("kind = \"elb\"\ntarget_groups = [\"nobody\"]\n{QUICK}"));
    let ran = run(&stack, &endpoint, &["check"]).await;
    assert!(ran.code != 0 && ran.printed().contains("TargetGroupNotFound"), "{ran}");

    let listener =
        "Listeners.member.1.Protocol=HTTP&Listeners.member.1.LoadBalancerPort=80&Listeners.member.1.InstancePort=80";
    elb(&format!(
        "Action=CreateLoadBalancer&Version=2012-06-01&LoadBalancerName=shop-elb&{listener}&AvailabilityZones.member.1=us-east-1a"
    ));
    let instances = format!("Instances.member.1.InstanceId={}&Instances.member.2.InstanceId={}", ids[0], ids[1]);
    elb(&format!("Action=RegisterInstancesWithLoadBalancer&Version=2012-06-01&LoadBalancerName=shop-elb&{instances}"));
    behind(&stack, &ids, &format!("kind = \"elb-classic\"\nnames = [\"shop-elb\"]\n{QUICK}"));
    let ran = run(&stack, &endpoint, &["check"]).await.expect(0);
    assert!(ran.stdout.contains("connection draining is off"), "{ran}");
    stack.release(&Sample::good("2"));
    run(&stack, &endpoint, &["deploy"]).await.expect(0);
    stack.assert_all("2");
    let health = elb("Action=DescribeInstanceHealth&Version=2012-06-01&LoadBalancerName=shop-elb");
    assert_eq!(all_of(&health, "State"), ["InService", "InService"], "{health}");
    stack.assert_unlocked();
}
