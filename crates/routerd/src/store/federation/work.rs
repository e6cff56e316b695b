//! What a subscription has to run for. A pair of subscription and event that succeeded never runs again: its row
//! stays until the event could not come again, even where the event itself was pruned.

use std::collections::BTreeMap;

use api::event::Event;
use api::time::Timestamp;
use routerd_core::federation::intent::SubscriptionIntent;
use routerd_core::federation::subscription::{Pending, batch_limit, retry_wait};
use rusqlite::Transaction;

use super::outbox::{Reader, advance, progress};
use super::{Commit, EventStore, event_at};
use crate::store::StoreError;

/// How many events are looked at in one transaction.
const STRIDE: u32 = 1_024;
/// How many runs are kept.
const KEPT_RUNS: i64 = 1_000;

/// Events that a plugin has to run for now. Whoever takes it owes [`EventStore::finish_run`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DueBatch {
    /// Number of the run.
    pub(crate) run: i64,
    /// The `EventSubscription`.
    pub(crate) subscription: String,
    /// The `Plugin`.
    pub(crate) plugin: String,
    /// The events, oldest first; none of them has expired.
    pub(crate) events: Vec<Event>,
}

impl EventStore {
    /// Takes back what a daemon that ended in the middle had under way; it runs again.
    pub(crate) fn recover_runs(&self, now: Timestamp) -> Result<(), StoreError> {
        self.transaction("take back runs", Commit::Relaxed, |tx| {
            tx.execute(
                "UPDATE federation_work SET state = 'pending', run = NULL WHERE state = 'running'",
                [],
            )?;
            tx.execute(
                "UPDATE federation_runs SET state = 'interrupted', ended_at = ?1
                 WHERE state = 'running'",
                [now.as_millis()],
            )?;
            Ok(())
        })
    }

    /// The batches that are due, at most one a subscription and none for one that is under way, and when to ask
    /// again if nothing new comes before.
    pub(crate) fn take_due(
        &self,
        now: Timestamp,
        subscriptions: &BTreeMap<String, SubscriptionIntent>,
    ) -> Result<(Vec<DueBatch>, Option<Timestamp>), StoreError> {
        let (mut batches, mut next) = (Vec::new(), None::<Timestamp>);
        for (name, intent) in subscriptions {
            self.fill_work(name, intent)?;
            let due = self.transaction("take due events", Commit::Relaxed, |tx| {
                expire(tx, now, name)?;
                let due = due(tx, name, intent)?;
                match due.next() {
                    Some(at) if at <= now => Ok((take(tx, now, name, intent, due)?, None)),
                    later => Ok((None, later)),
                }
            })?;
            batches.extend(due.0);
            next = [next, due.1].into_iter().flatten().min();
        }
        Ok((batches, next))
    }

    /// Ends a run: what succeeded is done for good, what failed waits for another try.
    pub(crate) fn finish_run(
        &self,
        now: Timestamp,
        run: i64,
        result: Result<(), &str>,
    ) -> Result<(), StoreError> {
        self.transaction("finish run", Commit::Durable, |tx| {
            let (state, error) = match result {
                Ok(()) => ("succeeded", None),
                Err(error) => ("failed", Some(error)),
            };
            tx.execute(
                "UPDATE federation_runs SET state = ?2, ended_at = ?3, error = ?4
                 WHERE id = ?1 AND state = 'running'",
                (run, state, now.as_millis(), error),
            )?;
            match result {
                Ok(()) => tx.execute(
                    "UPDATE federation_work SET state = 'succeeded', run = NULL
                     WHERE run = ?1 AND state = 'running'",
                    [run],
                )?,
                Err(_) => postpone(tx, now, run)?,
            };
            tx.execute(
                "DELETE FROM federation_runs WHERE id <= ?1",
                [run - KEPT_RUNS],
            )?;
            Ok(())
        })?;
        self.announce();
        Ok(())
    }

    /// Finds the new events that a subscription is for.
    fn fill_work(&self, name: &str, intent: &SubscriptionIntent) -> Result<(), StoreError> {
        let matcher = format!("{} {:?}", intent.group, intent.events);
        loop {
            let more = self.transaction("match events", Commit::Relaxed, |tx| {
                let from = progress(tx, Reader::Subscription, name, &matcher)?.seq;
                fill(tx, name, intent, from)
            })?;
            if !more {
                return Ok(());
            }
        }
    }
}

