//! Which value wins.
