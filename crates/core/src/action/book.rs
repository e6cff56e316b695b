//! All actions of a journal.
//!
//! What a row may follow is checked here once more, although only [`super::schedule`] makes rows: a journal
//! that breaks the rules was not written by this software, and nothing is executed on its word.

use std::collections::{BTreeMap, BTreeSet};

use api::action::journal::{Actor, Event, JournalRow, State};
use api::action::plan::ActionPlan;
use api::action::protocol::Mode;
use api::time::Timestamp;

use super::record::{Action, Prior};

/// Everything that a journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    actions: BTreeMap<u64, Action>,
    /// The newest generation of each key.
    newest: BTreeMap<String, u64>,
    /// Actions that are neither skipped nor rolled back: the ones that can stand in another's way.
    open: BTreeSet<u64>,
    /// Actions whose executor was lost and may be alive, whatever became of the action since.
    leased: BTreeSet<u64>,
}

/// A row that cannot follow the rows before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal row {seq}, action {action}: {reason}")]
pub struct FoldError {
    /// The row.
    pub seq: u64,
    /// The action.
    pub action: u64,
    /// What is wrong, as a lowercase fragment.
    pub reason: String,
}

impl Book {
    /// The action with this number.
    pub fn get(&self, id: u64) -> Option<&Action> {
        self.actions.get(&id)
    }

    /// All actions in order of their numbers.
    pub fn actions(&self) -> impl DoubleEndedIterator<Item = &Action> {
        self.actions.values()
    }

    /// The number that the next action gets.
    pub fn next_id(&self) -> u64 {
        self.actions.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// The newest generation of an intent.
    pub fn latest(&self, idempotency_key: &str) -> Option<&Action> {
        self.actions.get(self.newest.get(idempotency_key)?)
    }

    /// The actions that are neither skipped nor rolled back.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = &Action> {
        self.open.iter().filter_map(|id| self.actions.get(id))
    }

    /// Takes in the next row.
    ///
    /// # Errors
    /// When the row cannot follow; the book stays as it was.
    pub fn push(&mut self, row: &JournalRow) -> Result<(), FoldError> {
        let result = match &row.event {
            Event::Imported { plan, by } => self.import(row, plan, by),
            event => self.change(row, event),
        };
        result.map_err(|reason| FoldError {
            seq: row.seq,
            action: row.action,
            reason,
        })
    }

    fn change(&mut self, row: &JournalRow, event: &Event) -> Result<(), String> {
        let action = self
            .actions
            .get(&row.action)
            .ok_or("there is no such action")?;
        self.free_for(action, row)?;
        let next = action.after(row.at, event, self.baseline(action, event))?;
        if next.state == State::RolledBack {
            self.close_predecessors(&next);
        }
        if matches!(next.state, State::Skipped | State::RolledBack) {
            self.open.remove(&row.action);
        }
        if next.lease_until.is_some() {
            self.leased.insert(row.action);
        } else {
            self.leased.remove(&row.action);
        }
        self.actions.insert(row.action, next);
        Ok(())
    }

    /// Earlier generations that stood on the same baseline were taken back with it.
    fn close_predecessors(&mut self, done: &Action) {
        let same = |id: &u64| {
            self.actions.get(id).is_some_and(|earlier| {
                earlier.plan.target == done.plan.target
                    && earlier.has_effect_of(done)
                    && earlier.prior == done.prior
                    && earlier.flight.is_none()
                    && matches!(earlier.state, State::Succeeded | State::Failed)
            })
        };
        let closed: Vec<u64> = self.open.range(..done.id).copied().filter(same).collect();
        for id in closed {
            self.open.remove(&id);
            if let Some(earlier) = self.actions.get_mut(&id) {
                earlier.state = State::RolledBack;
                earlier.message = format!("rolled back with action {}", done.id);
            }
        }
    }

    /// A start needs a target that nobody else has.
    fn free_for(&self, action: &Action, row: &JournalRow) -> Result<(), String> {
        match (&row.event, self.busy(action, row.at)) {
            (Event::Started { .. }, Some(other)) => Err(format!(
                "started while action {} has the same target",
                other.id
            )),
            _ => Ok(()),
        }
    }

    /// The action, this one included, whose executor may be alive and touch the same target.
    pub fn busy(&self, action: &Action, now: Timestamp) -> Option<&Action> {
        let alive = |other: &&Action| {
            other.flight.is_some() || other.lease_until.is_some_and(|until| until > now)
        };
        self.open
            .union(&self.leased)
            .filter_map(|id| self.actions.get(id))
            .filter(|other| other.shares_lane(action))
            .find(alive)
    }

    fn import(&mut self, row: &JournalRow, plan: &ActionPlan, by: &Actor) -> Result<(), String> {
        if row.action != self.next_id() {
            return Err(format!("the next action is number {}", self.next_id()));
        }
        plan.check().map_err(|e| e.to_string())?;
        if self
            .latest(&plan.idempotency_key)
            .is_some_and(|latest| latest.plan.generation >= plan.generation)
        {
            return Err("its generation was imported before".to_owned());
        }
        self.newest.insert(plan.idempotency_key.clone(), row.action);
        self.open.insert(row.action);
        self.actions
            .insert(row.action, Action::new(row.action, row.at, plan, by));
        Ok(())
    }

    /// The prior facts of an earlier action that had the same effect and was not taken back: what that one found
    /// is still the true baseline, what can be seen now is its work.
    fn baseline(&self, action: &Action, event: &Event) -> Option<Prior> {
        if !matches!(
            event,
            Event::Finished {
                mode: Mode::Observe,
                ..
            }
        ) {
            return None;
        }
        self.open()
            .rev()
            .filter(|earlier| earlier.id < action.id)
            .filter(|earlier| earlier.has_effect_of(action) && earlier.may_be_in_effect())
            .find_map(|earlier| earlier.prior.clone())
    }

    /// A later action with the same effect that may be in effect: it stands on the same baseline, so the
    /// earlier one must not be rolled back under it.
    pub fn successor(&self, action: &Action) -> Option<&Action> {
        self.open()
            .filter(|later| later.id > action.id)
            .find(|later| later.has_effect_of(action) && later.may_be_in_effect())
    }
}
