//! Plugins run for the events that they are meant for.

use super::federation;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = federation("event-runs", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(state) = &scene.runtime.federation else {
        return;
    };
    let intent = &scene.effective.federation;
    for (name, subscription) in &intent.subscriptions {
        let objective = intent.objective(&subscription.group);
        let Some(backlog) = state.backlogs.get(name) else {
            continue;
        };
        let (pending, failed) = (backlog.pending, backlog.failed);
        if failed > objective.max_failed_runs {
            let why = backlog.error.as_deref().unwrap_or("no reason was kept");
            let detail = format!("the last run for {failed} events failed: {why}");
            let remedy = format!("routerctl plugin run {} --dry-run", subscription.plugin);
            findings.fail(&subscription.owner, detail, remedy);
        } else if pending > objective.max_pending_runs {
            let detail = format!("{pending} events wait for a run");
            let remedy = "routerctl federation subscription runs";
            findings.warn(&subscription.owner, detail, remedy);
        } else {
            findings.pass(
                &subscription.owner,
                format!("{pending} events wait for a run"),
            );
        }
    }
}
