//! The parts of this node: in the database first, then in memory for whoever merges.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api::event::Event;
use api::plugin::PluginStatus;
use api::time::Timestamp;
use routerd_core::dynamic::{Part, Refusal, Run, accept, ends};

use crate::store::{LastRun, PartStore, StoreError, timestamp};
use crate::view::lock;

/// Between two prunes, in milliseconds.
const PRUNE: u64 = 600_000;

/// How parts are told apart: source and generation.
pub(crate) type Key = (String, u64);

/// All parts. Shared by everybody who makes parts and everybody who merges them.
pub(crate) struct Shelf {
    inside: Mutex<Inside>,
    clock: fn() -> Timestamp,
}

struct Inside {
    store: PartStore,
    version: u64,
    pruned_at: Timestamp,
    parts: BTreeMap<Key, Arc<Part>>,
    runs: BTreeMap<String, LastRun>,
}

/// What stands on a shelf at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stock {
    /// Grows with each change.
    pub(crate) version: u64,
    /// All parts, in order of source and generation.
    pub(crate) parts: Vec<Arc<Part>>,
}

impl Shelf {
    /// The parts in a database, by the clock of this host.
    pub(crate) fn open(store: PartStore) -> Result<Self, StoreError> {
        Self::with_clock(store, timestamp)
    }

    /// The same by another clock.
    pub(crate) fn with_clock(
        store: PartStore,
        clock: fn() -> Timestamp,
    ) -> Result<Self, StoreError> {
        let parts = store.parts()?;
        let runs = store.runs()?;
        let runs = runs.into_iter().map(|run| (run.source.clone(), run));
        Ok(Self {
            inside: Mutex::new(Inside {
                store,
                version: 1,
                pruned_at: Timestamp::default(),
                parts: parts.into_iter().map(|part| (key(&part), part)).collect(),
                runs: runs.collect(),
            }),
            clock,
        })
    }

    /// The time by which parts come and go.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// What stands on it now.
    pub(crate) fn stock(&self) -> Stock {
        let inside = lock(&self.inside);
        Stock {
            version: inside.version,
            parts: inside.parts.values().cloned().collect(),
        }
    }

    /// The version of what stands on it.
    pub(crate) fn version(&self) -> u64 {
        lock(&self.inside).version
    }

    /// The newest part of each source.
    pub(crate) fn latest(&self) -> BTreeMap<String, Arc<Part>> {
        lock(&self.inside).latest()
    }

    /// How each source ran last.
    pub(crate) fn runs(&self) -> BTreeMap<String, LastRun> {
        lock(&self.inside).runs.clone()
    }

    /// Keeps parts as they are: on the disk when this returns, then seen by everybody.
    #[cfg(test)]
    pub(crate) fn put(&self, parts: &[Part]) -> Result<(), StoreError> {
        lock(&self.inside).keep(parts)
    }

    /// Takes in what a plugin said; hands back the events about which something younger is known.
    pub(crate) fn take(
        &self,
        run: &Run<'_>,
        status: PluginStatus,
    ) -> Result<Result<Vec<String>, Refusal>, StoreError> {
        let mut inside = lock(&self.inside);
        let latest = inside.latest();
        let taken = match accept(run, status, &latest) {
            Ok(taken) => taken,
            Err(refusal) => return Ok(Err(refusal)),
        };
        inside.keep(&taken.parts)?;
        Ok(Ok(taken.outdated))
    }

    /// Ends the parts that came from a fact which this event says is over; says whether there were any.
    pub(crate) fn end(&self, event: &Event) -> Result<bool, StoreError> {
        let mut inside = lock(&self.inside);
        let latest: Vec<Arc<Part>> = inside.latest().into_values().collect();
        let ended = ends(event, &latest, self.now());
        inside.keep(&ended)?;
        Ok(!ended.is_empty())
    }

    /// Notes how a source ran.
    pub(crate) fn note_run(&self, run: LastRun) -> Result<(), StoreError> {
        let mut inside = lock(&self.inside);
        inside.store.note_run(&run)?;
        inside.runs.insert(run.source.clone(), run);
        Ok(())
    }

    /// Forgets what counted no more for long. Does something once in a while only.
    pub(crate) fn prune(&self) -> Result<(), StoreError> {
        let mut inside = lock(&self.inside);
        if self.now().millis_since(inside.pruned_at) < PRUNE {
            return Ok(());
        }
        inside.pruned_at = self.now();
        let limit = inside.store.prune(self.now())?;
        let before = inside.parts.len();
        inside
            .parts
            .retain(|_, part| part.gone_at().is_none_or(|gone| gone >= limit));
        inside.version += u64::from(inside.parts.len() != before);
        Ok(())
    }
}

impl Inside {
    fn latest(&self) -> BTreeMap<String, Arc<Part>> {
        let parts = self.parts.values();
        parts
            .map(|part| (part.source.clone(), Arc::clone(part)))
            .collect()
    }

    fn keep(&mut self, parts: &[Part]) -> Result<(), StoreError> {
        if parts.is_empty() {
            return Ok(());
        }
        self.store.keep(parts)?;
        for part in parts {
            self.insert(part.clone());
        }
        self.version += 1;
        Ok(())
    }

    /// What the database keeps.
    fn insert(&mut self, part: Part) {
        let oldest = part.generation.saturating_sub(PartStore::GENERATIONS - 1);
        let source = part.source.clone();
        self.parts.insert(key(&part), Arc::new(part));
        let older: Vec<Key> = self
            .parts
            .range((source.clone(), 0)..(source, oldest))
            .map(|(key, _)| key.clone())
            .collect();
        for key in older {
            self.parts.remove(&key);
        }
    }
}

/// How a part is told from others.
pub(crate) fn key(part: &Part) -> Key {
    (part.source.clone(), part.generation)
}
