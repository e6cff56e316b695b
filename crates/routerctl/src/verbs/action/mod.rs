//! `routerctl action`: what is to be done in clouds.

mod journal;
mod plans;
mod run;
mod show;

use api::action::control::{
    ActionView, ApproveRequest, Import, ImportReport, ImportRequest, PreflightQuery,
    PreflightReport,
};
use api::action::journal::State;
use api::action::plan::Target;
use api::action::protocol::PreflightVerdict;

use crate::cli_action::{self as cli, ActionVerb};
use crate::client::Client;
use crate::failure::{FAILED, Failure, INVALID, OK};
use crate::output::{Cell, Table, print};
use crate::terminal::{Colour, Terminal};

pub(super) fn run(
    verb: &ActionVerb,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    match verb {
        ActionVerb::Import(options) => import(options, client, terminal),
        ActionVerb::List(show) => {
            let actions: Vec<ActionView> = client.get("/v1/actions")?;
            print(terminal, show.output, &actions, |list, to| table(list, to))?;
            Ok(OK)
        }
        ActionVerb::Show(options) => show::run(options, client, terminal),
        ActionVerb::Approve(options) => approve(options, client, terminal),
        ActionVerb::Execute(options) => run::execute(options, client, terminal),
        ActionVerb::Rollback(options) => run::rollback(options, client, terminal),
        ActionVerb::Journal(options) => journal::run(options, client, terminal),
        ActionVerb::Preflight(options) => preflight(options, client, terminal),
    }
}

fn import(
    options: &cli::Import,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let request = ImportRequest {
        plans: plans::read(&options.files, &mut terminal.input)?,
        again: options.again,
    };
    let report: ImportReport = client.post("/v1/actions/import", &request)?;
    print(terminal, options.show.output, &report, |report, to| {
        imports(&report.plans, to)
    })?;
    let refused = |import: &Import| matches!(import, Import::Refused { .. });
    Ok(match report.plans.iter().any(refused) {
        true => INVALID,
        false => OK,
    })
}

/// What became of plans, a line each.
pub(super) fn imports(plans: &[Import], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    for import in plans {
        match import {
            Import::Imported { id } => writeln!(terminal.out, "action {id}: imported")?,
            Import::Unchanged { id } => writeln!(terminal.out, "action {id}: known already")?,
            Import::Refused { reason } => writeln!(terminal.err, "error: not taken: {reason}")?,
        }
    }
    if plans.is_empty() {
        writeln!(terminal.out, "nothing to import")?;
    }
    Ok(())
}

fn approve(
    options: &cli::Approve,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let request = ApproveRequest {
        ids: options.ids.clone(),
        rollback: options.rollback,
    };
    let actions: Vec<ActionView> = client.post("/v1/actions/approve", &request)?;
    print(terminal, options.show.output, &actions, |actions, to| {
        for action in actions {
            let (what, by) = match options.rollback {
                true => ("rollback approved", &action.rollback_approved_by),
                false => ("approved", &action.approved_by),
            };
            let by = by.as_deref().unwrap_or("nobody");
            let (id, verb) = (action.id, action.plan.action);
            writeln!(to.out, "action {id} {verb}: {what} by {by}")?;
        }
        Ok(())
    })?;
    Ok(OK)
}

fn preflight(
    options: &cli::Preflight,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let query = PreflightQuery {
        provider: options.provider.clone(),
    };
    let reports: Vec<PreflightReport> = client.post_slowly("/v1/actions/preflight", &query)?;
    print(terminal, options.show.output, &reports, |reports, to| {
        reports.iter().try_for_each(|report| checks(report, to))
    })?;
    let passed = |report: &PreflightReport| report.status.as_ref().is_some_and(|s| s.passed());
    Ok(match reports.iter().all(passed) {
        true => OK,
        false => FAILED,
    })
}

fn checks(report: &PreflightReport, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    writeln!(terminal.out, "CloudProviderProfile/{}", report.provider_ref)?;
    if let Some(failure) = &report.failure {
        let line = terminal.paint(Colour::Red, &format!("fail  executor  {failure}"));
        writeln!(terminal.out, "{line}")?;
    }
    let Some(status) = &report.status else {
        return Ok(());
    };
    for (name, value) in [("identity", &status.identity), ("nic", &status.nic)] {
        if let Some(value) = value {
            writeln!(terminal.out, "{name}: {value}")?;
        }
    }
    for check in &status.checks {
        let (word, colour) = match check.status {
            PreflightVerdict::Pass => ("pass", Colour::Green),
            PreflightVerdict::Warn => ("warn", Colour::Yellow),
            PreflightVerdict::Fail => ("fail", Colour::Red),
            PreflightVerdict::Skip => ("skip", Colour::Plain),
        };
        let word = terminal.paint(colour, word);
        writeln!(terminal.out, "{word}  {}  {}", check.name, check.detail)?;
        let more = [
            ("permission", &check.permission),
            ("scope", &check.scope),
            ("hint", &check.hint),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                writeln!(terminal.out, "      {name}: {value}")?;
            }
        }
    }
    Ok(())
}

fn table(actions: &[ActionView], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if actions.is_empty() {
        writeln!(terminal.err, "no actions")?;
        return Ok(());
    }
    let headings = [
        "ID",
        "STATE",
        "ACTION",
        "TARGET",
        "PROVIDER",
        "APPROVED BY",
        "WHAT",
    ];
    let mut table = Table::new(headings);
    for action in actions {
        let plan = &action.plan;
        table.row([
            Cell::from(action.id.to_string()),
            state_cell(action.state),
            plan.action.to_string().into(),
            target(&plan.target).into(),
            plan.provider_ref.as_str().into(),
            action.approved_by.clone().unwrap_or_default().into(),
            what(action).into(),
        ]);
    }
    table.print(terminal)
}

/// What holds an action back, or what was last said about it.
fn what(action: &ActionView) -> String {
    match (&action.held, &action.message) {
        (Some(held), _) => format!("waits: {}", held.reason),
        (None, Some(message)) => message.clone(),
        (None, None) => String::new(),
    }
}

pub(super) fn state_cell(state: State) -> Cell {
    Cell::painted(colour(state), state.to_string())
}

fn colour(state: State) -> Colour {
    match state {
        State::Succeeded | State::RolledBack => Colour::Green,
        State::Failed | State::Unknown => Colour::Red,
        State::Skipped => Colour::Plain,
        State::Pending | State::Approved | State::Running | State::RollingBack => Colour::Yellow,
    }
}

/// The address of an action and the last part of its NIC's name: ids of clouds are long.
pub(super) fn target(target: &Target) -> String {
    let nic = target.nic_ref.as_deref().unwrap_or("own NIC");
    let nic = nic.rsplit('/').next().unwrap_or(nic);
    match target.address {
        Some(address) => format!("{} on {nic}", address.addr()),
        None => nic.to_owned(),
    }
}
