//! The plan as text, for `--dry-run`: the value that would run, phase by phase, and what takes it back.
//!
//! Pure. It owns the layout; the words for strategies, notices and undos are `wording`'s.

use std::fmt::Write as _;

use crate::event::StepName;
use crate::name::ReleaseId;
use crate::plan::unwind::{Forecast, Takeback};
use crate::plan::{Act, Lane, Phase, Plan, Verb};
use crate::text::units::count;
use crate::wording::plan::strategy;
use crate::wording::step::undo as undone;
use crate::wording::warning;

/// Prints a plan: the header, each stage with its batches and phases, and its notices.
///
/// Lanes of a phase that do the same share a line.
pub fn text(plan: &Plan, app: &str, web_server: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = header(&mut out, plan, app, web_server);
    let mut forecast = Forecast::of(plan);
    for stage in &plan.stages {
        for (i, batch) in stage.batches.iter().enumerate() {
            let which = match stage.batches.len() {
                0 | 1 => String::new(),
                n => format!(", batch {} of {n}", i + 1),
            };
            let _ = writeln!(out, "\n{}{which}", stage.name);
            for phase in &batch.phases {
                let _ = print_phase(&mut out, phase, &mut forecast);
            }
        }
    }
    for notice in &plan.notices {
        let _ = write!(out, "\nnotice: {}", warning::sentence(notice));
    }
    if !plan.notices.is_empty() {
        out.push('\n');
    }
    out
}

fn header(out: &mut String, plan: &Plan, app: &str, web_server: &str) -> std::fmt::Result {
    let servers: usize = plan.batches.iter().map(Vec::len).sum();
    let (verb, to) = match plan.verb {
        Verb::Deploy => ("deploy", "release"),
        Verb::Rollback => ("rollback", "to"),
    };
    let on = count(servers, "server");
    writeln!(out, "{app}: {verb} {to} {} ({}) on {on}; nothing is changed now", plan.release, plan.revision.short())?;
    writeln!(out, "  strategy    {}", strategy(plan.strategy, plan.decided_by, web_server))?;
    writeln!(out, "  revision    {}", plan.revision)?;
    writeln!(out, "  web server  {web_server}")?;
    writeln!(out, "  prepare     {}", plan.prepare)?;
    writeln!(out, "  on failure  {}", plan.on_failure)?;
    if plan.built_here {
        writeln!(out, "  build       on this machine, before all else")?;
    }
    if let Some(server) = &plan.migrate_on {
        writeln!(out, "  migrations  on {server}")?;
    }
    for (i, batch) in plan.batches.iter().enumerate() {
        let names: Vec<String> = batch
            .iter()
            .map(|name| {
                let previous = plan.previous.iter().find(|(n, _)| n == name).and_then(|(_, release)| release.as_ref());
                format!("{name} (now on {})", previous.map_or("no release", ReleaseId::as_str))
            })
            .collect();
        writeln!(out, "  {:<11} {}", format!("batch {}", i + 1), names.join(", "))?;
    }
    if !plan.bystanders.is_empty() {
        let names: Vec<&str> = plan.bystanders.iter().map(|n| n.as_str()).collect();
        writeln!(out, "  only locked {}", names.join(", "))?;
    }
    Ok(())
}

fn print_phase<'a>(out: &mut String, phase: &'a Phase, forecast: &mut Forecast<'a>) -> std::fmt::Result {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for lane in phase.lanes.iter().filter(|l| !l.steps.is_empty()) {
        let told = print_lane(lane, &forecast.after(lane));
        match groups.iter_mut().find(|(other, _)| *other == told) {
            Some((_, servers)) => servers.push(lane.server.as_str()),
            None => groups.push((told, vec![lane.server.as_str()])),
        }
    }
    groups.iter().try_for_each(|(told, servers)| writeln!(out, "  {}: {told}", servers.join(", ")))
}

/// Says what a lane does and what takes its server back; the header tells what a switch leaves.
fn print_lane(lane: &Lane, back: &[Takeback]) -> String {
    let steps: Vec<String> = lane.steps.iter().map(act).collect();
    let mut undos: Vec<&str> = back.iter().map(undo).collect();
    // The lock is released once all servers are taken back, whatever the run did to this one.
    undos.extend(lane.steps.contains(&Act::Lock).then(|| undone(StepName::Lock)));
    match undos.as_slice() {
        [] => steps.join(", "),
        undos => format!("{}\n    taken back by: {}", steps.join(", "), undos.join(", ")),
    }
}

