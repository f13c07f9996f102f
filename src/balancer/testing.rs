//! What the adapters' tests share.

use std::time::Duration;

use crate::config::{BalancerKind, Least, LoadBalancer, OnDrainTimeout};

/// A configuration without waits of its own.
pub fn config(kind: BalancerKind) -> LoadBalancer {
    LoadBalancer {
        kind,
        drain_timeout: Duration::from_secs(20),
        on_drain_timeout: OnDrainTimeout::Proceed,
        wait_after_drain: Duration::ZERO,
        wait_after_restore: Duration::ZERO,
        restore_timeout: Duration::from_secs(60),
        min_healthy_time: Duration::ZERO,
        min_in_service: Least::Count(1),
        capacity_timeout: Duration::from_secs(15),
    }
}
