//! `routerctl schema`: for editors and for checks elsewhere.

use crate::failure::{Failure, OK};
use crate::terminal::Terminal;

pub(super) fn run(terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    writeln!(terminal.out, "{:#}", routerd_core::config::schema())?;
    Ok(OK)
}
