//! What tests of AWS's load balancers share: the responder, servers, and a guard against AWS itself.

use std::net::IpAddr;
use std::time::Duration;

use crate::balancer::around::Around;
use crate::config::{Aws, Server};
use crate::name::ServerName;

#[path = "../../../tests/aws/responder.rs"]
pub mod responder;

use super::access::Access;
use super::refusal::AwsCall;

/// Refuses any endpoint that is not on this machine.
pub fn must_be_loopback(endpoint: &str) {
    let host = endpoint.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let host = host.and_then(|h| h.rsplit_once(':').map_or(Some(h), |(h, _)| Some(h)));
    let address = host.and_then(|h| h.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    assert!(address.is_some_and(|a| a.is_loopback()), "a test must not reach {endpoint}");
}

/// Keys for a test: no waits but the shortest.
pub fn keys() -> Aws {
    Aws { region: None, profile: None, min_drain: Some(Duration::ZERO), poll: Duration::from_millis(10) }
}

/// Servers with these names in the balancer, and no connections to them.
pub fn around(lb_names: &[&str]) -> Around {
    let server = |lb: &&str| Server {
        name: ServerName(format!("server-{lb}")),
        host: (*lb).to_owned(),
        user: None,
        port: None,
        roles: vec!["web".into()],
        lb: vec![(*lb).to_owned()],
        line: 1,
    };
    Around { servers: lb_names.iter().map(server).collect(), ..Around::default() }
}

#[test]
#[should_panic(expected = "must not reach")]
fn no_test_reaches_aws() {
    must_be_loopback("https://elasticloadbalancing.us-east-1.amazonaws.com");
}

#[test]
#[should_panic(expected = "must not reach")]
fn no_test_reaches_a_name() {
    must_be_loopback("http://localhost.example.com:80");
}

#[tokio::test]
async fn an_endpoint_without_a_listener_is_unreachable() {
    must_be_loopback("http://127.0.0.1:1");
    let config = Access::Responder("http://127.0.0.1:1".into()).load("elb", None).await.unwrap();
    let client = aws_sdk_elasticloadbalancingv2::Client::new(&config);
    let failed = client.describe_target_groups().names("web").send().await.unwrap_err();
    let error = AwsCall { at: "elb", member: Some("web".into()), action: "DescribeTargetGroups" }.failed(failed);
    assert!(error.is_unreachable() && error.detail().contains("DescribeTargetGroups got no answer"), "{error:?}");
    assert_eq!((error.at.as_str(), error.member.as_deref()), ("elb", Some("web")));
}
