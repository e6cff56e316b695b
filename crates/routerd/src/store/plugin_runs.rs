//! The records of plugins' runs.

use std::collections::BTreeMap;
use std::path::Path;

use api::plugin::PluginRun;
use api::time::Timestamp;
use rusqlite::{Connection, Row};

use super::{StoreError, configure};

/// How many runs of one plugin are kept.
const KEPT: u32 = 200;

/// A connection of its own: plugins run beside the reconcile loop.
#[derive(Debug)]
pub(crate) struct PluginRuns {
    db: Connection,
}

impl PluginRuns {
    /// Opens the records in a database that [`super::Store::open`] has brought to the newest schema.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Connection::open(path).map_err(StoreError::database("open plugin runs"))?;
        configure(&db, "NORMAL")?;
        Ok(Self { db })
    }

    /// Records a run and gives it its number; the oldest of the same plugin go.
    pub(crate) fn add(&mut self, run: &PluginRun) -> Result<u64, StoreError> {
        let write = |db: &mut Connection| -> rusqlite::Result<u64> {
            let transaction = db.transaction()?;
            transaction.execute(
                "INSERT INTO plugin_runs (plugin, reason, started_at, millis, ok, outcome, stderr, sandbox)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (
                    &run.plugin,
                    &run.reason,
                    run.started_at.as_millis(),
                    run.millis,
                    run.ok,
                    &run.outcome,
                    &run.stderr,
                    &run.sandbox,
                ),
            )?;
            let id = transaction.last_insert_rowid();
            transaction.execute(
                "DELETE FROM plugin_runs WHERE plugin = ?1 AND id <=
                     (SELECT id FROM plugin_runs WHERE plugin = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (&run.plugin, KEPT),
            )?;
            transaction.commit()?;
            Ok(u64::try_from(id).unwrap_or_default())
        };
        write(&mut self.db).map_err(StoreError::database("record plugin run"))
    }

    /// The newest run of each plugin.
    pub(crate) fn last(&self) -> Result<BTreeMap<String, PluginRun>, StoreError> {
        let sql = "SELECT id, plugin, reason, started_at, millis, ok, outcome, stderr, sandbox
                   FROM plugin_runs WHERE id IN (SELECT max(id) FROM plugin_runs GROUP BY plugin)";
        let read = || -> rusqlite::Result<BTreeMap<String, PluginRun>> {
            let mut statement = self.db.prepare_cached(sql)?;
            let runs = statement.query_map([], recorded)?;
            runs.map(|run| run.map(|run| (run.plugin.clone(), run)))
                .collect()
        };
        read().map_err(StoreError::database("read plugin runs"))
    }

    /// The newest runs of one plugin or of all, newest first.
    pub(crate) fn newest(
        &self,
        plugin: Option<&str>,
        limit: u32,
    ) -> Result<Vec<PluginRun>, StoreError> {
        let sql = "SELECT id, plugin, reason, started_at, millis, ok, outcome, stderr, sandbox
                   FROM plugin_runs WHERE ?1 IS NULL OR plugin = ?1 ORDER BY id DESC LIMIT ?2";
        let read = || -> rusqlite::Result<Vec<PluginRun>> {
            let mut statement = self.db.prepare_cached(sql)?;
            statement.query_map((plugin, limit), recorded)?.collect()
        };
        read().map_err(StoreError::database("read plugin runs"))
    }
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<PluginRun> {
    Ok(PluginRun {
        id: row.get(0)?,
        plugin: row.get(1)?,
        reason: row.get(2)?,
        started_at: Timestamp::from_millis(row.get(3)?),
        millis: row.get(4)?,
        ok: row.get(5)?,
        outcome: row.get(6)?,
        stderr: row.get(7)?,
        sandbox: row.get(8)?,
    })
}
