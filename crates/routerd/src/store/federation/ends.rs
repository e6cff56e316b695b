//! Facts that are over: events whose type ends in `.expired`.

use api::event::Event;
use rusqlite::OptionalExtension;

use super::{EventStore, event_at};
use crate::store::StoreError;

impl EventStore {
    /// The facts that ended among the events behind `seq`, oldest first, and the number of the last event.
    pub(crate) fn ends_after(&self, seq: i64) -> Result<(Vec<Event>, i64), StoreError> {
        self.read("find facts that ended", |db| {
            let last: Option<i64> = db
                .prepare_cached("SELECT max(seq) FROM federation_events")?
                .query_row([], |row| row.get(0))?;
            let last = last.unwrap_or(seq).max(seq);
            let mut statement = db.prepare_cached(
                "SELECT event FROM federation_events
                 WHERE seq > ?1 AND seq <= ?2 AND type LIKE '%.expired' ORDER BY seq",
            )?;
            let rows = statement.query_map((seq, last), |row| event_at(row, 0))?;
            Ok((rows.collect::<Result<_, _>>()?, last))
        })
    }

    /// Whether a fact is over: its node said so, and not before it.
    pub(crate) fn is_ended(&self, event: &Event) -> Result<bool, StoreError> {
        let Some((family, _)) = event.kind.rsplit_once('.') else {
            return Ok(false);
        };
        let kind = format!("{family}.expired");
        self.read("look for the end of a fact", |db| {
            let end = db
                .prepare_cached(
                    "SELECT event FROM federation_events
                     WHERE grp = ?1 AND subject = ?2 AND type = ?3 AND source = ?4
                     ORDER BY seq DESC LIMIT 1",
                )?
                .query_row(
                    (&event.group, &event.subject, kind, &event.source_node),
                    |row| event_at(row, 0),
                )
                .optional()?;
            Ok(end.is_some_and(|end| end.observed_at >= event.observed_at))
        })
    }
}
