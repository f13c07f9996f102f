//! What all tasks of one balancer share.

use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

use super::answers;
use super::members::{CheckResult, Members};
use super::options::BalancerOptions;
use crate::demo::held::held;
use crate::demo::log::Kind;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: BalancerOptions,
    pub(super) members: Mutex<Members>,
    pub(super) over: CancellationToken,
    /// Cancelled when the runtime API is dead.
    pub(super) api: CancellationToken,
}

impl Shared {
    pub(super) fn until_over(&self, work: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        tokio::spawn(async move { over.run_until_cancelled_owned(work).await });
    }

    /// Changes members and writes what changed to the fleet's log, in one.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Members) -> T) -> T {
        let mut members = held(&self.members);
        let before = members.history().len();
        let result = change(&mut members);
        for change in members.history().get(before..).unwrap_or_default() {
            let member = format!("{}/{}", self.options.backend, change.member);
            self.options.log.add(&self.options.name, Kind::Member { member, admin: change.admin, up: change.up });
        }
        result
    }

    pub(super) fn execute(&self, line: &str) -> String {
        self.change(|members| answers::execute(members, &self.options, line))
    }

    pub(super) fn checked(&self, index: usize, result: CheckResult) {
        self.change(|members| members.checked(index, result));
    }
}
