//! The command line of routerd: what it says to the daemon and how it prints what it hears.
//!
//! It never talks to the kernel. `validate`, `schema` and `completions` need no daemon.

pub mod cli;
mod cli_action;
mod cli_federation;
mod client;
mod failure;
mod input;
mod kind;
mod output;
mod terminal;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
pub use crate::terminal::Terminal;

/// The program: arguments, standard streams and exit code of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    ExitCode::from(answer(&cli, &mut Terminal::of_process()))
}

/// Runs one command line and gives its exit code: 0 ok, 1 failed, 2 invalid input, 3 changes pending.
pub fn run(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    terminal: &mut Terminal<'_>,
) -> u8 {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => answer(&cli, terminal),
        Err(error) => {
            let to = if error.use_stderr() {
                &mut terminal.err
            } else {
                &mut terminal.out
            };
            // Nobody is left to hear that the stream is closed.
            let _ = write!(to, "{error}");
            u8::try_from(error.exit_code()).unwrap_or(failure::INVALID)
        }
    }
}

fn answer(cli: &Cli, terminal: &mut Terminal<'_>) -> u8 {
    match verbs::run(cli, terminal) {
        Ok(code) => code,
        Err(failure) => failure.report(terminal),
    }
}
