//! Names from before `text` and `wording` were rooms of their own.

pub use crate::text::clean::{clean, clean_lines, cut};
pub use crate::text::redact::Redactor;
pub use crate::text::units::{bytes, count, names, seconds};
pub use crate::wording::cause;
pub use crate::wording::plan::{planned, strategy};
pub use crate::wording::step::{progress, sent, undo};
pub use crate::wording::warning::{needs_reading, sentence as warning, stuck, taken_by};
