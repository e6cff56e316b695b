//! Counters and events: worth keeping over a restart, not worth waiting for the disk.

use std::collections::BTreeMap;

use api::ResourceId;
use api::control::Event;
use rusqlite::Connection;

use super::{Store, StoreError, now};

/// How many events are kept.
const KEPT: i64 = 1_000;

/// How often captured addresses were taken off the operating system, by claim.
pub(crate) type Removals = BTreeMap<ResourceId, u64>;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A configuration came into force.
    Applied,
    /// A configuration was refused by the host and taken back.
    Reverted,
    /// The host was restored.
    TornDown,
    /// The host differed and was put right.
    Repaired,
    /// The daemon started.
    Started,
    /// Dynamic parts came, went or were quarantined.
    Dynamic,
}

impl EventKind {
    /// As people read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Reverted => "reverted",
            Self::TornDown => "torn-down",
            Self::Repaired => "repaired",
            Self::Started => "started",
            Self::Dynamic => "dynamic",
        }
    }
}

impl Store {
    /// Adds to the counters.
    pub(crate) fn count_removals(&mut self, added: &Removals) -> Result<(), StoreError> {
        let Some(db) = &mut self.relaxed else {
            return Ok(());
        };
        add(db, added).map_err(StoreError::database("count removals"))
    }

    /// All counters.
    pub(crate) fn removals(&self) -> Result<Removals, StoreError> {
        let read = || -> rusqlite::Result<Removals> {
            let mut statement = self
                .durable
                .prepare("SELECT kind, name, count FROM removals")?;
            let rows = statement.query_map([], |row| {
                let id = ResourceId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                Ok((id, row.get(2)?))
            })?;
            rows.collect()
        };
        read().map_err(StoreError::database("read removals"))
    }

    /// Notes something that happened.
    pub(crate) fn note(&mut self, kind: EventKind, text: &str) -> Result<(), StoreError> {
        let Some(db) = &mut self.relaxed else {
            return Ok(());
        };
        insert(db, kind, text).map_err(StoreError::database("note event"))
    }

    /// The newest events, newest first.
    pub(crate) fn events(&self, limit: u32) -> Result<Vec<Event>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Event>> {
            let mut statement = self
                .durable
                .prepare("SELECT at, kind, text FROM events ORDER BY id DESC LIMIT ?1")?;
            let rows = statement.query_map([limit], |row| {
                Ok(Event {
                    at: row.get(0)?,
                    kind: row.get(1)?,
                    text: row.get(2)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(StoreError::database("read events"))
    }
}

fn add(db: &mut Connection, added: &Removals) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    for (id, count) in added {
        transaction.execute(
            "INSERT INTO removals (kind, name, count, last_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET count = count + excluded.count, last_at = excluded.last_at",
            (&id.kind, &id.name, count, now()),
        )?;
    }
    transaction.commit()
}

fn insert(db: &mut Connection, kind: EventKind, text: &str) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute(
        "INSERT INTO events (at, kind, text) VALUES (?1, ?2, ?3)",
        (now(), kind.as_str(), text),
    )?;
    let newest = transaction.last_insert_rowid();
    transaction.execute("DELETE FROM events WHERE id <= ?1", [newest - KEPT])?;
    transaction.commit()
}
