//! The journal in memory and on the disk, always the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::action::control::{Import, Proposal, Refusal, Tampered};
use api::action::journal::{Actor, Event, Head, JournalRow, State};
use api::action::plan::ActionPlan;
use routerd_core::Effective;
use routerd_core::action::{
    Action, Book, Chain, Imported, Run, StoredRow, import, verify, withdrawals,
};

use super::Trouble;
use super::settings::Settings;
use crate::store::{Journal, StoreError, timestamp};

/// What there is to decide from.
pub(super) struct Desk {
    journal: Journal,
    chain: Chain,
    book: Book,
    /// The first row that is not as it was written: nothing is written or executed any more.
    tampered: Option<Tampered>,
    /// What is in force; absent before the first generation.
    settings: Option<Arc<Settings>>,
    /// What came into force and was not followed yet.
    fresh: Option<(u64, Arc<Effective>)>,
    pub(super) stopping: bool,
}

/// A journal that was read.
struct Reading {
    chain: Chain,
    book: Book,
    rows: Vec<JournalRow>,
    tampered: Option<Tampered>,
}

/// Reads rows up to the first that is not as it was written.
fn read(stored: &[StoredRow]) -> Reading {
    let mut reading = Reading {
        chain: Chain::default(),
        book: Book::default(),
        rows: Vec::new(),
        tampered: None,
    };
    for row in stored {
        let mut chain = reading.chain.clone();
        let followed = chain.follow(row).and_then(|row| {
            let pushed = reading.book.push(&row).map_err(|error| Tampered {
                seq: error.seq,
                reason: error.to_string(),
            });
            pushed.map(|()| row)
        });
        match followed {
            Ok(row) => {
                reading.chain = chain;
                reading.rows.push(row);
            }
            Err(tampered) => {
                reading.tampered = Some(tampered);
                break;
            }
        }
    }
    reading
}

