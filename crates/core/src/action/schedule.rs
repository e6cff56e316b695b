//! Which executor to start next, and why the others wait.

use std::collections::{BTreeMap, BTreeSet};

use api::action::control::Refusal;
use api::action::journal::{Actor, Event};
use api::action::plan::{ActionPlan, Decision, ProviderName};
use api::action::protocol::Mode;
use api::time::Timestamp;

use super::book::Book;
use super::policy::Policy;
use super::record::Action;
use super::turn::{Block, Turn, hold, rank, refusal};

/// How much longer a lease is than its executor may take, in milliseconds: time to kill and to reap it (at most ten
/// seconds, twice the grace of the plugin runner), and for a request that it had sent to be answered.
const LEASE_GRACE_MS: u64 = 15_000;

/// What is true outside the journal.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The time.
    pub now: Timestamp,
    /// Policies by name.
    pub policies: &'a BTreeMap<String, Policy>,
    /// The routing decisions in force, by subject.
    pub decisions: &'a BTreeMap<String, Decision>,
    /// The cloud of each configured profile.
    pub profiles: &'a BTreeMap<String, ProviderName>,
    /// The clouds whose executor is configured and may execute provider actions.
    pub executors: &'a BTreeSet<ProviderName>,
}

/// What is to be done about actions in one go: what a person asked for, or what the daemon does by itself.
#[derive(Debug, Clone)]
pub struct Run {
    purpose: Purpose,
    by: Actor,
    only: BTreeSet<u64>,
    looked: BTreeSet<u64>,
    done: BTreeSet<u64>,
    begun: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Automatic,
    Execute { dry_run: bool },
    Rollback { dry_run: bool },
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write a row.
    Record(u64, Event),
    /// Start an executor.
    Start(u64, Mode),
    /// Nothing until a running executor ends, or at all.
    Nothing,
}

impl Run {
    /// What the daemon does by itself: execute and retry what needs no approval, look at what is unknown, roll
    /// back what was withdrawn.
    pub fn automatic() -> Self {
        Self::new(Purpose::Automatic, Actor::daemon(), [])
    }

    /// Executes these actions, or all whose turn it is.
    pub fn execute(ids: impl IntoIterator<Item = u64>, dry_run: bool, by: Actor) -> Self {
        Self::new(Purpose::Execute { dry_run }, by, ids)
    }

    /// Rolls these actions back, or all that can be.
    pub fn rollback(ids: impl IntoIterator<Item = u64>, dry_run: bool, by: Actor) -> Self {
        Self::new(Purpose::Rollback { dry_run }, by, ids)
    }

    fn new(purpose: Purpose, by: Actor, ids: impl IntoIterator<Item = u64>) -> Self {
        Self {
            purpose,
            by,
            only: ids.into_iter().collect(),
            looked: BTreeSet::new(),
            done: BTreeSet::new(),
            begun: BTreeMap::new(),
        }
    }

    /// The next thing to do in this run. Ask again whenever a row was written: nothing is started twice.
    pub fn next(&mut self, book: &Book, world: World<'_>) -> Next {
        let mut actions: Vec<&Action> = book
            .actions()
            .filter(|a| self.only.is_empty() || self.only.contains(&a.id))
            .collect();
        actions.sort_by_key(|action| (rank(action.plan.action), action.id));
        if self.rolls_back_all() {
            actions.reverse();
        }
        for action in actions {
            match self.judge(book, world, action) {
                Ok((mode, policy)) => {
                    self.note(action.id, mode, policy);
                    return Next::Start(action.id, mode);
                }
                Err(Block::GiveUp(reason)) => {
                    return Next::Record(action.id, give_up(action, reason));
                }
                Err(Block::Hold(_)) => {}
            }
        }
        Next::Nothing
    }

