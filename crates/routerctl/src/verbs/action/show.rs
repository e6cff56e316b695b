//! `routerctl action show`: everything about one action.

use api::action::control::ActionDetail;
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
    let plan = &action.plan;
    let state = terminal.paint(colour(action.state), action.state.as_str());
    let provider = format!("{} ({})", plan.provider_ref, plan.provider);
    let mut facts = vec![
        ("Action ID", action.id.to_string()),
        ("Name", plan.name.clone()),
        ("Action", plan.action.to_string()),
        ("Target", target(&plan.target)),
        ("Provider", provider),
        ("Result", state),
    ];
    facts.extend(plan.target.nic_ref.clone().map(|nic| ("NIC", nic)));
    let risk = format!("{:?}", plan.risk_level).to_lowercase();
    facts.push(("Risk", risk));
    let undo = match plan.undo {
        Undo::RestorePrior => "restores what was before",
        Undo::None => "cannot be taken back",
    };
    facts.push(("Undo", undo.to_owned()));
    facts.push((
        "Key",
        format!("{} generation {}", plan.idempotency_key, plan.generation),
    ));
    facts.push((
        "Proposed by",
        format!("{} at {}", action.imported_by, action.imported_at),
    ));
    let optional = [
        ("Approved by", action.approved_by.clone()),
        ("Rollback approved by", action.rollback_approved_by.clone()),
        ("Withdrawn", action.withdrawn.clone()),
        (
            "Prior facts",
            action.prior.as_ref().map(ToString::to_string),
        ),
        ("Message", action.message.clone()),
        ("Retry at", action.retry_at.map(|at| at.to_string())),
    ];
    facts.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if !action.observed.is_empty() {
        facts.push(("Observed", action.observed.to_string()));
    }
    if let Some(error) = &action.error {
        facts.push(("Error", format!("{}: {}", error.class, error.detail)));
        let more = [
            ("Permission", &error.permission),
            ("Scope", &error.scope),
            ("Hint", &error.hint),
        ];
        facts.extend(
            more.into_iter()
                .filter_map(|(name, value)| Some((name, value.clone()?))),
        );
    }
    if let Some(held) = &action.held {
        facts.push(("Waits", format!("{} ({})", held.reason, held.code)));
    }
    for (name, value) in facts {
        writeln!(terminal.out, "{name}: {value}")?;
    }
    writeln!(terminal.out)?;
    rows(&detail.rows, terminal)
}
