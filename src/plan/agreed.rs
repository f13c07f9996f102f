//! What the servers of a dead run agree that it meant to do. Pure.
//!
//! Each keeps a copy of the plan beside its lock. One that was changed on its server decides for no other.

use std::collections::BTreeMap;

use super::intent::Intent;
use crate::name::ServerName;

/// What most copies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agreed {
    model: Intent,
    /// Servers whose copies say something else.
    pub differ: Vec<ServerName>,
    /// No saying has more copies than another: `model` is the first of them.
    pub is_split: bool,
}

impl Agreed {
    /// Compares the copies; `None`: there are none.
    pub fn of(copies: &BTreeMap<ServerName, Intent>) -> Option<Self> {
        let votes = |one: &Intent| copies.values().filter(|other| is_same(one, other)).count();
        let most = copies.values().map(votes).max()?;
        let model = copies.values().find(|one| votes(one) == most)?.clone();
        let is_split = copies.values().any(|one| votes(one) == most && !is_same(one, &model));
        let differ = copies.iter().filter(|(_, one)| !is_same(one, &model)).map(|(name, _)| name.clone()).collect();
        Some(Self { model, differ, is_split })
    }

    /// What was meant to be done to a server: of its own copy only what concerns it alone.
    pub fn intent(&self, server: &ServerName, own: &Intent) -> Intent {
        let mut listed = self.model.servers.iter();
        // Runs of earlier versions list no batches.
        let batch = match listed.clone().any(|one| one.batch.is_some()) {
            true => listed.find(|one| one.name == *server).map_or(own.batch, |one| one.batch),
            false => own.batch,
        };
        Intent { batch, previous: own.previous.clone(), server: own.server.clone(), ..self.model.clone() }
    }
}

/// Tells whether two copies are of one plan.
///
/// What concerns one server does not count, nor who began it.
fn is_same(one: &Intent, other: &Intent) -> bool {
    let Intent { batch, previous, server, who, .. } = other;
    let (batch, previous) = (*batch, previous.clone());
    Intent { batch, previous, server: server.clone(), who: who.clone(), ..one.clone() } == *other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnFailure;
    use crate::plan::journal::Wreck;
    use crate::plan::run_server::RunServer;

    fn name(number: usize) -> ServerName {
        ServerName(format!("web{number}"))
    }

    /// The copies of a serial run on so many servers.
    fn copies(count: usize) -> BTreeMap<ServerName, Intent> {
        let names: Vec<ServerName> = (1..=count).map(name).collect();
        let mut plan = Wreck::of_nothing(&names).plan;
        plan.batches = names.iter().map(|name| vec![name.clone()]).collect();
        let listed = |name: &ServerName| RunServer { name: name.clone(), at: name.0.clone(), lb: vec![], batch: None };
        let all: Vec<RunServer> = names.iter().map(listed).collect();
        names.iter().map(|name| (name.clone(), Intent::of(&plan, name, "ann").among(&plan, &all))).collect()
    }

    #[test]
    fn what_most_copies_say_is_followed_and_the_others_are_named() {
        let mut copies = copies(3);
        let whole = Agreed::of(&copies).unwrap();
        assert!(whole.differ.is_empty() && !whole.is_split);
        let first = copies.get_mut(&name(1)).unwrap();
        first.on_failure = OnFailure::RevertAll;
        first.batch = Some(7);
        let changed = first.clone();
        let agreed = Agreed::of(&copies).unwrap();
        assert_eq!((agreed.differ.as_slice(), agreed.is_split), (&[name(1)][..], false));
        let followed = agreed.intent(&name(1), &changed);
        assert_eq!((followed.on_failure, followed.batch), (OnFailure::Revert, Some(0)));
    }

    /// Its batch is in the copies of the others.
    #[test]
    fn a_server_cannot_move_itself_into_another_batch() {
        let mut copies = copies(2);
        copies.get_mut(&name(1)).unwrap().batch = Some(7);
        let agreed = Agreed::of(&copies).unwrap();
        assert!(agreed.differ.is_empty() && !agreed.is_split);
        assert_eq!(agreed.intent(&name(1), &copies[&name(1)]).batch, Some(0));
        assert_eq!(agreed.intent(&name(2), &copies[&name(2)]).batch, Some(1));
        // A name of today that the run did not have, and copies of earlier versions.
        assert_eq!(agreed.intent(&name(9), &copies[&name(1)]).batch, Some(7));
        copies.values_mut().for_each(|one| one.servers.iter_mut().for_each(|listed| listed.batch = None));
        let agreed = Agreed::of(&copies).unwrap();
        assert_eq!(agreed.intent(&name(1), &copies[&name(1)]).batch, Some(7));
    }

    #[test]
    fn as_many_copies_on_either_side_decide_nothing() {
        for count in [2, 4] {
            let mut copies = copies(count);
            for number in 1..=count / 2 {
                copies.get_mut(&name(number)).unwrap().on_failure = OnFailure::RevertAll;
            }
            let agreed = Agreed::of(&copies).unwrap();
            assert!(agreed.is_split && agreed.differ.len() == count / 2, "{agreed:?}");
        }
    }
}
