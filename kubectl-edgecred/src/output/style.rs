//! Colours. `anstream` leaves them out where the output is no terminal, or where `NO_COLOR` is set.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// What is well.
pub const GOOD: Style = AnsiColor::Green.on_default();

/// What passes by itself, or may become a problem.
pub const WARN: Style = AnsiColor::Yellow.on_default();

/// What a person must act on.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// What is at rest.
pub const DIM: Style = Style::new().dimmed();

/// A text in a colour.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
