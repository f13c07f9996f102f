//! Refuses servers whose `deploy_to` is another stack's.
//!
//! It is for verbs that plan no run, in the words in which `deploy` refuses.

use crate::error::Error;
use crate::event::{Cause, Refusal};
use crate::facts::Facts;
use crate::name::ServerName;
use crate::wording::cause;

/// Refuses where a server's `deploy_to` belongs to another stack than `app`.
///
/// # Errors
/// On the first of these servers of which that is known.
pub fn refuse_others<'a>(
    app: &str,
    facts: &Facts,
    servers: impl IntoIterator<Item = &'a ServerName>,
) -> Result<(), Error> {
    for server in servers {
        let Some(other) = facts.servers.get(server).and_then(|f| f.stack.as_ref()).filter(|s| *s != app) else {
            continue;
        };
        let detail = format!("it belongs to {other}, and [app] name is {app}");
        let cause = Cause::Refused { code: Refusal::OtherStack, detail };
        let error = Error::failed(format!("{server}: {}", cause::reason(&cause)));
        return Err(cause::hint(&cause).into_iter().fold(error, Error::hint));
    }
    Ok(())
}