impl Desk {
    pub(super) fn open(journal: Journal) -> Result<Self, StoreError> {
        let reading = read(&journal.rows(0)?);
        Ok(Self {
            journal,
            chain: reading.chain,
            book: reading.book,
            tampered: reading.tampered,
            settings: None,
            fresh: None,
            stopping: false,
        })
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    pub(super) fn tampered(&self) -> Option<&Tampered> {
        self.tampered.as_ref()
    }

    /// The number of the last row.
    pub(super) fn last_row(&self) -> u64 {
        self.chain.head().seq
    }

    /// What is in force.
    pub(super) fn settings(&self) -> Result<Arc<Settings>, Trouble> {
        self.settings.clone().ok_or(Trouble::Idle)
    }

    pub(super) fn enter(&mut self, settings: Settings) {
        self.settings = Some(Arc::new(settings));
    }

    pub(super) fn commit(&mut self, generation: u64, effective: &Arc<Effective>) {
        let same = |known: &Settings| {
            known.generation == generation && Arc::ptr_eq(&known.effective, effective)
        };
        if !self.settings.as_deref().is_some_and(same) {
            self.fresh = Some((generation, Arc::clone(effective)));
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.is_some()
    }

    /// What is in force counts as new once more.
    pub(super) fn follow_again(&mut self) {
        if let (Some(settings), None) = (&self.settings, &self.fresh) {
            self.fresh = Some((settings.generation, Arc::clone(&settings.effective)));
        }
    }

    /// Takes up what came into force: gives up what is not asked for any more, takes in what is.
    pub(super) fn follow(&mut self) -> Result<(), Trouble> {
        let Some((generation, effective)) = self.fresh.take() else {
            return Ok(());
        };
        let (settings, plans) = Settings::of(generation, &effective, &self.book, false);
        let given_up = withdrawals(&self.book, &settings.decisions);
        self.enter(settings);
        if self.tampered.is_some() {
            return Ok(());
        }
        self.append(given_up)?;
        for refused in self.import(&plans, &Actor::daemon())? {
            if let Import::Refused { reason } = refused {
                tracing::warn!("a proposed action is not taken: {reason}");
            }
        }
        Ok(())
    }

    /// That these actions exist.
    pub(super) fn know(&self, ids: &BTreeSet<u64>) -> Result<(), Trouble> {
        let mut unknown = ids.iter().filter(|id| self.book.get(**id).is_none());
        unknown
            .next()
            .map_or(Ok(()), |id| Err(Trouble::NoAction(*id)))
    }

    /// Adds rows, all or none; they are on the disk when this returns.
    pub(super) fn append(&mut self, events: Vec<(u64, Event)>) -> Result<(), Trouble> {
        if events.is_empty() {
            return Ok(());
        }
        self.check_trust()?;
        let (now, mut chain) = (timestamp(), self.chain.clone());
        let mut stored = Vec::new();
        for (action, event) in &events {
            let sealed = chain.seal(now, *action, event);
            let row = chain.follow(&sealed).map_err(Trouble::Tampered)?;
            if let Err(error) = self.book.push(&row) {
                if !stored.is_empty() {
                    self.reload()?;
                }
                return Err(Trouble::State(error));
            }
            stored.push(sealed);
        }
        if let Err(error) = self.journal.append(&stored) {
            self.reload()?;
            return Err(error.into());
        }
        self.chain = chain;
        note(&stored);
        Ok(())
    }

    /// Takes in plans; what became of each, in order.
    pub(super) fn import(
        &mut self,
        plans: &[ActionPlan],
        by: &Actor,
    ) -> Result<Vec<Import>, Trouble> {
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        self.check_trust()?;
        let mut draft = Draft {
            book: self.book.clone(),
            chain: self.chain.clone(),
            stored: Vec::new(),
        };
        let mut reports = Vec::new();
        for plan in plans {
            reports.push(draft.import(plan, by)?);
        }
        self.journal.append(&draft.stored)?;
        note(&draft.stored);
        (self.book, self.chain) = (draft.book, draft.chain);
        Ok(reports)
    }

    fn check_trust(&self) -> Result<(), Trouble> {
        match &self.tampered {
            Some(tampered) => Err(Trouble::Tampered(tampered.clone())),
            None => Ok(()),
        }
    }

    /// Whether anything may be started.
    pub(super) fn trusted_settings(&self) -> Result<Arc<Settings>, Trouble> {
        self.check_trust()?;
        self.settings()
    }

    /// What could not be written must not be remembered.
    fn reload(&mut self) -> Result<(), Trouble> {
        let reading = read(&self.journal.rows(0)?);
        self.chain = reading.chain;
        self.book = reading.book;
        self.tampered = reading.tampered;
        Ok(())
    }

    /// The rows on the disk after a number, and the first that is not as it was written.
    pub(super) fn rows(
        &self,
        after: u64,
    ) -> Result<(Vec<JournalRow>, Option<Tampered>), StoreError> {
        let mut reading = read(&self.journal.rows(0)?);
        reading.rows.retain(|row| row.seq > after);
        Ok((reading.rows, reading.tampered))
    }

    /// Checks the chain on the disk against itself, against what this daemon wrote, and against noted heads.
    pub(super) fn verify(&self, noted: &[Head]) -> Result<Option<Tampered>, StoreError> {
        let mut heads = noted.to_vec();
        heads.push(self.chain.head().clone());
        heads.retain(|head| head.seq > 0);
        Ok(verify(&self.journal.rows(0)?, &heads).err())
    }

    /// From now on nothing is executed.
    pub(super) fn distrust(&mut self, tampered: &Tampered) {
        if self.tampered.is_none() {
            let (seq, reason) = (tampered.seq, &tampered.reason);
            tracing::error!("action journal, row {seq}: {reason}; no action is executed");
            self.tampered = Some(tampered.clone());
        }
    }

    /// What holds an action back, for a person who would start it now; for one whose reason is gone, its
    /// rollback.
    pub(super) fn held(&self, action: &Action) -> Option<Refusal> {
        let settings = self.settings.as_ref()?;
        let over = matches!(
            action.state,
            State::Succeeded | State::Skipped | State::RolledBack
        );
        let run = match (over, &action.withdrawn) {
            (true, Some(_)) if action.can_be_undone() => Run::rollback([], false, Actor::daemon()),
            (true, _) => return None,
            (false, _) => Run::execute([], false, Actor::daemon()),
        };
        run.held(&self.book, settings.world(timestamp()), action)
    }

    /// What a configuration asks for, whether it is in force or not.
    pub(super) fn proposals(&self, effective: &Arc<Effective>) -> Vec<Proposal> {
        let (settings, plans) = Settings::of(0, effective, &self.book, false);
        let mut draft = Draft {
            book: self.book.clone(),
            chain: self.chain.clone(),
            stored: Vec::new(),
        };
        let run = Run::execute([], false, Actor::daemon());
        let mut proposals = Vec::new();
        for plan in plans {
            let id = match draft.import(&plan, &Actor::daemon()) {
                Ok(Import::Imported { id } | Import::Unchanged { id }) => id,
                Ok(Import::Refused { .. }) | Err(_) => continue,
            };
            let known = self.book.get(id);
            let held = draft
                .book
                .get(id)
                .filter(|action| !matches!(action.state, State::Succeeded))
                .and_then(|action| run.held(&draft.book, settings.world(timestamp()), action));
            proposals.push(Proposal {
                id: known.map(|action| action.id),
                state: known.map(|action| action.state),
                name: plan.name,
                action: plan.action,
                provider_ref: plan.provider_ref,
                target: plan.target,
                held,
            });
        }
        proposals
    }
}

/// Rows that are not written yet.
struct Draft {
    book: Book,
    chain: Chain,
    stored: Vec<StoredRow>,
}

impl Draft {
    fn import(&mut self, plan: &ActionPlan, by: &Actor) -> Result<Import, Trouble> {
        let (id, events) = match import(&self.book, plan, by) {
            Ok(Imported::Unchanged(id)) => return Ok(Import::Unchanged { id }),
            Ok(Imported::New(id, events)) => (id, events),
            Err(error) => {
                let reason = format!("{}: {error}", plan.name);
                return Ok(Import::Refused { reason });
            }
        };
        for (action, event) in events {
            let sealed = self.chain.seal(timestamp(), action, &event);
            let row = self.chain.follow(&sealed).map_err(Trouble::Tampered)?;
            self.book.push(&row).map_err(Trouble::State)?;
            self.stored.push(sealed);
        }
        Ok(Import::Imported { id })
    }
}

/// The log is the other place where the chain is noted: who cuts rows off the journal contradicts it.
fn note(stored: &[StoredRow]) {
    if let Some(last) = stored.last() {
        let (seq, hash) = (last.seq, &last.hash);
        tracing::info!(action = last.action, "action journal {seq}:{hash}");
    }
}
