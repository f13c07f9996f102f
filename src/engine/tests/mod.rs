//! The engine under paused time: real plans, and recorders in place of servers and balancers.
//!
//! Each case asserts every call, in order, as a table (see [`table`]). Every call takes a second unless a rule says otherwise.

mod checkup;
mod failing;
mod hooks;
mod locks;
mod order;
mod recorder;
mod recovering;
mod signals;
mod stack;
mod table;
