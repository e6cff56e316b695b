//! What outlives the daemon: generations, ledger, counters, events and their deliveries in one SQLite database.
//!
//! Generations and ledger are on the disk when a call returns (write-ahead log, `synchronous = FULL`).
//! Counters and events survive a crash of the daemon, but the newest may be lost with the power.
//! No secret is ever in the database; see [`secrets`].

mod federation;
mod generations;
mod journal;
mod ledger;
mod migrations;
mod notes;
mod parts;
mod plugin_runs;
mod secrets;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::time::Timestamp;
use rusqlite::{Connection, OpenFlags};

pub(crate) use federation::{DueBatch, EventStore, Pruned, Reader, Settled};
pub(crate) use generations::{Generation, State, digest};
pub(crate) use journal::Journal;
pub(crate) use notes::{EventKind, Removals};
pub(crate) use parts::{LastRun, PartStore};
pub(crate) use plugin_runs::PluginRuns;

/// How long to wait for another process that reads or copies the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database and the folder of sealed secrets beside it.
#[derive(Debug)]
pub(crate) struct Store {
    /// Commits are on the disk when they return.
    durable: Connection,
    /// Commits are left to the next checkpoint; absent on a store opened to read.
    relaxed: Option<Connection>,
    secrets: secrets::Folder,
    /// The ledger as it stands in the database.
    saved: ledger::Rows,
}

/// The store could not do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A file could not be made, read or written.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused.
    #[error("{operation}: {source}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The database was written by a newer routerd.
    #[error("{}: its schema is version {found}, this routerd knows {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// Something in the database does not read.
    #[error("{operation}: {source}")]
    Content {
        /// What was read.
        operation: &'static str,
        /// Why it does not read.
        source: serde_json::Error,
    },
    /// The action journal could not be taken up.
    #[error("take up the action journal: {0}")]
    Journal(String),
    /// An inline key is written in a way that cannot be taken out of the text.
    #[error("an inline privateKey is not written as its plain 44 characters")]
    SecretNotLiteral,
}

impl StoreError {
    fn database(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }
}

impl Store {
    /// Opens the database for the daemon, making it and its folder if they are not there.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path)?;
        let mut durable = Connection::open(path).map_err(StoreError::database("open database"))?;
        configure(&durable, "FULL")?;
        migrations::migrate(&mut durable, path)?;
        let relaxed = Connection::open(path).map_err(StoreError::database("open database"))?;
        configure(&relaxed, "NORMAL")?;
        let saved = ledger::rows(&durable)?;
        Ok(Self {
            durable,
            relaxed: Some(relaxed),
            secrets: secrets::Folder::beside(path),
            saved,
        })
    }

    /// Opens the database to read only, beside a daemon or without one.
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let durable = Connection::open_with_flags(path, flags)
            .map_err(StoreError::database("open database to read"))?;
        durable
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(StoreError::database("set busy timeout"))?;
        migrations::check(&durable, path)?;
        let saved = ledger::rows(&durable)?;
        Ok(Self {
            durable,
            relaxed: None,
            secrets: secrets::Folder::beside(path),
            saved,
        })
    }
}

/// The folder only for us, the file only for us, before SQLite makes them by the umask.
fn make_private(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(StoreError::file("make folder", folder))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::file("make database", path))?;
    Ok(())
}

fn configure(db: &Connection, synchronous: &str) -> Result<(), StoreError> {
    db.busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| db.pragma_update(None, "journal_mode", "WAL"))
        .and_then(|()| db.pragma_update(None, "synchronous", synchronous))
        .and_then(|()| db.pragma_update(None, "foreign_keys", "ON"))
        .map_err(StoreError::database("configure database"))
}

/// The time, as it crosses process boundaries.
pub(crate) fn timestamp() -> Timestamp {
    Timestamp::from_millis(u64::try_from(now()).unwrap_or_default())
}

/// Milliseconds since the epoch, as all times in the database.
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
