//! Events of the federation: those observed here and those received, on their way to peers and to plugins.
//!
//! One connection for all of it, behind one lock, so that nobody waits by polling. What is appended or received
//! is on the disk when a call returns; progress that can be made again (a delivery, a prune) is left to the next
//! checkpoint: losing it costs a duplicate, which receivers recognise.

mod ends;
mod inbox;
mod list;
mod outbox;
mod prune;
#[cfg(test)]
mod tests;
mod work;

use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use api::event::Event;
use api::time::Timestamp;
use routerd_core::federation::receive::{Known, Outcome, digest, sort_out};
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use super::{StoreError, configure, make_private, migrations};

pub(crate) use outbox::{Reader, Settled};
pub(crate) use prune::Pruned;
pub(crate) use work::DueBatch;

/// Hears that there is something new.
type Listener = Box<dyn Fn() + Send + Sync>;

/// The events of all groups.
pub(crate) struct EventStore {
    db: Mutex<Database>,
    listeners: RwLock<Vec<Listener>>,
}

/// A connection and how durable its commits are right now.
struct Database {
    connection: Connection,
    durable: bool,
}

/// Whether a commit is on the disk when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Durable,
    Relaxed,
}

impl EventStore {
    /// Opens the database, making it if it is not there; beside a daemon or without one.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path)?;
        let mut connection =
            Connection::open(path).map_err(StoreError::database("open database"))?;
        configure(&connection, "FULL")?;
        connection.set_prepared_statement_cache_capacity(64);
        migrations::migrate(&mut connection, path)?;
        Ok(Self {
            db: Mutex::new(Database {
                connection,
                durable: true,
            }),
            listeners: RwLock::default(),
        })
    }

    /// Opens the database to read only, beside a daemon or without one.
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(StoreError::database("open database to read"))?;
        connection
            .busy_timeout(super::BUSY_TIMEOUT)
            .map_err(StoreError::database("set busy timeout"))?;
        migrations::check(&connection, path)?;
        Ok(Self {
            db: Mutex::new(Database {
                connection,
                durable: true,
            }),
            listeners: RwLock::default(),
        })
    }

    /// Has `listener` called after each change that brought events, from the thread that made it. It must not
    /// block or call this store.
    pub(crate) fn on_new(&self, listener: impl Fn() + Send + Sync + 'static) {
        let mut listeners = self
            .listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }

    /// Tells everybody that there may be new events, for those that another process stored.
    pub(crate) fn announce(&self) {
        let listeners = self
            .listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener());
    }

    /// Stores events that were observed or proposed here; says what became of each, in order. What is accepted is
    /// on the disk when this returns.
    pub(crate) fn append(
        &self,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.transaction("append events", Commit::Durable, |tx| {
            let mut outcomes = Vec::with_capacity(events.len());
            for event in events {
                let group = event.group.clone();
                let sorted = sort_out(now, &group, vec![event], &Memory { tx, group: &group });
                outcomes.extend(insert(tx, now, &sorted.events)?);
            }
            Ok(outcomes)
        })?;
        if outcomes.contains(&Outcome::Accepted) {
            self.announce();
        }
        Ok(outcomes)
    }

    /// Changes with every commit that another connection made: another process may have emitted something.
    pub(crate) fn version(&self) -> Result<i64, StoreError> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        db.connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(StoreError::database("look for changes of others"))
    }

    /// All or nothing. A failure inside takes everything back.
    fn transaction<T>(
        &self,
        operation: &'static str,
        commit: Commit,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        db.transaction(commit, body)
            .map_err(StoreError::database(operation))
    }

    /// Looks without changing anything.
    fn read<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        body(&db.connection).map_err(StoreError::database(operation))
    }
}

impl Database {
    fn transaction<T>(
        &mut self,
        commit: Commit,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let durable = commit == Commit::Durable;
        if durable != self.durable {
            let mode = if durable { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", mode)?;
            self.durable = durable;
        }
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = body(&tx)?;
        tx.commit()?;
        Ok(done)
    }
}

/// What the store knows of a group, inside a transaction.
struct Memory<'t> {
    tx: &'t Transaction<'t>,
    group: &'t str,
}

impl Known for Memory<'_> {
    fn nonce_seen(&self, sender: &str, nonce: &str) -> bool {
        let seen = || -> rusqlite::Result<bool> {
            self.tx
                .prepare_cached(
                    "SELECT 1 FROM federation_nonces WHERE grp = ?1 AND sender = ?2 AND nonce = ?3",
                )?
                .exists((self.group, sender, nonce))
        };
        // Who cannot look it up takes nothing: the sender tries again.
        seen().unwrap_or(true)
    }

    fn event_digest(&self, id: &str) -> Option<[u8; 32]> {
        let find = || -> rusqlite::Result<Option<[u8; 32]>> {
            self.tx
                .prepare_cached("SELECT digest FROM federation_events WHERE grp = ?1 AND id = ?2")?
                .query_row((self.group, id), |row| row.get(0))
                .optional()
        };
        // An insert of what is there already fails on the table's own rule.
        find().unwrap_or(None)
    }
}

/// Stores those that are accepted.
fn insert(
    tx: &Transaction<'_>,
    now: Timestamp,
    events: &[(Event, Outcome)],
) -> rusqlite::Result<Vec<Outcome>> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO federation_events
             (grp, id, source, type, subject, event, digest, stored_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let mut outcomes = Vec::with_capacity(events.len());
    for (event, outcome) in events {
        if *outcome == Outcome::Accepted {
            let text = serde_json::to_string(event)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            statement.execute((
                &event.group,
                &event.id,
                &event.source_node,
                &event.kind,
                &event.subject,
                text,
                digest(event),
                now.as_millis(),
                event.expires_at.as_millis(),
            ))?;
        }
        outcomes.push(*outcome);
    }
    Ok(outcomes)
}

/// An event as it stands in a column.
fn event_at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Event> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}

/// A point in time as it stands in a column.
fn time_at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// A point in time that may be absent.
fn optional_time(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<u64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}
