//! How things print: tables for people, YAML and JSON for programs.

mod table;
mod yaml;

use serde::Serialize;
use serde_json::Value;

pub(crate) use table::{Cell, Table};
pub(crate) use yaml::yaml;

use crate::cli::Output;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Prints a value: as JSON or YAML, or by `table` for people.
pub(crate) fn print<T: Serialize>(
    terminal: &mut Terminal<'_>,
    output: Output,
    value: &T,
    table: impl FnOnce(&T, &mut Terminal<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match output {
        Output::Table => table(value, terminal)?,
        Output::Json => writeln!(terminal.out, "{:#}", to_json(value)?)?,
        Output::Yaml => write!(terminal.out, "{}", yaml(&to_json(value)?)?)?,
    }
    terminal.out.flush()?;
    Ok(())
}

fn to_json<T: Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::Print(error.to_string()))
}
