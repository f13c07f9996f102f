//! Keeps secrets out of events: masks every text in them that comes from elsewhere.
//!
//! It owns where events hold such text; how a secret is recognised is [`Redactor`]'s. Names, ids and figures of the
//! contract are left alone, since the fold reads them. Every variant is listed, so that a new one is decided on.

use crate::event::{Blocker, Cause, Event, Failure, Planned, TakenBy, Unhealthy, Warning};
use crate::lease::Held;
use crate::lease::Standing;
use crate::text::redact::Redactor;

/// Masks secrets in all that an event holds from elsewhere, and cleans its lines of output.
pub fn mask(redactor: &Redactor, event: &mut Event) {
    match event {
        Event::Planned(planned) => mask_plan(redactor, planned),
        Event::Output { line, .. } => *line = redactor.line(line),
        Event::StepFinished { failure, .. } | Event::UndoFinished { failure, .. } => {
            if let Some(failure) = failure {
                mask_failure(redactor, failure);
            }
        }
        Event::Warning { warning, .. } => mask_warning(redactor, warning),
        Event::StageStarted { .. }
        | Event::StageFinished { .. }
        | Event::StepStarted { .. }
        | Event::Progress { .. }
        | Event::UndoStarted { .. }
        | Event::Inherited { .. }
        | Event::Finished(_) => {}
    }
}

/// Masks secrets in what a plan tells, for a report that is no event.
pub fn mask_told(redactor: &Redactor, notices: &mut [Warning], blockers: &mut [Blocker]) {
    notices.iter_mut().for_each(|notice| mask_warning(redactor, notice));
    blockers.iter_mut().for_each(|blocker| mask_failure(redactor, &mut blocker.failure));
}

fn mask_plan(redactor: &Redactor, planned: &mut Planned) {
    mask_told(redactor, &mut planned.notices, &mut planned.blockers);
}

fn mask_warning(redactor: &Redactor, warning: &mut Warning) {
    match warning {
        Warning::Quiet { last_line, .. } => *last_line = redactor.line(last_line),
        Warning::Hook { command, failure } => {
            mask_text(redactor, command);
            mask_failure(redactor, failure);
        }
        Warning::Prune { failure } | Warning::NotRenewed { failure, .. } | Warning::NotHealthy { failure, .. } => {
            mask_failure(redactor, failure)
        }
        Warning::Finding(found) => found.texts().into_iter().for_each(|text| mask_text(redactor, text)),
        Warning::Waited { held, .. } => mask_lock(redactor, held),
        Warning::Absent { command, out, .. } => {
            std::iter::once(command).chain(out).for_each(|text| mask_text(redactor, text));
        }
        Warning::FoundOut { of: _, member: _, state, by } => {
            mask_text(redactor, state);
            by.iter_mut().for_each(|by| mask_taken(redactor, by));
        }
        Warning::BalancerDiffers { member: _, was: one, now: other }
        | Warning::StrangeAddress { of: _, member: _, address: one, own: other } => {
            [one, other].into_iter().for_each(|text| mask_text(redactor, text));
        }
        Warning::AlsoSentTo { places, .. } => places.iter_mut().for_each(|text| mask_text(redactor, text)),
        Warning::ReturnsTo { who: Some(text), .. }
        | Warning::LockLost { detail: text }
        | Warning::Lost { detail: text, .. }
        | Warning::ReleaseKept { why: text, .. }
        | Warning::LeftUnlocked { why: text, .. }
        | Warning::CurrentMoved { current: text }
        | Warning::CurrentGone { target: text, .. }
        | Warning::DrainWaits { detail: text }
        | Warning::NotCompared { detail: text }
        | Warning::LockUnmarked { detail: text }
        | Warning::TreeUnusable { detail: text }
        | Warning::BalancerUnusable { detail: text }
        | Warning::NoAgent { detail: text }
        | Warning::NoLog { detail: text }
        | Warning::LogBroken { detail: text, .. }
        | Warning::WouldSend { what: text }
        | Warning::Note { text } => mask_text(redactor, text),
        Warning::InSomeBackends { .. }
        | Warning::SerialAdvised
        | Warning::StaysOn { .. }
        | Warning::NotLocked { .. }
        | Warning::StaysInTraffic
        | Warning::NoHealthCheck
        | Warning::Fled { .. }
        | Warning::DrainIncomplete { .. }
        | Warning::DrainUncounted { .. }
        | Warning::DrainedAgain
        | Warning::LockKept { .. }
        | Warning::StillLocked { .. }
        | Warning::ModesLost
        | Warning::MayNotFit { .. }
        | Warning::WaitedForMembers { .. }
        | Warning::WaitsForBalancer { .. }
        | Warning::ClockSkew { .. }
        | Warning::OutputDropped { .. }
        | Warning::OutputLeftOut { .. }
        | Warning::NotMasked { .. }
        | Warning::PlanDiffers { .. }
        | Warning::Stuck { .. }
        | Warning::Interrupted { .. }
        | Warning::ReturnsTo { who: None, .. }
        | Warning::Found { .. } => {}
    }
}

