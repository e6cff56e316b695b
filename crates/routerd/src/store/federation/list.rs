//! What people and checks ask about events, deliveries and runs.

use api::federation::{Delivery, Outbox, Run, Selection, StoredEvent};
use api::time::Timestamp;
use routerd_core::federation::intent::PeerIntent;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{EventStore, event_at, optional_time, time_at};
use crate::store::StoreError;

impl EventStore {
    /// The newest events, newest first. States are `active` and `expired`.
    pub(crate) fn list_events(
        &self,
        now: Timestamp,
        selection: &Selection,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let active = selection.state.as_deref().map(|state| state == "active");
        self.read("list events", |db| {
            let mut statement = db.prepare_cached(
                "SELECT event, stored_at, expires_at > ?1 FROM federation_events
                 WHERE (?2 IS NULL OR grp = ?2) AND (?3 IS NULL OR (expires_at > ?1) = ?3)
                 ORDER BY seq DESC LIMIT ?4",
            )?;
            let rows = statement.query_map(
                (now.as_millis(), &selection.group, active, selection.limit),
                |row| {
                    Ok(StoredEvent {
                        event: event_at(row, 0)?,
                        stored_at: time_at(row, 1)?,
                        active: row.get(2)?,
                    })
                },
            )?;
            rows.collect()
        })
    }

    /// Deliveries, newest first.
    pub(crate) fn list_deliveries(
        &self,
        selection: &Selection,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.read("list deliveries", |db| {
            let mut statement = db.prepare_cached(
                "SELECT e.id, e.grp, e.type, e.subject, d.peer, d.state, e.stored_at, d.settled_at,
                        coalesce(d.detail, CASE d.state WHEN 'pending' THEN r.error END)
                 FROM federation_deliveries d JOIN federation_events e USING (seq)
                 LEFT JOIN federation_readers r ON r.kind = 'peer' AND r.name = d.peer
                 WHERE (?1 IS NULL OR e.grp = ?1) AND (?2 IS NULL OR d.state = ?2)
                 ORDER BY d.seq DESC, d.peer LIMIT ?3",
            )?;
            let rows = statement.query_map(
                (&selection.group, &selection.state, selection.limit),
                delivery,
            )?;
            rows.collect()
        })
    }

    /// Each peer's outbox.
    pub(crate) fn outboxes(&self) -> Result<Vec<Outbox>, StoreError> {
        self.read("sum up deliveries", |db| {
            let mut statement = db.prepare_cached(
                "SELECT name, failures, not_before, attempted_at, succeeded_at, error
                 FROM federation_readers WHERE kind = 'peer' ORDER BY name",
            )?;
            let rows = statement.query_map([], reader)?;
            let mut outboxes = rows.collect::<Result<Vec<_>, _>>()?;
            outboxes
                .iter_mut()
                .try_for_each(|outbox| count(db, outbox))?;
            Ok(outboxes)
        })
    }

    /// How many events that were stored before `before` and are still true should be in a peer's outbox and are
    /// not.
    pub(crate) fn missing(
        &self,
        now: Timestamp,
        before: Timestamp,
        name: &str,
        peer: &PeerIntent,
        node: &str,
    ) -> Result<u64, StoreError> {
        self.read("look for missing deliveries", |db| {
            let mut statement = db.prepare_cached(
                "SELECT type, subject FROM federation_events e
                 WHERE grp = ?1 AND stored_at < ?2 AND source = ?3 AND expires_at > ?4
                   AND NOT EXISTS (SELECT 1 FROM federation_deliveries d
                                   WHERE d.seq = e.seq AND d.peer = ?5)",
            )?;
            let (before, now) = (before.as_millis(), now.as_millis());
            let mut rows = statement.query((&peer.group, before, node, now, name))?;
            let mut missing = 0;
            while let Some(row) = rows.next()? {
                let (kind, subject): (String, String) = (row.get(0)?, row.get(1)?);
                missing += u64::from(peer.filter.admits_fact(&kind, &subject));
            }
            Ok(missing)
        })
    }

    /// Why the last failed run of a subscription failed.
    pub(crate) fn last_failure(&self, subscription: &str) -> Result<Option<String>, StoreError> {
        self.read("read runs", |db| {
            let found = db
                .prepare_cached(
                    "SELECT error FROM federation_runs WHERE subscription = ?1 AND state = 'failed'
                     ORDER BY id DESC LIMIT 1",
                )?
                .query_row([subscription], |row| row.get(0))
                .optional()?;
            Ok(found.flatten())
        })
    }

    /// How many events wait for each subscription, and for how many of them the last run failed.
    pub(crate) fn backlog(&self, subscription: &str) -> Result<(u64, u64), StoreError> {
        self.read("count waiting events", |db| {
            db.prepare_cached(
                "SELECT count(*), count(*) FILTER (WHERE attempts > 0)
                 FROM federation_work WHERE subscription = ?1 AND state = 'pending'",
            )?
            .query_row([subscription], |row| Ok((row.get(0)?, row.get(1)?)))
        })
    }

    /// Runs, newest first; the group of a selection does not count.
    pub(crate) fn list_runs(&self, selection: &Selection) -> Result<Vec<Run>, StoreError> {
        self.read("list runs", |db| {
            let mut statement = db.prepare_cached(
                "SELECT id, subscription, plugin, state, events, began_at, ended_at, error
                 FROM federation_runs WHERE ?1 IS NULL OR state = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map((&selection.state, selection.limit), |row| {
                Ok(Run {
                    id: row.get(0)?,
                    subscription: row.get(1)?,
                    plugin: row.get(2)?,
                    state: row.get(3)?,
                    events: row.get(4)?,
                    began_at: time_at(row, 5)?,
                    ended_at: optional_time(row, 6)?,
                    error: row.get(7)?,
                })
            })?;
            rows.collect()
        })
    }
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: row.get(0)?,
        group: row.get(1)?,
        kind: row.get(2)?,
        subject: row.get(3)?,
        peer: row.get(4)?,
        state: row.get(5)?,
        stored_at: time_at(row, 6)?,
        settled_at: optional_time(row, 7)?,
        detail: row.get(8)?,
    })
}

fn reader(row: &Row<'_>) -> rusqlite::Result<Outbox> {
    let not_before: u64 = row.get(2)?;
    Ok(Outbox {
        peer: row.get(0)?,
        failures: row.get(1)?,
        next_attempt: (not_before > 0).then(|| Timestamp::from_millis(not_before)),
        attempted_at: optional_time(row, 3)?,
        succeeded_at: optional_time(row, 4)?,
        error: row.get(5)?,
        ..Outbox::default()
    })
}

fn count(db: &Connection, outbox: &mut Outbox) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "SELECT count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'delivered'),
                count(*) FILTER (WHERE state = 'refused'), count(*) FILTER (WHERE state = 'dead')
         FROM federation_deliveries WHERE peer = ?1",
    )?;
    let (pending, delivered, refused, dead) = statement.query_row([&outbox.peer], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    (outbox.pending, outbox.delivered) = (pending, delivered);
    (outbox.refused, outbox.dead) = (refused, dead);
    let mut statement = db.prepare_cached(
        "SELECT min(e.stored_at), min(e.expires_at)
         FROM federation_deliveries d JOIN federation_events e USING (seq)
         WHERE d.peer = ?1 AND d.state = 'pending'",
    )?;
    (outbox.oldest, outbox.first_expiry) = statement.query_row([&outbox.peer], |row| {
        Ok((optional_time(row, 0)?, optional_time(row, 1)?))
    })?;
    Ok(())
}
