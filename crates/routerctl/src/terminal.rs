//! Where input comes from and output goes to, and whether somebody looks at it.

use std::io::{self, IsTerminal, Read, Write};

/// The streams of one run.
pub struct Terminal<'a> {
    /// For `-f -`.
    pub input: Box<dyn Read + 'a>,
    /// What was asked for.
    pub out: Box<dyn Write + 'a>,
    /// What went wrong, and what is said on the way.
    pub err: Box<dyn Write + 'a>,
    /// Whether `out` shows colours.
    pub colour: bool,
}

impl Terminal<'_> {
    /// The standard streams; colours if a person looks and did not decline them (<https://no-color.org>).
    pub fn of_process() -> Self {
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            input: Box::new(io::stdin()),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            colour: io::stdout().is_terminal() && !declined,
        }
    }

    /// The text in a colour, if there are colours.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        match (self.colour, colour) {
            (false, _) | (_, Colour::Plain) => text.to_owned(),
            (true, Colour::Green) => format!("\x1b[32m{text}\x1b[0m"),
            (true, Colour::Yellow) => format!("\x1b[33m{text}\x1b[0m"),
            (true, Colour::Red) => format!("\x1b[31m{text}\x1b[0m"),
            (true, Colour::Bold) => format!("\x1b[1m{text}\x1b[0m"),
        }
    }
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// As the terminal has it.
    Plain,
    /// Well.
    Green,
    /// Not yet, or changed.
    Yellow,
    /// Wrong, or gone.
    Red,
    /// A heading.
    Bold,
}
