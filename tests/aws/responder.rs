//! Speaks AWS's load balancing interface on the loopback, as a script tells it to: states change with time, targets drain,
//! fail, never end, and callers are throttled or refused. Knows of every call what was asked.
//!
//! Part of unit tests and of whole deploys alike: it depends on nothing of the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the responder listens, and what it knows.
#[derive(Clone)]
pub struct Responder {
    /// Its address, as an endpoint.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

/// How things stand and how they go on.
#[derive(Debug, Default)]
pub struct State {
    /// Target groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Classic load balancers by name.
    pub classic: BTreeMap<String, Classic>,
    /// Every call: its action and what it was about.
    pub calls: Vec<String>,
    /// So many calls are throttled before the next is answered.
    pub throttle: usize,
    /// Actions that are refused.
    pub denied: Vec<String>,
    /// The next calls of an action get this code instead, each once.
    pub refuse: Vec<(String, String)>,
}

/// A target group.
#[derive(Debug, Clone)]
pub struct Group {
    /// `instance`, `ip`, `lambda`.
    pub kind: String,
    /// As AWS writes it.
    pub protocol: String,
    /// Where a target names none.
    pub port: u16,
    /// `deregistration_delay.timeout_seconds`, as told.
    pub delay: u64,
    /// How long draining really takes; `None`: for ever.
    pub drains_for: Option<Duration>,
    /// How long a registered target is `initial`.
    pub initial_for: Duration,
    /// What it is afterwards, unless it is named in `sick`.
    pub then: (String, String),
    /// Targets that never get healthy again.
    pub sick: Vec<String>,
    /// Targets by id and port.
    pub targets: BTreeMap<(String, u16), Target>,
}

/// A target.
#[derive(Debug, Clone)]
pub struct Target {
    /// Availability zone, where it was registered with one.
    pub zone: Option<String>,
    /// `healthy`, `draining`, `initial` with what follows by itself, or any other state for good.
    pub state: String,
    /// Since when.
    pub since: Instant,
}

/// A classic load balancer.
#[derive(Debug, Clone, Default)]
pub struct Classic {
    /// Connection draining's limit in seconds, as told; `None`: off.
    pub draining: Option<u64>,
    /// How long it really takes; `None`: for ever.
    pub drains_for: Option<Duration>,
    /// How long a registered instance is out of service.
    pub initial_for: Duration,
    /// Draining ones are listed, or only told when asked about by name.
    pub lists_draining: bool,
    /// Their state (`in`, `draining`, `starting`) and since when.
    pub instances: BTreeMap<String, (String, Option<Instant>)>,
}

impl Group {
    /// A group of instances with these ids in service on its port.
    pub fn of(port: u16, ids: &[&str]) -> Self {
        let target = || Target { zone: None, state: "healthy".into(), since: Instant::now() };
        Self {
            kind: "instance".into(),
            protocol: "HTTP".into(),
            port,
            delay: 300,
            drains_for: Some(Duration::from_millis(60)),
            initial_for: Duration::from_millis(60),
            then: ("healthy".into(), String::new()),
            sick: Vec::new(),
            targets: ids.iter().map(|id| (((*id).to_owned(), port), target())).collect(),
        }
    }

    fn settle(&mut self) {
        let drains_for = self.drains_for;
        self.targets.retain(|_, t| t.state != "draining" || drains_for.is_none_or(|time| t.since.elapsed() < time));
        for ((id, _), target) in &mut self.targets {
            if target.state == "initial" && target.since.elapsed() >= self.initial_for {
                target.state = if self.sick.contains(id) { "unhealthy".into() } else { self.then.0.clone() };
            }
        }
    }

    fn describe(&self, id: &str, port: u16) -> String {
        let found = self.targets.get(&(id.to_owned(), port));
        let zone = found.and_then(|t| t.zone.as_deref());
        let zone = zone.map(|z| format!("<AvailabilityZone>{z}</AvailabilityZone>")).unwrap_or_default();
        let state = found.map_or("unused", |t| t.state.as_str());
        let (reason, text) = match (state, found.is_some()) {
            (_, false) => ("Target.NotRegistered", "Target is not registered to the target group"),
            ("draining", _) => ("Target.DeregistrationInProgress", "Target deregistration is in progress"),
            ("initial", _) => ("Elb.RegistrationInProgress", "Target registration is in progress"),
            ("unhealthy", _) => ("Target.FailedHealthChecks", "Health checks failed"),
            ("unused", _) => {
                ("Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
            }
            _ => (self.then.1.as_str(), ""),
        };
        let reason = if reason.is_empty() { String::new() } else { format!("<Reason>{reason}</Reason>") };
        let text = if text.is_empty() { String::new() } else { format!("<Description>{text}</Description>") };
        format!(
            "<member><Target><Id>{id}</Id><Port>{port}</Port>{zone}</Target><TargetHealth><State>{state}</State>{reason}{text}\
             </TargetHealth></member>"
        )
    }
}

impl Responder {
    /// Starts one on a port of its own.
    pub async fn start(state: State) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(state));
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        Self { endpoint, state }
    }

