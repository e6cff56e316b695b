//! Taking in plans: once for each generation of an intent, never with another content.

use api::action::journal::{Actor, Event, State};
use api::action::plan::{ActionPlan, PlanError};

use super::book::Book;
use super::record::Action;

/// What importing a plan means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// It is this action already.
    Unchanged(u64),
    /// It becomes this action, by these rows.
    New(u64, Vec<(u64, Event)>),
}

/// Why a plan is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Its shape is wrong.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The key is taken for something else.
    #[error("{field} differs from action {id}, which has the same idempotencyKey and generation")]
    Changed {
        /// The action that has the key.
        id: u64,
        /// The first field that differs.
        field: &'static str,
    },
    /// The intent has moved on.
    #[error("generation {generation} is older than {latest} of action {id}")]
    Stale {
        /// The newest action with the key.
        id: u64,
        /// Its generation.
        latest: u64,
        /// The generation of the plan.
        generation: u64,
    },
}

/// What has to be written to the journal to take in a plan.
///
/// # Errors
/// Why it is not taken; nothing is to be written then.
pub fn import(book: &Book, plan: &ActionPlan, by: &Actor) -> Result<Imported, ImportError> {
    plan.check()?;
    let mut rows = Vec::new();
    if let Some(latest) = book.latest(&plan.idempotency_key) {
        let generation = latest.plan.generation;
        if plan.generation < generation {
            return Err(ImportError::Stale {
                id: latest.id,
                latest: generation,
                generation: plan.generation,
            });
        }
        if plan.generation == generation {
            return match first_difference(&latest.plan, plan) {
                Some(field) => Err(ImportError::Changed {
                    id: latest.id,
                    field,
                }),
                None => Ok(Imported::Unchanged(latest.id)),
            };
        }
        rows.extend(supersede(latest, plan.generation));
    }
    let id = book.next_id();
    rows.push((
        id,
        Event::Imported {
            plan: Box::new(plan.clone()),
            by: by.clone(),
        },
    ));
    Ok(Imported::New(id, rows))
}

fn supersede(latest: &Action, generation: u64) -> Option<(u64, Event)> {
    let waits = matches!(latest.state, State::Pending | State::Approved) && latest.flight.is_none();
    waits.then(|| {
        let reason = format!("superseded by generation {generation}");
        (latest.id, Event::Skipped { reason })
    })
}

/// What is shown but never consulted may differ: the name and the risk level.
fn first_difference(a: &ActionPlan, b: &ActionPlan) -> Option<&'static str> {
    let fields = [
        ("action", a.action != b.action),
        ("provider", a.provider != b.provider),
        ("providerRef", a.provider_ref != b.provider_ref),
        ("target", a.target != b.target),
        ("parameters", a.parameters != b.parameters),
        ("preconditions", a.preconditions != b.preconditions),
        ("expectedEffects", a.expected_effects != b.expected_effects),
        ("undo", a.undo != b.undo),
        ("decision", a.decision != b.decision),
    ];
    fields
        .into_iter()
        .find(|(_, differs)| *differs)
        .map(|(field, _)| field)
}
