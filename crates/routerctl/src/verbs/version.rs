//! `routerctl version`.

use api::control::DaemonStatus;
use serde::Serialize;

use crate::cli::Show;
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::output::print;
use crate::terminal::Terminal;

/// Both programs' versions.
#[derive(Serialize)]
struct Versions {
    routerctl: &'static str,
    /// Absent if it does not run.
    routerd: Option<String>,
}

pub(super) fn run(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let status: Result<DaemonStatus, Failure> = client.get("/v1/status");
    let versions = Versions {
        routerctl: env!("CARGO_PKG_VERSION"),
        routerd: status.ok().map(|status| status.version),
    };
    print(terminal, show.output, &versions, |versions, terminal| {
        let routerd = versions.routerd.as_deref().unwrap_or("does not run");
        writeln!(
            terminal.out,
            "routerctl {}\nrouterd   {routerd}",
            versions.routerctl
        )?;
        Ok(())
    })?;
    Ok(OK)
}