    /// Why an action does not go on now; absent if it would.
    pub fn held(&self, book: &Book, world: World<'_>, action: &Action) -> Option<Refusal> {
        match self.judge(book, world, action) {
            Ok(_) => None,
            Err(Block::Hold(refusal)) => Some(refusal),
            Err(Block::GiveUp(reason)) => Some(refusal("fenced", reason)),
        }
    }

    /// The row to write before an executor is started that is killed after `timeout_millis`.
    pub fn started(
        &self,
        action: &Action,
        mode: Mode,
        now: Timestamp,
        timeout_millis: u64,
    ) -> Event {
        Event::Started {
            mode,
            attempt: action.attempts + 1,
            lease_until: now.plus_millis(timeout_millis.saturating_add(LEASE_GRACE_MS)),
            by: self.by.clone(),
        }
    }

    pub(crate) fn is_automatic(&self) -> bool {
        self.purpose == Purpose::Automatic
    }

    pub(crate) fn has_looked(&self, id: u64) -> bool {
        self.looked.contains(&id)
    }

    pub(crate) fn begun_under(&self, policy: &str) -> u32 {
        self.begun.get(policy).copied().unwrap_or(0)
    }

    fn rolls_back_all(&self) -> bool {
        matches!(self.purpose, Purpose::Rollback { .. })
    }

    fn note(&mut self, id: u64, mode: Mode, policy: String) {
        match mode {
            Mode::Observe => {
                self.looked.insert(id);
            }
            Mode::DryRun => {
                self.done.insert(id);
            }
            Mode::Execute | Mode::Rollback => {
                self.done.insert(id);
                *self.begun.entry(policy).or_default() += 1;
            }
        }
    }

    fn judge(
        &self,
        book: &Book,
        world: World<'_>,
        action: &Action,
    ) -> Result<(Mode, String), Block> {
        if self.done.contains(&action.id) {
            return hold("done", "it had its turn in this run");
        }
        if action.flight.is_some() {
            return hold("running", "its executor is running");
        }
        let turn = Turn {
            run: self,
            book,
            world,
            action,
        };
        let (mode, policy) = match self.purpose {
            Purpose::Automatic if action.withdrawn.is_some() => turn.rollback()?,
            Purpose::Automatic | Purpose::Execute { dry_run: false } => turn.execute()?,
            Purpose::Rollback { dry_run: false } => turn.rollback()?,
            Purpose::Execute { dry_run: true } => turn.dry_execute()?,
            Purpose::Rollback { dry_run: true } => turn.dry_rollback()?,
        };
        turn.executor_is_there()?;
        turn.target_is_free()?;
        Ok((mode, policy))
    }
}

/// The rows to write when the daemon starts: whatever ran when it ended did not answer, and may still be alive.
pub fn interrupted(book: &Book) -> Vec<(u64, Event)> {
    let lost = |action: &Action| {
        let mode = action.flight.as_ref()?.mode;
        let reason = format!("the daemon ended while its executor was asked to {mode}");
        Some((
            action.id,
            Event::Lost {
                mode,
                reason,
                reaped: false,
            },
        ))
    };
    book.open().filter_map(lost).collect()
}

/// Why the decision that a plan follows is no longer in force; absent if it is, or if it follows none.
pub(crate) fn outdated(
    plan: &ActionPlan,
    decisions: &BTreeMap<String, Decision>,
) -> Option<String> {
    let followed = plan.decision.as_ref()?;
    match decisions.get(&followed.subject) {
        Some(current) if current == followed => None,
        Some(current) => Some(format!(
            "the decision about {} has changed: {} now holds it, generation {}",
            followed.subject, current.holder, current.generation
        )),
        None => Some(format!(
            "there is no decision about {} any more",
            followed.subject
        )),
    }
}

/// What becomes of an action whose reason is gone: nothing was done yet, or what was done should be taken back.
pub(crate) fn give_up(action: &Action, reason: String) -> Event {
    if action.may_be_in_effect() {
        Event::Withdrawn { reason }
    } else {
        Event::Skipped { reason }
    }
}
