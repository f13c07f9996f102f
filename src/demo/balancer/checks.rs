//! The health checks of a balancer's members.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::members::{CheckPlan, CheckResult};
use super::shared::Shared;
use crate::demo::admin::Admin;
use crate::demo::held::held;

/// A check may take no longer, however far apart checks are. HAProxy takes `inter`.
const SHORTEST: Duration = Duration::from_millis(500);

/// Checks one member for ever; in maintenance it is left alone.
pub(super) async fn check(shared: Arc<Shared>, index: usize, plan: CheckPlan) {
    let mut ticks = tokio::time::interval(plan.inter.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let wanted = {
            let members = held(&shared.members);
            members.list.get(index).filter(|member| member.admin != Admin::Maint).map(|member| member.at)
        };
        if let Some(at) = wanted {
            let result = ask(at, &plan).await;
            shared.checked(index, result);
        }
    }
}

async fn ask(at: SocketAddr, plan: &CheckPlan) -> CheckResult {
    let limit = plan.inter.max(SHORTEST);
    let tcp = match tokio::time::timeout(limit, TcpStream::connect(at)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(_)) => return CheckResult::Refused,
        Err(_) => return CheckResult::ConnectTimeout,
    };
    let answer = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.ok()?;
        let request = Request::get(&plan.path)
            .header(HOST, at.to_string())
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .ok()?;
        // Both to their end: a connection that closes with its answer would win a race against it.
        let ask = async {
            let status = sender.send_request(request).await.ok().map(|response| response.status());
            drop(sender);
            status
        };
        tokio::join!(ask, connection).0
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(Some(status)) if status.is_success() || status.is_redirection() => CheckResult::Good(status.as_u16()),
        Ok(Some(status)) => CheckResult::Bad(status.as_u16()),
        Ok(None) => CheckResult::Invalid,
        Err(_) => CheckResult::AnswerTimeout,
    }
}
