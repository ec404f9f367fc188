//! Where commands print.

use std::io::Write;

/// Exit code: everything is as it should be.
pub const OK: u8 = 0;
/// Exit code: the command line or a scenario is wrong.
pub const USAGE: u8 = 2;

/// The two streams of a command. Commands always write colours; who makes this strips them where
/// they are not wanted, which is what `anstream` does for files, pipes and `NO_COLOR`.
pub struct Output<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What went wrong.
    pub err: &'a mut dyn Write,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

/// The styles of headings, commands and things of less weight.
pub mod style {
    use anstyle::{AnsiColor, Style};

    /// Headings and names.
    pub const STRONG: Style = Style::new().bold();
    /// What matters less.
    pub const FAINT: Style = Style::new().dimmed();
    /// Something to type.
    pub const LITERAL: Style = AnsiColor::Cyan.on_default();
    /// The word `error`.
    pub const ERROR: Style = AnsiColor::BrightRed.on_default().bold();
    /// The word `warning`.
    pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
    /// The word `ok`.
    pub const GOOD: Style = AnsiColor::Green.on_default().bold();
}
