//! `routerctl teardown`: gives the host back.

use api::control::ApplyReport;

use super::plan::steps;
use super::validate::count;
use crate::cli::Show;
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::output::print;
use crate::terminal::Terminal;

pub(super) fn run(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let report: ApplyReport = client.post("/v1/teardown", &())?;
    print(terminal, show.output, &report, table)?;
    Ok(OK)
}

fn table(report: &ApplyReport, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    steps(&report.plan, terminal)?;
    let changes = count(report.plan.steps.len(), "change");
    writeln!(terminal.out, "torn down: {changes}; the host is as it was")?;
    Ok(())
}
