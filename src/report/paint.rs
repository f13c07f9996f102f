//! Colours: whether a stream gets any, and what they mean.
//!
//! It owns the escape sequences that pitcrew prints.

use std::ffi::OsStr;

use crate::cli::Color;

/// Colours text for a stream, or leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// The paint of a stream without colours.
    pub const PLAIN: Self = Self { on: false };
    /// The paint of a stream with colours.
    pub const COLORS: Self = Self { on: true };

    /// Decides for a stream: by the flag, else by `NO_COLOR`, else by the stream.
    ///
    /// `NO_COLOR` counts with any value but an empty one (no-color.org).
    pub fn choose(color: Color, terminal: bool, no_color: Option<&OsStr>) -> Self {
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && no_color.is_none_or(OsStr::is_empty),
        };
        Self { on }
    }

    /// Colours what is good.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Colours what is bad.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31;1", text)
    }

    /// Colours what a person should read.
    pub fn notice(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Colours what is less important.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Colours a heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_terminal() {
        let set = Some(OsStr::new("1"));
        for (color, terminal, no_color, on) in [
            (Color::Auto, true, None, true),
            (Color::Auto, false, None, false),
            (Color::Auto, true, set, false),
            (Color::Auto, true, Some(OsStr::new("")), true),
            (Color::Always, false, set, true),
            (Color::Never, true, None, false),
        ] {
            assert_eq!(Paint::choose(color, terminal, no_color).on, on, "{color:?} {terminal} {no_color:?}");
        }
    }
}
