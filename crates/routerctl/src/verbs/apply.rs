//! `routerctl apply`: puts a configuration into force.

use api::control::ApplyReport;

use super::plan::{steps, warnings};
use super::validate::count;
use crate::cli::Apply;
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::input;
use crate::output::print;
use crate::terminal::Terminal;

pub(super) fn run(
    options: &Apply,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let config = input::read(&options.files.files, &mut terminal.input)?;
    let report: ApplyReport = client.post("/v1/apply", &config)?;
    print(terminal, options.show.output, &report, table)?;
    Ok(OK)
}

fn table(report: &ApplyReport, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    warnings(&report.diagnostics, terminal)?;
    steps(&report.plan, terminal)?;
    let changes = count(report.plan.steps.len(), "change");
    let generation = report.generation;
    writeln!(terminal.out, "generation {generation} verified: {changes}")?;
    Ok(())
}
