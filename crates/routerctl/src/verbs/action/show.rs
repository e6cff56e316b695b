//! `routerctl action show`: everything about one action.

use api::action::control::{ActionDetail, ActionView};
use api::action::plan::Undo;

use super::journal::rows;
use super::{colour, target};
use crate::cli_action as cli;
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::output::print;
use crate::terminal::Terminal;

pub(super) fn run(
    options: &cli::One,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let detail: ActionDetail = client.get(&format!("/v1/actions/{}", options.id))?;
    print(terminal, options.show.output, &detail, text)?;
    Ok(OK)
}

fn text(detail: &ActionDetail, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let action = &detail.action;
    let state = terminal.paint(colour(action.state), action.state.as_str());
    for (name, value) in plan(action, state).into_iter().chain(history(action)) {
        writeln!(terminal.out, "{name}: {value}")?;
    }
    writeln!(terminal.out)?;
    rows(&detail.rows, terminal)
}

type Line = (&'static str, String);

/// What is to be done, and where it stands.
fn plan(action: &ActionView, state: String) -> Vec<Line> {
    let plan = &action.plan;
    let undo = match plan.undo {
        Undo::RestorePrior => "restores what was before",
        Undo::None => "cannot be taken back",
    };
    let key = format!("{} generation {}", plan.idempotency_key, plan.generation);
    let mut lines = vec![
        ("Action ID", action.id.to_string()),
        ("Name", plan.name.clone()),
        ("Action", plan.action.to_string()),
        ("Target", target(&plan.target)),
        (
            "Provider",
            format!("{} ({})", plan.provider_ref, plan.provider),
        ),
        ("Result", state),
    ];
    lines.extend(plan.target.nic_ref.clone().map(|nic| ("NIC", nic)));
    lines.extend([
        ("Risk", format!("{:?}", plan.risk_level).to_lowercase()),
        ("Undo", undo.to_owned()),
        ("Key", key),
        (
            "Proposed by",
            format!("{} at {}", action.imported_by, action.imported_at),
        ),
    ]);
    lines
}

/// What was done and said about it, as far as there is anything.
fn history(action: &ActionView) -> Vec<Line> {
    let prior = action.prior.as_ref().map(ToString::to_string);
    let observed = (!action.observed.is_empty()).then(|| action.observed.to_string());
    let held = action.held.as_ref();
    let error = action.error.as_ref();
    let lines = [
        ("Approved by", action.approved_by.clone()),
        ("Rollback approved by", action.rollback_approved_by.clone()),
        ("Withdrawn", action.withdrawn.clone()),
        ("Prior facts", prior),
        ("Message", action.message.clone()),
        ("Retry at", action.retry_at.map(|at| at.to_string())),
        ("Observed", observed),
        ("Error", error.map(|e| format!("{}: {}", e.class, e.detail))),
        ("Permission", error.and_then(|e| e.permission.clone())),
        ("Scope", error.and_then(|e| e.scope.clone())),
        ("Hint", error.and_then(|e| e.hint.clone())),
        (
            "Waits",
            held.map(|held| format!("{} ({})", held.reason, held.code)),
        ),
    ];
    let lines = lines.into_iter();
    lines
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
