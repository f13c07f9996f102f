//! Which instance each server is: by the file, by its own account, and by what is recorded.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_elasticloadbalancing::types::InstanceState;

use super::fault::{AT, ClassicFault};
use crate::balancer::around::Around;
use crate::balancer::aws::identity::{Claims, Identities, IdentityFault, LbId};
use crate::balancer::error::BalancerError;

/// The servers behind the balancers.
pub struct ClassicServers {
    identities: Identities,
    /// The instances of servers, as seen or recorded: AWS forgets an instance once it is out.
    known: Mutex<BTreeMap<String, String>>,
}

impl ClassicServers {
    /// Takes the stack's servers; asks none.
    pub fn new(around: &Around) -> Self {
        Self { identities: Identities::new(AT, around), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns which instances servers are.
    pub fn recall(&self, instances: impl IntoIterator<Item = (String, String)>) {
        self.known().extend(instances);
    }

    /// Finds which instance each server is; the errors are by server.
    pub async fn find(
        &self,
        listed: &[BTreeMap<String, InstanceState>],
        lb_names: &[String],
    ) -> (BTreeMap<String, String>, Vec<(String, BalancerError)>) {
        let registered = |id: &str| {
            listed.iter().any(|states| states.contains_key(id)) || self.known().values().any(|known| known == id)
        };
        let (mut ids, mut errors) = (BTreeMap::new(), Vec::new());
        let mut asked: Vec<&str> = Vec::new();
        for name in lb_names {
            match self.identities.written(name) {
                LbId::Instance(id, None) if registered(&id) => drop(ids.insert(name.clone(), id)),
                // A host that stands in the file by its address has that for a name.
                LbId::Instance(_, None) | LbId::Address(_, None) | LbId::Name => asked.push(name),
                LbId::Instance(_, Some(_)) | LbId::Address(_, Some(_)) => {
                    errors.push((name.clone(), BalancerError::new(AT, Some(name.clone()), ClassicFault::Port)));
                }
            }
        }
        for (name, answer) in self.identities.ask(&asked).await {
            match self.confirmed(&name, answer) {
                Ok(id) => drop(ids.insert(name, id)),
                Err(error) => errors.push((name, error)),
            }
        }
        self.known().extend(ids.clone());
        (ids, errors)
    }

    /// Holds a server's answer against what the file says of it.
    fn confirmed(&self, name: &str, answer: Result<Claims, BalancerError>) -> Result<String, BalancerError> {
        let unregistered = |id: String, why: String, unreachable: bool| {
            let fault = ClassicFault::Unregistered { id, why, unreachable };
            BalancerError::new(AT, Some(name.to_owned()), fault)
        };
        match (self.identities.written(name), answer) {
            (LbId::Instance(id, _), Ok(claims)) => match claims.instance {
                Some(own) if own == id => Ok(own),
                // A slip in the file would deploy to a server in full traffic, and report it as drained.
                Some(own) => {
                    Err(BalancerError::new(AT, Some(name.to_owned()), IdentityFault::Mistaken { written: id, own }))
                }
                None => Err(unregistered(id, claims.why, false)),
            },
            (LbId::Instance(id, _), Err(failed)) => Err(unregistered(id, failed.detail(), failed.is_unreachable())),
            (_, Ok(claims)) => self.identities.instance(name, &claims),
            (_, Err(failed)) => Err(failed),
        }
    }
}