fn fill(
    tx: &Transaction<'_>,
    name: &str,
    intent: &SubscriptionIntent,
    from: i64,
) -> rusqlite::Result<bool> {
    let mut read = tx.prepare_cached(
        "SELECT seq, grp, event, stored_at, expires_at FROM federation_events
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut write = tx.prepare_cached(
        "INSERT INTO federation_work
             (subscription, grp, id, seq, stored_at, expires_at, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending') ON CONFLICT DO NOTHING",
    )?;
    let (mut rows, mut last, mut count) = (read.query((from, STRIDE))?, from, 0);
    while let Some(row) = rows.next()? {
        (last, count) = (row.get(0)?, count + 1);
        if row.get_ref(1)?.as_str()? != intent.group {
            continue;
        }
        let event = event_at(row, 2)?;
        if intent.events.admits(&event) {
            let (stored, expires): (i64, i64) = (row.get(3)?, row.get(4)?);
            write.execute((name, &event.group, &event.id, last, stored, expires))?;
        }
    }
    if last != from {
        advance(tx, Reader::Subscription, name, last)?;
    }
    Ok(count == STRIDE)
}

/// What is no longer true needs no run.
fn expire(tx: &Transaction<'_>, now: Timestamp, name: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE federation_work SET state = 'expired'
         WHERE subscription = ?1 AND state = 'pending' AND expires_at <= ?2",
    )?
    .execute((name, now.as_millis()))?;
    Ok(())
}

/// When something is due for a subscription; all absent while a run is under way.
#[derive(Debug, Clone, Copy, Default)]
struct Due {
    /// Events that no run has seen yet.
    fresh: Option<Timestamp>,
    /// Events whose run failed.
    retry: Option<Timestamp>,
}

impl Due {
    fn next(self) -> Option<Timestamp> {
        [self.fresh, self.retry].into_iter().flatten().min()
    }
}

fn due(tx: &Transaction<'_>, name: &str, intent: &SubscriptionIntent) -> rusqlite::Result<Due> {
    let busy = tx
        .prepare_cached(
            "SELECT 1 FROM federation_runs WHERE subscription = ?1 AND state = 'running'",
        )?
        .exists([name])?;
    if busy {
        return Ok(Due::default());
    }
    let millis = |value: Option<u64>| value.map(Timestamp::from_millis);
    let (first, latest, retry) = tx
        .prepare_cached(
            "SELECT min(stored_at) FILTER (WHERE attempts = 0),
                    max(stored_at) FILTER (WHERE attempts = 0),
                    min(not_before) FILTER (WHERE attempts > 0)
             FROM federation_work WHERE subscription = ?1 AND state = 'pending'",
        )?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let fresh = millis(first)
        .zip(millis(latest))
        .map(|(first, latest)| intent.gather.due(Pending { first, latest }));
    let retry = millis(retry);
    Ok(Due { fresh, retry })
}

/// Begins a run for what waits: fresh events together, failed ones in ever smaller batches, so that one bad event
/// is alone in the end.
fn take(
    tx: &Transaction<'_>,
    now: Timestamp,
    name: &str,
    intent: &SubscriptionIntent,
    due: Due,
) -> rusqlite::Result<Option<DueBatch>> {
    let fresh = due.fresh.is_some_and(|at| at <= now);
    let ready = {
        let mut statement = tx.prepare_cached(
            "SELECT w.id, w.attempts, e.event
             FROM federation_work w JOIN federation_events e USING (seq)
             WHERE w.subscription = ?1 AND w.state = 'pending'
               AND CASE w.attempts WHEN 0 THEN ?3 ELSE w.not_before <= ?2 END
             ORDER BY w.attempts, w.seq LIMIT 256",
        )?;
        let rows = statement.query_map((name, now.as_millis(), fresh), |row| {
            Ok((row.get::<_, u32>(1)?, event_at(row, 2)?))
        })?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    let Some(attempts) = ready.first().map(|(attempts, _)| *attempts) else {
        return forget_pruned(tx, name);
    };
    let alike = ready.into_iter().take_while(|(a, _)| *a == attempts);
    let events: Vec<Event> = alike
        .map(|(_, event)| event)
        .take(batch_limit(attempts))
        .collect();
    tx.prepare_cached(
        "INSERT INTO federation_runs (subscription, plugin, state, events, began_at)
         VALUES (?1, ?2, 'running', ?3, ?4)",
    )?
    .execute((name, &intent.plugin, events.len(), now.as_millis()))?;
    let run = tx.last_insert_rowid();
    let mut claim = tx.prepare_cached(
        "UPDATE federation_work SET state = 'running', run = ?4
         WHERE subscription = ?1 AND grp = ?2 AND id = ?3",
    )?;
    for event in &events {
        claim.execute((name, &event.group, &event.id, run))?;
    }
    Ok(Some(DueBatch {
        run,
        subscription: name.to_owned(),
        plugin: intent.plugin.clone(),
        events,
    }))
}

/// Events that were pruned before anybody ran for them cannot be run for.
fn forget_pruned(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<DueBatch>> {
    tx.prepare_cached(
        "UPDATE federation_work SET state = 'expired' WHERE subscription = ?1 AND state = 'pending'
         AND NOT EXISTS (SELECT 1 FROM federation_events e WHERE e.seq = federation_work.seq)",
    )?
    .execute([name])?;
    Ok(None)
}

fn postpone(tx: &Transaction<'_>, now: Timestamp, run: i64) -> rusqlite::Result<usize> {
    let attempts: u32 = tx.query_row(
        "SELECT coalesce(max(attempts), 0) FROM federation_work WHERE run = ?1 AND state = 'running'",
        [run],
        |row| row.get(0),
    )?;
    let again = now.plus_millis(retry_wait(attempts));
    tx.execute(
        "UPDATE federation_work SET state = 'pending', run = NULL, attempts = ?2, not_before = ?3
         WHERE run = ?1 AND state = 'running'",
        (run, attempts.saturating_add(1), again.as_millis()),
    )
}
