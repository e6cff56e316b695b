//! What goes to which peer. A peer reads the events in their order and remembers how far it got; what it wants
//! becomes a row, and the row stays until the peer has answered for it or its event is gone.

use api::event::Event;
use api::time::Timestamp;
use routerd_core::federation::intent::PeerIntent;
use routerd_core::federation::outbox::Queue;
use rusqlite::{OptionalExtension, Transaction};

use super::{Commit, EventStore, event_at};
use crate::store::StoreError;

/// How many events are looked at in one transaction.
const STRIDE: u32 = 4_096;

/// One that reads the events in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Peer,
    Subscription,
}

impl Reader {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Subscription => "subscription",
        }
    }
}

/// What became of a delivery for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The peer has it.
    Delivered,
    /// The peer will never take it; the word is its reason.
    Refused(&'static str),
    /// It expired before the peer took it.
    Dead,
}

/// How far a reader got.
pub(super) struct Progress {
    pub(super) seq: i64,
}

impl EventStore {
    /// Puts what is new into the outbox of a peer of a group whose node here is `node`. A peer is sent what was
    /// observed here, and never what it could hear from its source.
    pub(crate) fn fill_outbox(
        &self,
        now: Timestamp,
        name: &str,
        peer: &PeerIntent,
        node: &str,
    ) -> Result<(), StoreError> {
        let matcher = format!("{}/{}/{node} {:?}", peer.group, peer.node, peer.filter);
        loop {
            let more = self.transaction("fill outbox", Commit::Relaxed, |tx| {
                let progress = progress(tx, Reader::Peer, name, &matcher)?;
                fill(tx, now, name, peer, node, progress.seq)
            })?;
            if !more {
                return Ok(());
            }
        }
    }

    /// What waits for a peer, oldest first, with the number of each row.
    pub(crate) fn waiting(&self, name: &str, limit: u32) -> Result<Vec<(i64, Event)>, StoreError> {
        self.read("read outbox", |db| {
            let mut statement = db.prepare_cached(
                "SELECT d.seq, e.event
                 FROM federation_deliveries d JOIN federation_events e USING (seq)
                 WHERE d.peer = ?1 AND d.state = 'pending' ORDER BY d.seq LIMIT ?2",
            )?;
            let rows =
                statement.query_map((name, limit), |row| Ok((row.get(0)?, event_at(row, 1)?)))?;
            rows.collect()
        })
    }

    /// Notes what became of deliveries for good.
    pub(crate) fn settle(
        &self,
        now: Timestamp,
        name: &str,
        settled: &[(i64, Settled)],
    ) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        self.transaction("settle deliveries", Commit::Relaxed, |tx| {
            let mut statement = tx.prepare_cached(
                "UPDATE federation_deliveries SET state = ?3, settled_at = ?4, detail = ?5
                 WHERE seq = ?1 AND peer = ?2 AND state = 'pending'",
            )?;
            for (seq, settled) in settled {
                let (state, detail) = match settled {
                    Settled::Delivered => ("delivered", None),
                    Settled::Refused(reason) => ("refused", Some(*reason)),
                    Settled::Dead => ("dead", Some("it expired before the peer took it")),
                };
                statement.execute((seq, name, state, now.as_millis(), detail))?;
            }
            Ok(())
        })
    }

    /// The state of a peer's queue as the last daemon left it.
    pub(crate) fn queue(&self, name: &str) -> Result<Queue, StoreError> {
        let found = self.read("read outbox", |db| {
            db.prepare_cached(
                "SELECT failures, not_before FROM federation_readers
                 WHERE kind = 'peer' AND name = ?1",
            )?
            .query_row([name], |row| Ok((row.get(0)?, row.get::<_, u64>(1)?)))
            .optional()
        })?;
        Ok(
            found.map_or_else(Queue::default, |(failures, not_before)| Queue {
                failures,
                not_before: (not_before > 0).then(|| Timestamp::from_millis(not_before)),
            }),
        )
    }

    /// Notes an attempt and when the next one may be.
    pub(crate) fn attempted(
        &self,
        now: Timestamp,
        name: &str,
        queue: Queue,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        self.transaction("note attempt", Commit::Relaxed, |tx| {
            tx.prepare_cached(
                "UPDATE federation_readers SET failures = ?2, not_before = ?3, attempted_at = ?4,
                     succeeded_at = CASE WHEN ?5 IS NULL THEN ?4 ELSE succeeded_at END, error = ?5
                 WHERE kind = 'peer' AND name = ?1",
            )?
            .execute((
                name,
                queue.failures,
                queue.not_before.map_or(0, Timestamp::as_millis),
                now.as_millis(),
                error,
            ))?;
            Ok(())
        })
    }

    /// Forgets the readers of a kind that are not among `names`, with all that waits for them.
    pub(crate) fn keep_readers(&self, kind: Reader, names: &[&str]) -> Result<(), StoreError> {
        self.transaction("forget old readers", Commit::Relaxed, |tx| {
            let known: Vec<String> = tx
                .prepare_cached("SELECT name FROM federation_readers WHERE kind = ?1")?
                .query_map([kind.as_str()], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for name in known.iter().filter(|name| !names.contains(&name.as_str())) {
                forget(tx, kind, name)?;
            }
            Ok(())
        })
    }
}

