//! How a run speaks: a moving line on a terminal, plain lines in a pipe, nothing on standard output when
//! that is for JSON.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The voice of a run.
#[derive(Debug)]
pub struct Voice {
    bar: Option<ProgressBar>,
    json: bool,
    narrate: bool,
    begin: Instant,
}

impl Voice {
    /// Speaks to standard output, or to standard error where standard output is for JSON.
    pub fn new(json: bool, narrate: bool) -> Self {
        let terminal = stderr().is_terminal() && (json || stdout().is_terminal());
        let bar = terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            json,
            narrate,
            begin: Instant::now(),
        }
    }

    /// Seconds since the run began.
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// What is being done now.
    pub fn doing(&self, what: &str) {
        match &self.bar {
            Some(bar) if !self.narrate => bar.set_message(what.to_owned()),
            _ => self.say(&format!("{:5.1}s  {what}", self.seconds())),
        }
    }

    /// Something that happened and stays on the screen.
    pub fn say(&self, line: &str) {
        // A reader that has gone away, as `head` does, is no reason to stop.
        let print = || {
            let _ = match self.json {
                true => writeln!(stderr(), "{line}"),
                false => writeln!(stdout(), "{line}"),
            };
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// The result, always on standard output.
    pub fn result(&self, text: &str) {
        let _ = writeln!(stdout(), "{text}");
    }

    /// A line of the story that `demo` tells.
    pub fn tell(&self, line: &str) {
        if self.narrate {
            self.say(&format!("        {line}"));
        }
    }

    /// Ends the moving line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
