//! Parts of the dynamic configuration, and how their sources ran last.

use std::path::Path;
use std::sync::Arc;

use api::time::Timestamp;
use routerd_core::dynamic::Part;
use rusqlite::{Connection, Transaction};

use super::{Store, StoreError, configure, make_private, migrations};

/// How long a part is kept after it counted no more, in milliseconds: an older word about the same must not bring
/// it back.
const MEMORY: u64 = 86_400_000;

/// The table of parts, by a connection of its own: a commit is on the disk when a call returns.
#[derive(Debug)]
pub(crate) struct PartStore {
    db: Connection,
}

/// How a source ran last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastRun {
    /// The source.
    pub(crate) source: String,
    /// When it was started.
    pub(crate) began_at: Timestamp,
    /// How many runs in a row failed.
    pub(crate) failures: u32,
    /// Why the last one failed.
    pub(crate) message: Option<String>,
}

impl PartStore {
    /// How many generations of a source are kept.
    pub(crate) const GENERATIONS: u64 = 3;

    /// Opens the database, making it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path)?;
        let mut db = Connection::open(path).map_err(StoreError::database("open database"))?;
        configure(&db, "FULL")?;
        migrations::migrate(&mut db, path)?;
        Ok(Self { db })
    }

    /// All parts, in order of source and generation.
    pub(crate) fn parts(&self) -> Result<Vec<Arc<Part>>, StoreError> {
        parts(&self.db)
    }

    /// Keeps parts, all or none; older generations of their sources go.
    pub(crate) fn keep(&mut self, parts: &[Part]) -> Result<(), StoreError> {
        let rows: Result<Vec<_>, _> = parts.iter().map(serde_json::to_string).collect();
        let rows = rows.map_err(content)?;
        let keep = |tx: &Transaction<'_>| -> rusqlite::Result<()> {
            for (part, row) in parts.iter().zip(&rows) {
                let gone = part.gone_at().map(Timestamp::as_millis);
                tx.prepare_cached("INSERT OR REPLACE INTO dynamic_parts VALUES (?1, ?2, ?3, ?4)")?
                    .execute((&part.source, part.generation, row, gone))?;
                let oldest = part.generation.saturating_sub(Self::GENERATIONS - 1);
                tx.prepare_cached(
                    "DELETE FROM dynamic_parts WHERE source = ?1 AND generation < ?2",
                )?
                .execute((&part.source, oldest))?;
            }
            Ok(())
        };
        let tx = self.db.transaction();
        tx.and_then(|tx| keep(&tx).and_then(|()| tx.commit()))
            .map_err(StoreError::database("keep dynamic parts"))
    }

    /// Forgets parts that counted no more for a day; says since when those that are left were gone at the earliest.
    pub(crate) fn prune(&mut self, now: Timestamp) -> Result<Timestamp, StoreError> {
        let limit = now.as_millis().saturating_sub(MEMORY);
        self.db
            .execute("DELETE FROM dynamic_parts WHERE gone_at < ?1", [limit])
            .map(|_| Timestamp::from_millis(limit))
            .map_err(StoreError::database("prune dynamic parts"))
    }

    /// How all sources ran last.
    pub(crate) fn runs(&self) -> Result<Vec<LastRun>, StoreError> {
        runs(&self.db)
    }

    /// Notes how a source ran.
    pub(crate) fn note_run(&mut self, run: &LastRun) -> Result<(), StoreError> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO dynamic_runs VALUES (?1, ?2, ?3, ?4)",
                (
                    &run.source,
                    run.began_at.as_millis(),
                    run.failures,
                    &run.message,
                ),
            )
            .map(drop)
            .map_err(StoreError::database("note run of a source"))
    }
}

impl Store {
    /// All parts, in order of source and generation.
    pub(crate) fn parts(&self) -> Result<Vec<Arc<Part>>, StoreError> {
        parts(&self.durable)
    }

    /// How all sources ran last.
    pub(crate) fn runs_of_sources(&self) -> Result<Vec<LastRun>, StoreError> {
        runs(&self.durable)
    }
}

fn parts(db: &Connection) -> Result<Vec<Arc<Part>>, StoreError> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT part FROM dynamic_parts ORDER BY source, generation";
        db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let rows = read().map_err(StoreError::database("read dynamic parts"))?;
    rows.iter()
        .map(|row| serde_json::from_str(row).map(Arc::new).map_err(content))
        .collect()
}

fn runs(db: &Connection) -> Result<Vec<LastRun>, StoreError> {
    let read = || -> rusqlite::Result<Vec<LastRun>> {
        let sql = "SELECT source, began_at, failures, message FROM dynamic_runs ORDER BY source";
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            Ok(LastRun {
                source: row.get(0)?,
                began_at: Timestamp::from_millis(row.get(1)?),
                failures: row.get(2)?,
                message: row.get(3)?,
            })
        })?;
        rows.collect()
    };
    read().map_err(StoreError::database("read runs of sources"))
}

fn content(source: serde_json::Error) -> StoreError {
    StoreError::Content {
        operation: "read dynamic parts",
        source,
    }
}
