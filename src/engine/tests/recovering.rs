//! Recovering a dead run: its locks are taken over, and what it had in flight is taken back.

use super::stack::{OLD, stack};
use crate::event::{Refusal, Stuck};
use crate::name::ReleaseId;
use crate::plan::unwind::{Record, Switched};

fn locked() -> Record {
    Record { locked: true, prepared: true, ..Record::default() }
}

fn in_turn() -> Record {
    let id = |text| ReleaseId::parse(text).unwrap();
    let switched = Some(Switched { from: Some(id(OLD)), to: id("20261123045900") });
    Record { drained: true, switched, restarted: true, ..locked() }
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_is_taken_back_and_what_was_prepared_removed() {
    let finished = Record { restored: true, finished: true, ..in_turn() };
    let ran = stack(3).serial().recover(&[("web1", finished), ("web2", in_turn()), ("web3", locked())], Some(1)).await;
    ran.did(
        "
            web1: takeover
            web2 web3: takeover
            web2: switch:old stay-out restart:old health prove:old renew restore
            web3: remove
            web1 web2: mark
            lb: look
            web2 web3: unlock
            web1: unlock
            ",
    )
    .stuck(&[]);
}

#[tokio::test(start_paused = true)]
async fn what_had_succeeded_everywhere_is_finished() {
    let finished = || Record { restored: true, finished: true, ..in_turn() };
    let ran = stack(2).serial().recover(&[("web1", finished()), ("web2", finished())], None).await;
    ran.did(
        "
            web1: takeover
            web2: takeover
            web1 web2: mark
            lb: look
            web2: unlock
            web1: unlock
            ",
    )
    .stuck(&[]);
}

#[tokio::test(start_paused = true)]
async fn the_first_server_decides_between_two_that_recover() {
    let records = [("web1", locked()), ("web2", locked())];
    stack(2).refuses("web1 takeover", Refusal::NotOurs).recover(&records, Some(0)).await.did(
        "
            web1: takeover
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_taken_back_keeps_the_dead_runs_lock() {
    let ran = stack(2).serial().fails("web1 health").recover(&[("web1", in_turn()), ("web2", locked())], Some(0)).await;
    let stuck = Stuck::UndoFailed { step: crate::event::StepName::Check };
    ran.did(
        "
            web1: takeover
            web2: takeover
            web1: switch:old stay-out restart:old health log
            web2: remove
            web1: mark
            web1 web2: keep
            ",
    )
    .stuck(&[("web1", stuck)]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_came_free_meanwhile_is_taken_all_the_same() {
    let records = [("web1", locked()), ("web2", locked())];
    stack(2).answers("web2 takeover", "lock", "free").recover(&records, Some(0)).await.did(
        "
            web1: takeover
            web2: takeover
            web1 web2: remove
            web2: unlock
            web1: unlock
            ",
    );
}
