//! Typed events: everything that happens in a run, as data.
//!
//! The engine emits them, reporters turn them into text, `--json` and the run's log print them as they are.
//! It owns no text and knows nothing of the program but names, policies and locks.

mod end;
mod failure;
mod finding;
mod planned;
mod refusal;
mod stamped;
mod step;
mod warning;
mod word;

pub use end::{Finished, ServerEnd, Stuck};
pub use failure::{Cause, Failure, Unhealthy};
pub use finding::{Finding, Weakness, Writers};
pub use planned::{Blocker, Place, Planned};
pub use refusal::Refusal;
pub use stamped::{Event, Stamped};
pub use step::{Inherited, Progress, Sent};
pub use warning::{Fate, Flight, TakenBy, Warning};
pub use word::{DecidedBy, Outcome, RunVerb, StageName, StepName, StepOutcome, Stream};
