//! Versions of the schema. A migration that was released is never edited: the next one changes what it made.

use std::path::Path;

use rusqlite::Connection;

use super::{StoreError, now};

/// Migration `n` leads to version `n + 1`.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_initial.sql"),
    include_str!("migrations/002_federation.sql"),
    include_str!("migrations/003_actions.sql"),
    include_str!("migrations/004_dynamic.sql"),
];

/// The version that the last migration leads to.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Brings the schema to the newest version, each step in a transaction of its own.
pub(super) fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_versions (
             version    INTEGER PRIMARY KEY,
             applied_at INTEGER NOT NULL
         ) STRICT",
    )
    .map_err(StoreError::database("make table of schema versions"))?;
    check(db, path)?;
    let done = version(db)?;
    let rest = MIGRATIONS.iter().zip(1..).skip(done as usize);
    for (sql, version) in rest {
        step(db, sql, version).map_err(StoreError::database("migrate schema"))?;
    }
    Ok(())
}

/// Refuses a database that a newer routerd wrote.
pub(super) fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let (found, known) = (version(db)?, newest());
    if found > known {
        let path = path.to_owned();
        return Err(StoreError::Newer { path, found, known });
    }
    Ok(())
}

fn version(db: &Connection) -> Result<u32, StoreError> {
    db.query_row(
        "SELECT coalesce(max(version), 0) FROM schema_versions",
        [],
        |row| row.get(0),
    )
    .map_err(StoreError::database("read schema version"))
}

fn step(db: &mut Connection, sql: &str, version: u32) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute_batch(sql)?;
    transaction.execute(
        "INSERT INTO schema_versions (version, applied_at) VALUES (?1, ?2)",
        (version, now()),
    )?;
    transaction.commit()
}