fn act(act: &Act) -> String {
    match act {
        Act::Switch { to, .. } => format!("switch to {to}"),
        Act::Hook { index, .. } => format!("hook {}", index.saturating_add(1)),
        other => other.name().to_string(),
    }
}

/// Names a takeback as other reports do, but for a first deploy, which has nothing to return to.
fn undo(takeback: &Takeback) -> &'static str {
    match takeback {
        Takeback::SwitchBack(None) => "remove `current`",
        Takeback::Stop => "stop the web server",
        Takeback::StayOut => "stay out of the balancer: there is no earlier release to prove",
        other => undone(other.step()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HookPlace, OnFailure, Prepare, Strategy};
    use crate::event::{DecidedBy, StageName, Warning};
    use crate::name::{Revision, ServerName};
    use crate::plan::{Batch, Stage};

    fn server(name: &str) -> ServerName {
        ServerName(name.into())
    }

    fn release(id: &str) -> ReleaseId {
        ReleaseId::parse(id).unwrap()
    }

    fn lane(name: &str, steps: &[Act]) -> Lane {
        Lane { server: server(name), steps: steps.to_vec() }
    }

    fn stage(name: StageName, batches: Vec<Vec<Vec<Lane>>>) -> Stage {
        let phases = |lanes: Vec<Vec<Lane>>| lanes.into_iter().map(|lanes| Phase { lanes }).collect();
        Stage { name, batches: batches.into_iter().map(|b| Batch { phases: phases(b) }).collect() }
    }

    #[test]
    fn lanes_that_are_alike_are_told_once() {
        let to = release("20261123045900");
        let web = |name: &str, from: Option<&str>| {
            lane(name, &[Act::Switch { from: from.map(release), to: to.clone() }, Act::Restart, Act::Check])
        };
        let lock = |name: &str| lane(name, &[Act::Lock]);
        let plan = Plan {
            verb: Verb::Deploy,
            strategy: Strategy::Rolling,
            decided_by: DecidedBy::Flag,
            prepare: Prepare::InTurn,
            on_failure: OnFailure::Revert,
            release: to.clone(),
            revision: Revision("a1b2c3d4e5f6".into()),
            previous: vec![
                (server("web1"), Some(release("20261122000000"))),
                (server("web2"), Some(release("20261121000000"))),
            ],
            batches: vec![vec![server("web1"), server("web2")], vec![server("web3")]],
            bystanders: vec![server("db1")],
            migrate_on: Some(server("web1")),
            built_here: false,
            blockers: Vec::new(),
            skipped: Vec::new(),
            unchecked: Vec::new(),
            unchanged: false,
            stages: vec![
                stage(StageName::Lock, vec![vec![vec![lock("web1"), lock("web2"), lock("web3"), lock("db1")]]]),
                stage(
                    StageName::Rollout,
                    vec![
                        vec![
                            vec![lane("here", &[Act::Hook { index: 0, on: HookPlace::Here }])],
                            vec![lane("web1", &[Act::Drain]), lane("web2", &[Act::Drain])],
                            vec![web("web1", Some("20261122000000")), web("web2", Some("20261121000000"))],
                            vec![lane("web1", &[Act::Restore]), lane("web2", &[Act::Restore])],
                        ],
                        vec![vec![web("web3", None)]],
                    ],
                ),
            ],
            notices: vec![Warning::NoHealthCheck],
        };
        insta::assert_snapshot!(text(&plan, "shop", "unicorn"), @r"
        shop: deploy release 20261123045900 (a1b2c3d) on 3 servers; nothing is changed now
          strategy    rolling (--rolling)
          revision    a1b2c3d4e5f6
          web server  unicorn
          prepare     in-turn
          on failure  revert
          migrations  on web1
          batch 1     web1 (now on 20261122000000), web2 (now on 20261121000000)
          batch 2     web3 (now on no release)
          only locked db1

        lock
          web1, web2, web3, db1: lock
            taken back by: unlock

        rollout, batch 1 of 2
          here: hook 1
          web1, web2: drain
            taken back by: prove the old release, put back into the balancer
          web1, web2: switch to 20261123045900, restart, check
            taken back by: switch back, restart on the old release, prove the old release, put back into the balancer
          web1, web2: restore
            taken back by: take out of the balancer again, switch back, restart on the old release, prove the old release, put back into the balancer

        rollout, batch 2 of 2
          web3: switch to 20261123045900, restart, check
            taken back by: remove `current`, stop the web server

        notice: there is no [health]: nothing but the list of processes proves the new release
");
    }
}