    /// Reads or changes how things stand.
    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        for group in state.groups.values_mut() {
            group.settle();
        }
        change(&mut state)
    }

    /// Calls since the last question.
    pub fn calls(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.calls))
    }

    /// A target's state; `None`: it is not registered.
    pub fn target(&self, group: &str, id: &str, port: u16) -> Option<String> {
        self.with(|state| state.groups[group].targets.get(&(id.to_owned(), port)).map(|t| t.state.clone()))
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut read = Vec::new();
    loop {
        let Some(body) = request(&mut stream, &mut read).await else { return };
        let form: BTreeMap<String, String> =
            body.split('&').filter_map(|pair| pair.split_once('=')).map(decoded).collect();
        let (status, xml) = answer(&mut state.lock().unwrap(), &form);
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", xml.len());
        if stream.write_all(format!("{head}{xml}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads one request to its end; `None`: there is none any more.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.unwrap_or(0);
            if body.len() >= length {
                let body = body[..length].to_owned();
                read.drain(..head.len() + 4 + length);
                return Some(body);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => read.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}

fn decoded((key, value): (&str, &str)) -> (String, String) {
    let decode = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match first {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let hex = std::str::from_utf8(&after[..2]).unwrap();
                    bytes.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &after[2..];
                }
                byte => bytes.push(*byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    (decode(key), decode(value))
}

fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{name}/0123456789abcdef")
}

fn refusal(status: u16, code: &str, message: &str) -> (u16, String) {
    let xml = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>1</RequestId></ErrorResponse>"
    );
    (status, xml)
}

fn success(action: &str, inner: &str) -> (u16, String) {
    let xml = format!("<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>");
    (200, xml)
}

fn answer(state: &mut State, form: &BTreeMap<String, String>) -> (u16, String) {
    let get = |key: &str| form.get(key).cloned().unwrap_or_default();
    let action = get("Action");
    let named = |what: &str| -> Vec<(String, Option<u16>, Option<String>)> {
        (1..)
            .map_while(|n| {
                let id =
                    form.get(&format!("{what}.member.{n}.Id")).or(form.get(&format!("{what}.member.{n}.InstanceId")))?;
                let port = form.get(&format!("{what}.member.{n}.Port")).map(|p| p.parse().unwrap());
                Some((id.clone(), port, form.get(&format!("{what}.member.{n}.AvailabilityZone")).cloned()))
            })
            .collect()
    };
    let (targets, instances) = (named("Targets"), named("Instances"));
    let group_arn =
        if action == "DescribeTargetGroups" { get("TargetGroupArns.member.1") } else { get("TargetGroupArn") };
    let name = group_arn.split('/').nth(1).map_or_else(|| get("Names.member.1"), str::to_owned);
    let balancer =
        if action == "DescribeLoadBalancers" { get("LoadBalancerNames.member.1") } else { get("LoadBalancerName") };
    let mut call = format!("{action} {name}{balancer}");
    for (id, port, zone) in targets.iter().chain(&instances) {
        write!(call, " {id}").unwrap();
        if let Some(port) = port {
            write!(call, ":{port}").unwrap();
        }
        if let Some(zone) = zone {
            write!(call, "@{zone}").unwrap();
        }
    }
    state.calls.push(call);
    if state.throttle > 0 {
        state.throttle -= 1;
        return refusal(400, "Throttling", "Rate exceeded");
    }
    if state.denied.contains(&action) {
        let message =
            format!("User: arn:aws:iam::1:user/ci is not authorized to perform: elasticloadbalancing:{action}");
        return refusal(403, "AccessDenied", &message);
    }
    if let Some(at) = state.refuse.iter().position(|(refused, _)| *refused == action) {
        let (_, code) = state.refuse.remove(at);
        return refusal(400, &code, "as the script says");
    }
    if balancer.is_empty() {
        group(state, &action, &name, &targets)
    } else {
        classic(state, &action, &balancer, &instances)
    }
}

fn group(
    state: &mut State,
    action: &str,
    name: &str,
    targets: &[(String, Option<u16>, Option<String>)],
) -> (u16, String) {
    let Some(group) = state.groups.get_mut(name) else {
        return refusal(400, "TargetGroupNotFound", "One or more target groups not found");
    };
    group.settle();
    let default = group.port;
    match action {
        "DescribeTargetGroups" => success(
            action,
            &format!(
                "<TargetGroups><member><TargetGroupArn>{}</TargetGroupArn><TargetGroupName>{name}</TargetGroupName>\
                 <Protocol>{}</Protocol><Port>{default}</Port><TargetType>{}</TargetType><HealthCheckEnabled>true</HealthCheckEnabled>\
                 <HealthCheckIntervalSeconds>10</HealthCheckIntervalSeconds><HealthyThresholdCount>3</HealthyThresholdCount>\
                 </member></TargetGroups>",
                arn(name),
                group.protocol,
                group.kind
            ),
        ),
        "DescribeTargetGroupAttributes" => {
            let attribute = |key: &str, value: u64| format!("<member><Key>{key}</Key><Value>{value}</Value></member>");
            let delay = attribute("deregistration_delay.timeout_seconds", group.delay);
            success(action, &format!("<Attributes>{delay}{}</Attributes>", attribute("slow_start.duration_seconds", 0)))
        }
        "DescribeTargetHealth" => {
            let asked: Vec<(String, u16)> = if targets.is_empty() {
                group.targets.keys().cloned().collect()
            } else {
                targets.iter().map(|(id, port, _)| (id.clone(), port.unwrap_or(default))).collect()
            };
            let all: String = asked.iter().map(|(id, port)| group.describe(id, *port)).collect();
            success(action, &format!("<TargetHealthDescriptions>{all}</TargetHealthDescriptions>"))
        }
        "DeregisterTargets" => {
            for (id, port, _) in targets {
                if let Some(target) = group.targets.get_mut(&(id.clone(), port.unwrap_or(default)))
                    && target.state != "draining"
                {
                    (target.state, target.since) = ("draining".into(), Instant::now());
                }
            }
            success(action, "")
        }
        "RegisterTargets" => {
            for (id, port, zone) in targets {
                let target = Target { zone: zone.clone(), state: "initial".into(), since: Instant::now() };
                group.targets.insert((id.clone(), port.unwrap_or(default)), target);
            }
            success(action, "")
        }
        _ => refusal(400, "InvalidAction", "no such action"),
    }
}

fn classic(
    state: &mut State,
    action: &str,
    name: &str,
    asked: &[(String, Option<u16>, Option<String>)],
) -> (u16, String) {
    let Some(balancer) = state.classic.get_mut(name) else {
        return refusal(400, "LoadBalancerNotFound", "There is no ACTIVE Load Balancer named so");
    };
    let over = |since: &Option<Instant>, limit: Option<Duration>| {
        since.zip(limit).is_some_and(|(since, limit)| since.elapsed() >= limit)
    };
    balancer.instances.retain(|_, (state, since)| state != "draining" || !over(since, balancer.drains_for));
    for (state, since) in balancer.instances.values_mut() {
        if state == "starting" && over(since, Some(balancer.initial_for)) {
            *state = "in".into();
        }
    }
    let describe = |id: &str| {
        let (state, text) = match balancer.instances.get(id).map(|(state, _)| state.as_str()) {
            Some("in") => ("InService", "N/A"),
            Some("draining") => ("InService", "Instance deregistration currently in progress."),
            Some("starting") => ("OutOfService", "Instance registration is still in progress."),
            Some(_) => (
                "OutOfService",
                "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
            ),
            None => ("OutOfService", "Instance is not currently registered with the LoadBalancer."),
        };
        format!(
            "<member><InstanceId>{id}</InstanceId><State>{state}</State><ReasonCode>N/A</ReasonCode>\
             <Description>{text}</Description></member>"
        )
    };
    match action {
        "DescribeLoadBalancers" => success(
            action,
            &format!(
                "<LoadBalancerDescriptions><member><LoadBalancerName>{name}</LoadBalancerName><HealthCheck><Target>HTTP:80/</Target>\
                 <Interval>10</Interval><Timeout>5</Timeout><UnhealthyThreshold>2</UnhealthyThreshold>\
                 <HealthyThreshold>3</HealthyThreshold></HealthCheck></member></LoadBalancerDescriptions>"
            ),
        ),
        "DescribeLoadBalancerAttributes" => {
            let draining = balancer.draining.map_or("<Enabled>false</Enabled>".to_owned(), |limit| {
                format!("<Enabled>true</Enabled><Timeout>{limit}</Timeout>")
            });
            let inner = format!(
                "<LoadBalancerAttributes><ConnectionDraining>{draining}</ConnectionDraining></LoadBalancerAttributes>"
            );
            success(action, &inner)
        }
        "DescribeInstanceHealth" => {
            let listed = balancer.instances.iter().filter(|(_, (s, _))| s != "draining" || balancer.lists_draining);
            let listed: Vec<&str> = listed.map(|(id, _)| id.as_str()).collect();
            let asked: Vec<&str> = asked.iter().map(|(id, ..)| id.as_str()).collect();
            let all: String = if asked.is_empty() { listed } else { asked }.into_iter().map(describe).collect();
            success(action, &format!("<InstanceStates>{all}</InstanceStates>"))
        }
        "DeregisterInstancesFromLoadBalancer" => {
            for (id, ..) in asked {
                let drains = balancer.draining.is_some();
                match balancer.instances.get_mut(id) {
                    Some(state) if drains => *state = ("draining".into(), Some(Instant::now())),
                    _ => drop(balancer.instances.remove(id)),
                }
            }
            success(action, "")
        }
        "RegisterInstancesWithLoadBalancer" => {
            for (id, ..) in asked {
                balancer.instances.insert(id.clone(), ("starting".into(), Some(Instant::now())));
            }
            success(action, "")
        }
        _ => refusal(400, "InvalidAction", "no such action"),
    }
}