fn mask_failure(redactor: &Redactor, failure: &mut Failure) {
    failure.command.iter_mut().for_each(|command| mask_text(redactor, command));
    failure.tail.iter_mut().for_each(|line| *line = redactor.line(line));
    match &mut failure.cause {
        Cause::Lost { detail } | Cause::Refused { detail, .. } | Cause::Local { detail } => {
            mask_text(redactor, detail);
        }
        Cause::Connect { detail, hint } | Cause::Balancer { detail, hint, .. } | Cause::Source { detail, hint } => {
            mask_text(redactor, detail);
            mask_text(redactor, hint);
        }
        Cause::Locked(held) => mask_lock(redactor, held),
        Cause::Unhealthy(unhealthy) => mask_answer(redactor, unhealthy),
        Cause::Exit { .. }
        | Cause::Signal { .. }
        | Cause::NoStatus
        | Cause::TimedOut { .. }
        | Cause::Interrupted
        | Cause::Abandoned => {}
    }
}

fn mask_lock(redactor: &Redactor, held: &mut Held) {
    held.owner.values_mut().chain(&mut held.phase).for_each(|text| mask_text(redactor, text));
    if let Some(Standing::Stuck { reason } | Standing::Frozen { reason, .. }) = &mut held.standing {
        mask_text(redactor, reason);
    }
}

fn mask_answer(redactor: &Redactor, unhealthy: &mut Unhealthy) {
    let Unhealthy { asked, attempts: _, status: _, location, body, error } = unhealthy;
    std::iter::once(asked).chain(location).chain(error).for_each(|text| mask_text(redactor, text));
    // No more than its first bytes were read.
    *body = redactor.beginning(body);
}

fn mask_taken(redactor: &Redactor, by: &mut TakenBy) {
    let TakenBy { who, host, since: _, reason } = by;
    [who, host].into_iter().chain(reason).for_each(|text| mask_text(redactor, text));
}

fn mask_text(redactor: &Redactor, text: &mut String) {
    *text = redactor.text(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_masked_all_over() {
        let secret = "hunter2!";
        let mut event = Event::Warning {
            server: None,
            warning: Warning::Hook {
                command: format!("notify {secret}"),
                failure: Box::new(Failure {
                    cause: Cause::Unhealthy(Box::new(crate::event::Unhealthy {
                        asked: format!("http://x/?k={secret}"),
                        location: Some(secret.into()),
                        body: secret.into(),
                        error: Some(secret.into()),
                        ..Default::default()
                    })),
                    command: Some(secret.into()),
                    tail: vec![secret.into()],
                }),
            },
        };
        mask(&Redactor::new([secret]), &mut event);
        assert!(!serde_json::to_string(&event).unwrap().contains(secret));
    }

    #[test]
    fn what_balancers_and_servers_say_is_masked() {
        let secret = "hunter2!";
        let of = crate::name::ServerName("web1".into());
        for warning in [
            Warning::BalancerDiffers { member: "b/s".into(), was: secret.into(), now: secret.into() },
            Warning::FoundOut { of: of.clone(), member: "b/s".into(), state: secret.into(), by: None },
            Warning::CurrentMoved { current: secret.into() },
            Warning::CurrentGone { on: of.clone(), target: secret.into() },
            Warning::StrangeAddress { of, member: "b/s".into(), address: secret.into(), own: secret.into() },
        ] {
            let mut event = Event::Warning { server: None, warning };
            mask(&Redactor::new([secret]), &mut event);
            let said = serde_json::to_string(&event).unwrap();
            assert!(!said.contains(secret), "{said}");
        }
    }
}
