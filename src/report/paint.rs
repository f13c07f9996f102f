//! Colours: whether there are any, and what they mean.

use std::ffi::OsStr;

/// What `--color` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// Where somebody can see them: on a terminal, without `NO_COLOR`.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// Colours text, or leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Leaves everything alone.
    pub const PLAIN: Self = Self { on: false };
    /// Colours.
    pub const COLORS: Self = Self { on: true };

    /// Decides for a stream: the flag first, then `NO_COLOR` (any value but an empty one, no-color.org), then the stream.
    pub fn choose(color: Color, terminal: bool, no_color: Option<&OsStr>) -> Self {
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && no_color.is_none_or(OsStr::is_empty),
        };
        Self { on }
    }

    /// Good.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Bad.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31;1", text)
    }

    /// To be read.
    pub fn notice(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// A heading.
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
