//! Actions as people and programs see them.

use api::action::control::{ActionView, Refusal};

use super::record::Action;

/// An action at a glance; `held` is what holds it back now.
pub fn view(action: &Action, held: Option<Refusal>) -> ActionView {
    let message = (!action.message.is_empty()).then(|| action.message.clone());
    ActionView {
        id: action.id,
        state: action.state,
        plan: action.plan.clone(),
        imported_by: action.imported_by.to_string(),
        imported_at: action.imported_at,
        changed_at: action.changed_at,
        attempts: action.attempts,
        approved_by: action.approved_by.as_ref().map(ToString::to_string),
        rollback_approved_by: action
            .rollback_approved_by
            .as_ref()
            .map(ToString::to_string),
        withdrawn: action.withdrawn.clone(),
        prior: action.prior.as_ref().map(|prior| prior.facts.clone()),
        observed: action.observed.clone(),
        message,
        error: action.error.clone(),
        retry_at: action.retry_at,
        held,
    }
}
