//! How an instance stands at a classic load balancer.
//!
//! A draining instance says `InService` there, so neither being in nor being out is read from the state alone.

use aws_sdk_elasticloadbalancing::types::InstanceState;

use crate::balancer::facts::Admin;

/// How an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicStands {
    /// Whether the instance takes requests, or would if it were healthy.
    pub admin: Admin,
    /// Whether requests go to the instance.
    pub in_service: bool,
    /// As AWS says it.
    pub status: String,
}

impl ClassicStands {
    /// Reads what is said of an instance that the balancer lists.
    pub fn listed(state: &InstanceState) -> Self {
        let text = state.description().filter(|d| *d != "N/A");
        let word = state.state().unwrap_or("without a state");
        let status = text.map_or_else(|| word.to_owned(), |text| format!("{word}: {text}"));
        let says = |words: &str| text.is_some_and(|t| t.to_ascii_lowercase().contains(words));
        if says("deregistration currently in progress") {
            Self { admin: Admin::Drain, in_service: false, status }
        } else if says("not currently registered") {
            Self { admin: Admin::Maint, in_service: false, status: "not registered".to_owned() }
        } else {
            Self { admin: Admin::Ready, in_service: word == "InService", status }
        }
    }

    /// Reads what is said of an instance by its name that is not listed; `None`: it is unknown altogether.
    pub fn absent(state: Option<&InstanceState>) -> Self {
        let gone = Self { admin: Admin::Maint, in_service: false, status: "not registered".to_owned() };
        let Some(state) = state else { return gone };
        match Self::listed(state) {
            stands if stands.admin != Admin::Ready => stands,
            // "A transient error occurred" proves nothing.
            stands if state.description().is_some_and(|d| d != "N/A") || stands.in_service => {
                Self { admin: Admin::Drain, in_service: false, status: stands.status }
            }
            _ => gone,
        }
    }
}
