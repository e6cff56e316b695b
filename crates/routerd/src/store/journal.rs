//! The journal of provider actions: rows in, rows out. What they mean is `routerd_core::action`'s.

use std::path::Path;

use routerd_core::action::StoredRow;
use rusqlite::{Connection, Row};

use super::{StoreError, configure};

/// A connection of its own: the reconcile loop never waits for the actions, nor they for it.
#[derive(Debug)]
pub(crate) struct Journal {
    db: Connection,
}

impl Journal {
    /// Opens the journal in a database that [`super::Store::open`] has brought to the newest schema.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Connection::open(path).map_err(StoreError::database("open action journal"))?;
        configure(&db, "FULL")?;
        Ok(Self { db })
    }

    /// All rows after this number, in order.
    pub(crate) fn rows(&self, after: u64) -> Result<Vec<StoredRow>, StoreError> {
        let read = || -> rusqlite::Result<Vec<StoredRow>> {
            let mut statement = self.db.prepare_cached(
                "SELECT seq, at, action, event, previous, hash FROM action_journal
                 WHERE seq > ?1 ORDER BY seq",
            )?;
            statement.query_map([after], stored)?.collect()
        };
        read().map_err(StoreError::database("read action journal"))
    }

    /// Adds rows, all or none; on the disk when this returns.
    pub(crate) fn append(&mut self, rows: &[StoredRow]) -> Result<(), StoreError> {
        let write = |db: &mut Connection| -> rusqlite::Result<()> {
            let transaction = db.transaction()?;
            for row in rows {
                transaction
                    .prepare_cached(
                        "INSERT INTO action_journal (seq, at, action, event, previous, hash)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute((
                        row.seq,
                        &row.at,
                        row.action,
                        &row.event,
                        &row.previous,
                        &row.hash,
                    ))?;
            }
            transaction.commit()
        };
        write(&mut self.db).map_err(StoreError::database("write action journal"))
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow {
        seq: row.get(0)?,
        at: row.get(1)?,
        action: row.get(2)?,
        event: row.get(3)?,
        previous: row.get(4)?,
        hash: row.get(5)?,
    })
}

#[cfg(test)]
mod tests;
