//! `routerctl completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::{Failure, OK};
use crate::terminal::Terminal;

pub(super) fn run(shell: Shell, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "routerctl", &mut script);
    terminal.out.write_all(&script)?;
    Ok(OK)
}