/// How far a reader got; from the start if it is new or reads something else now. What it had to do with events
/// that it still reads stays.
pub(super) fn progress(
    tx: &Transaction<'_>,
    kind: Reader,
    name: &str,
    matcher: &str,
) -> rusqlite::Result<Progress> {
    let found: Option<(i64, String)> = tx
        .prepare_cached(
            "SELECT seq, matcher FROM federation_readers WHERE kind = ?1 AND name = ?2",
        )?
        .query_row((kind.as_str(), name), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((seq, same)) if same == matcher => return Ok(Progress { seq }),
        Some(_) => drop_open(tx, kind, name)?,
        None => {}
    }
    tx.prepare_cached(
        "INSERT INTO federation_readers (kind, name, matcher) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET matcher = excluded.matcher, seq = 0",
    )?
    .execute((kind.as_str(), name, matcher))?;
    Ok(Progress { seq: 0 })
}

/// Notes how far a reader got.
pub(super) fn advance(
    tx: &Transaction<'_>,
    kind: Reader,
    name: &str,
    seq: i64,
) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE federation_readers SET seq = ?3 WHERE kind = ?1 AND name = ?2")?
        .execute((kind.as_str(), name, seq))?;
    Ok(())
}

/// One stride of events; says whether there are more.
fn fill(
    tx: &Transaction<'_>,
    now: Timestamp,
    name: &str,
    peer: &PeerIntent,
    node: &str,
    from: i64,
) -> rusqlite::Result<bool> {
    let mut read = tx.prepare_cached(
        "SELECT seq, grp, source, type, subject, expires_at FROM federation_events
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut write = tx.prepare_cached(
        "INSERT INTO federation_deliveries (seq, peer, state) VALUES (?1, ?2, 'pending')
         ON CONFLICT DO NOTHING",
    )?;
    let (mut rows, mut last, mut count) = (read.query((from, STRIDE))?, from, 0);
    while let Some(row) = rows.next()? {
        (last, count) = (row.get(0)?, count + 1);
        let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let wanted = text(1)? == peer.group
            && text(2)? == node
            && peer.filter.admits_fact(text(3)?, text(4)?)
            && row.get::<_, u64>(5)? > now.as_millis();
        if wanted {
            write.execute((last, name))?;
        }
    }
    if last != from {
        advance(tx, Reader::Peer, name, last)?;
    }
    Ok(count == STRIDE)
}

/// Drops what waits for a reader that reads something else now.
fn drop_open(tx: &Transaction<'_>, kind: Reader, name: &str) -> rusqlite::Result<()> {
    let sql = match kind {
        Reader::Peer => "DELETE FROM federation_deliveries WHERE peer = ?1 AND state = 'pending'",
        Reader::Subscription => {
            "DELETE FROM federation_work WHERE subscription = ?1 AND state = 'pending'"
        }
    };
    tx.prepare_cached(sql)?.execute([name])?;
    Ok(())
}

fn forget(tx: &Transaction<'_>, kind: Reader, name: &str) -> rusqlite::Result<()> {
    drop_open(tx, kind, name)?;
    tx.prepare_cached("DELETE FROM federation_readers WHERE kind = ?1 AND name = ?2")?
        .execute((kind.as_str(), name))?;
    Ok(())
}
