//! The parts of this node: in the database first, then in memory for whoever merges.

#![expect(dead_code, reason = "for the worker that runs plugins")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api::time::Timestamp;
use routerd_core::dynamic::Part;

use crate::store::{LastRun, PartStore, StoreError, timestamp};
use crate::view::lock;

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
        let stock = self.stock();
        let parts = stock.parts.into_iter();
        parts.map(|part| (part.source.clone(), part)).collect()
    }

    /// How each source ran last.
    pub(crate) fn runs(&self) -> BTreeMap<String, LastRun> {
        lock(&self.inside).runs.clone()
    }

    /// Keeps parts: on the disk when this returns, then seen by everybody.
    pub(crate) fn put(&self, parts: &[Part]) -> Result<(), StoreError> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut inside = lock(&self.inside);
        inside.store.keep(parts)?;
        for part in parts {
            inside.insert(part.clone());
        }
        inside.version += 1;
        Ok(())
    }

    /// Notes how a source ran.
    pub(crate) fn note_run(&self, run: LastRun) -> Result<(), StoreError> {
        let mut inside = lock(&self.inside);
        inside.store.note_run(&run)?;
        inside.runs.insert(run.source.clone(), run);
        Ok(())
    }

    /// Forgets what counted no more for long.
    pub(crate) fn prune(&self) -> Result<(), StoreError> {
        let mut inside = lock(&self.inside);
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
