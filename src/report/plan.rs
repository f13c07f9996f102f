//! The plan as text, for `--dry-run`: the very value that would run, phase by phase, with its undos.
//!
//! Pure. It owns the layout; the words for the strategy and for notices are the reporters' own.

use std::fmt::Write as _;

use crate::name::ReleaseId;
use crate::plan::{Act, Lane, Phase, Plan, Step, Undo, Verb};
use crate::text::units::count;
use crate::wording::plan::strategy;
use crate::wording::warning;

/// Prints a plan: the header, each stage with its batches and phases, and what the plan wants read.
///
/// Lanes of a phase that do the same are told once, for all their servers.
pub fn text(plan: &Plan, app: &str, web_server: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = header(&mut out, plan, app, web_server);
    for stage in &plan.stages {
        for (i, batch) in stage.batches.iter().enumerate() {
            let which = match stage.batches.len() {
                0 | 1 => String::new(),
                n => format!(", batch {} of {n}", i + 1),
            };
            let _ = writeln!(out, "\n{}{which}", stage.name);
            for phase in &batch.phases {
                let _ = print_phase(&mut out, phase);
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

fn print_phase(out: &mut String, phase: &Phase) -> std::fmt::Result {
    let mut groups: Vec<(&Lane, Vec<&str>)> = Vec::new();
    for lane in phase.lanes.iter().filter(|l| !l.steps.is_empty()) {
        match groups.iter_mut().find(|(other, _)| alike(&other.steps, &lane.steps)) {
            Some((_, servers)) => servers.push(lane.server.as_str()),
            None => groups.push((lane, vec![lane.server.as_str()])),
        }
    }
    for (lane, servers) in groups {
        let steps: Vec<String> = lane.steps.iter().map(|s| act(&s.act)).collect();
        writeln!(out, "  {}: {}", servers.join(", "), steps.join(", "))?;
        let undos: Vec<&str> = lane.steps.iter().rev().filter_map(|s| s.undo).map(undo).collect();
        if !undos.is_empty() {
            writeln!(out, "    taken back by: {}", undos.join(", "))?;
        }
    }
    Ok(())
}

/// Tells whether two lanes read the same; where a switch comes from is told in the header.
fn alike(a: &[Step], b: &[Step]) -> bool {
    let same_act = |a: &Act, b: &Act| match (a, b) {
        (Act::Switch { to: x, .. }, Act::Switch { to: y, .. }) => x == y,
        _ => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same_act(&x.act, &y.act) && x.undo == y.undo)
}

fn act(act: &Act) -> String {
    match act {
        Act::Switch { to, .. } => format!("switch to {to}"),
        Act::Hook { index, .. } => format!("hook {}", index.saturating_add(1)),
        other => other.name().to_string(),
    }
}

fn undo(undo: Undo) -> &'static str {
    match undo {
        Undo::Unlock => "unlock",
        Undo::RemoveRelease => "remove the prepared release",
        Undo::SwitchBack => "switch back",
        Undo::Restart => "restart on the old release",
        Undo::Restore => "put back into the balancer",
        Undo::Drain => "take out of the balancer again",
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

    fn lane(name: &str, steps: &[(Act, Option<Undo>)]) -> Lane {
        let steps = steps.iter().map(|(act, undo)| Step { act: act.clone(), undo: *undo }).collect();
        Lane { server: server(name), steps }
    }

    fn stage(name: StageName, batches: Vec<Vec<Vec<Lane>>>) -> Stage {
        let phases = |lanes: Vec<Vec<Lane>>| lanes.into_iter().map(|lanes| Phase { lanes }).collect();
        Stage { name, batches: batches.into_iter().map(|b| Batch { phases: phases(b) }).collect() }
    }

    #[test]
    fn lanes_that_are_alike_are_told_once() {
        let to = release("20261123045900");
        let web = |name: &str, from: Option<&str>| {
            lane(
                name,
                &[
                    (Act::Switch { from: from.map(release), to: to.clone() }, Some(Undo::SwitchBack)),
                    (Act::Restart, Some(Undo::Restart)),
                    (Act::Check, None),
                ],
            )
        };
        let lock = |name: &str| lane(name, &[(Act::Lock, Some(Undo::Unlock))]);
        let plan = Plan {
            verb: Verb::Deploy,
            strategy: Strategy::Rolling,
            decided_by: DecidedBy::Flag,
            prepare: Prepare::InTurn,
            on_failure: OnFailure::Revert,
            release: to.clone(),
            revision: Revision("a1b2c3d4e5f6".into()),
            previous: vec![(server("web1"), Some(release("20261122000000"))), (server("web2"), None)],
            batches: vec![vec![server("web1"), server("web2")], vec![server("web3")]],
            bystanders: vec![server("db1")],
            migrate_on: Some(server("web1")),
            built_here: false,
            blockers: Vec::new(),
            skipped: Vec::new(),
            unchanged: false,
            stages: vec![
                stage(StageName::Lock, vec![vec![vec![lock("web1"), lock("web2"), lock("web3"), lock("db1")]]]),
                stage(
                    StageName::Rollout,
                    vec![
                        vec![
                            vec![lane("here", &[(Act::Hook { index: 0, on: HookPlace::Here }, None)])],
                            vec![lane("web1", &[(Act::Drain, Some(Undo::Restore))])],
                            vec![web("web1", Some("20261122000000")), web("web2", None)],
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
          batch 1     web1 (now on 20261122000000), web2 (now on no release)
          batch 2     web3 (now on no release)
          only locked db1

        lock
          web1, web2, web3, db1: lock
            taken back by: unlock

        rollout, batch 1 of 2
          here: hook 1
          web1: drain
            taken back by: put back into the balancer
          web1, web2: switch to 20261123045900, restart, check
            taken back by: restart on the old release, switch back

        rollout, batch 2 of 2
          web3: switch to 20261123045900, restart, check
            taken back by: restart on the old release, switch back

        notice: there is no [health]: nothing but the list of processes proves the new release
");
    }
}
