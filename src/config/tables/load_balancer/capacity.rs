//! Whether the stack can be drained at all and still have enough servers in service.

use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::share::{BatchSize, Least};
use crate::config::tables::app::BATCH;
use crate::config::tables::servers::Server;
use crate::config::written::Found;
use crate::policy::Strategy;

/// How the file's servers would be walked.
pub struct Rollout<'a> {
    /// All servers.
    pub servers: &'a [Server],
    /// `[app] strategy`.
    pub strategy: Option<Found<Strategy>>,
    /// The web server template's strategy.
    pub template: Option<Strategy>,
    /// `[app] batch`.
    pub batch: Option<Found<Vec<BatchSize>>>,
}

/// Reports batches that would leave fewer servers in service than must be.
pub(super) fn capacity(
    section: &Section<'_>,
    walk: &Rollout<'_>,
    least: Option<Found<Least>>,
    problems: &mut Problems<'_>,
) {
    // Without proper servers there is nothing to count; that is reported already.
    if walk.servers.is_empty() || (section.wrote("min_in_service").is_some() && least.is_none()) {
        return;
    }
    let web = walk.servers.iter().filter(|s| s.is_web()).count();
    if web == 0 {
        let what = format!("{} has nothing to drain: no server has the role \"web\"", section.title);
        return problems.at(section.at, what, "add roles = [\"web\"] to the servers behind it, or leave it out");
    }
    let written = least.map_or(Least::Count(1), |n| n.value);
    // The balancer may have more members than the stack has servers, but never fewer.
    let needed = written.of(web);
    let strategy = walk.strategy.map(|s| s.value).or(walk.template);
    let drains = matches!(strategy, Some(Strategy::Serial | Strategy::Rolling));
    if needed >= web && (least.is_some() || drains) {
        let (at, why) = match least {
            Some(found) => (found.at, format!("min_in_service = {written} in {}", section.title)),
            None => (section.at, format!("min_in_service = 1, the default in {},", section.title)),
        };
        let drained = if web == 1 { "the only web server".to_owned() } else { format!("one of {web} web servers") };
        let what = format!("{why} can never hold while {drained} is drained");
        let hint = match web - 1 {
            0 => "write min_in_service = 0 if no server needs to serve meanwhile, or leave [load_balancer] out"
                .to_owned(),
            most => format!("write {most} or less"),
        };
        return problems.at(at, what, hint);
    }
    let rolling = strategy == Some(Strategy::Rolling);
    let (sizes, at) = match (&walk.batch, walk.strategy) {
        (Some(batch), None) => (batch.value.clone(), batch.at),
        (Some(batch), _) if rolling => (batch.value.clone(), batch.at),
        (None, Some(strategy)) if rolling => (vec![BatchSize::Count(BATCH)], strategy.at),
        _ => return,
    };
    let largest = largest(&sizes, web);
    if largest + needed > web {
        let what = match walk.batch {
            Some(_) => format!("a batch drains {largest} of {} at once", web_servers(web)),
            None => format!("the default batch drains {largest} of {} at once", web_servers(web)),
        };
        let hint = match web.saturating_sub(needed) {
            0 | 1 => "write batch = 1, or strategy = \"serial\"".to_owned(),
            most => format!("write a `batch` of at most {most}, or a lower `min_in_service`"),
        };
        problems.at(at, format!("{what}, and min_in_service = {written} must stay"), hint);
    }
}

fn web_servers(count: usize) -> String {
    if count == 1 { "1 web server".to_owned() } else { format!("{count} web servers") }
}

/// Counts the servers of the largest batch of a walk over `total` servers.
///
/// The ramp's last size repeats.
fn largest(sizes: &[BatchSize], total: usize) -> usize {
    let (mut left, mut largest, mut step) = (total, 0, 0);
    while left > 0 {
        let size = match sizes.get(step).or(sizes.last()) {
            Some(BatchSize::Count(count)) => (*count).max(1),
            Some(BatchSize::Percent(percent)) => (total * usize::from(*percent) / 100).max(1),
            None => 1,
        };
        let taken = size.min(left);
        largest = largest.max(taken);
        left -= taken;
        step += 1;
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use BatchSize::{Count, Percent};

    #[test]
    fn the_largest_batch_of_a_walk() {
        for (sizes, total, expected) in [
            (vec![Count(2)], 4, 2),
            (vec![Count(2)], 1, 1),
            (vec![Percent(25)], 4, 1),
            (vec![Percent(25)], 3, 1),
            (vec![Percent(50)], 5, 2),
            (vec![Count(1), Percent(25), Percent(100)], 4, 2),
            (vec![Percent(100)], 4, 4),
            (vec![Count(3), Count(1)], 4, 3),
        ] {
            assert_eq!(largest(&sizes, total), expected, "{sizes:?} of {total}");
        }
    }
}
