//! `routerctl plan`: what would change; exit status 3 if anything.

use api::Diagnostic;
use api::action::control::Proposal;
use api::action::journal::State;
use api::control::{PlanReport, PlanRequest};
use api::plan::{Change, PlanView};

use super::validate::count;
use crate::cli::Plan;
use crate::client::Client;
use crate::failure::{Failure, OK, PENDING};
use crate::input;
use crate::output::print;
use crate::terminal::{Colour, Terminal};

pub(super) fn run(
    options: &Plan,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let config = match options.in_force {
        true => None,
        false => Some(input::read(&options.files.files, &mut terminal.input)?),
    };
    let report: PlanReport = client.post("/v1/plan", &PlanRequest { config })?;
    print(terminal, options.show.output, &report, table)?;
    Ok(match report.plan.is_empty() {
        true => OK,
        false => PENDING,
    })
}

fn table(report: &PlanReport, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    warnings(&report.diagnostics, terminal)?;
    steps(&report.plan, terminal)?;
    let number = report.plan.steps.len();
    match number {
        0 => writeln!(terminal.out, "no changes")?,
        _ => writeln!(terminal.out, "{} pending", count(number, "change"))?,
    }
    proposals(&report.proposals, terminal)
}

/// What executors would be asked, apart from the changes of this host.
fn proposals(proposals: &[Proposal], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    for proposal in proposals {
        let Proposal {
            action,
            provider_ref,
            ..
        } = proposal;
        let number = proposal
            .id
            .map_or_else(|| "new".to_owned(), |id| id.to_string());
        let target = super::action::target(&proposal.target);
        let state = proposal.state.unwrap_or(State::Pending);
        let held = match &proposal.held {
            Some(refusal) => format!(": {}", refusal.reason),
            None => String::new(),
        };
        writeln!(
            terminal.out,
            "action {number}: {action} {target} ({provider_ref}), {state}{held}"
        )?;
    }
    Ok(())
}

/// Warnings are said on the way, not mixed with what was asked for.
pub(super) fn warnings(found: &[Diagnostic], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    for diagnostic in found {
        writeln!(terminal.err, "{diagnostic}\n")?;
    }
    Ok(())
}

/// The lines of a plan.
pub(super) fn steps(plan: &PlanView, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    for step in &plan.steps {
        let colour = match step.change {
            Change::Add => Colour::Green,
            Change::Update => Colour::Yellow,
            Change::Remove => Colour::Red,
        };
        let line = terminal.paint(colour, &step.to_string());
        writeln!(terminal.out, "{line}")?;
    }
    for waiting in &plan.waiting {
        writeln!(terminal.out, "{waiting}")?;
    }
    Ok(())
}
