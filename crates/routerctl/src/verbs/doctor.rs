//! `routerctl doctor`: what is wrong and how to fix it, with or without a daemon.

use std::io;

use api::doctor::{CheckStatus, Report};

use super::beside;
use crate::cli::Doctor;
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::output::print;
use crate::terminal::Terminal;

pub(super) fn run(
    options: &Doctor,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let path = match &options.area {
        Some(area) => format!("/v1/doctor/{area}"),
        None => "/v1/doctor".to_owned(),
    };
    let report: Report = match client.get(&path) {
        Err(Failure::Unreachable { source, .. })
            if source.kind() != io::ErrorKind::PermissionDenied =>
        {
            without_daemon(options)?
        }
        answer => answer?,
    };
    print(terminal, options.show.output, &report, table)?;
    Ok(match report.summary.overall {
        CheckStatus::Fail => FAILED,
        _ => OK,
    })
}

/// The same checks by the daemon's program, which looks at the host itself.
fn without_daemon(options: &Doctor) -> Result<Report, Failure> {
    let mut command = beside::command("routerd")?;
    command
        .arg("doctor")
        .args(&options.area)
        .args(["-o", "json"]);
    beside::json(&mut command)
}

fn table(report: &Report, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    write!(terminal.out, "{report}")?;
    Ok(())
}
