//! What is kept, and for how long.

use api::time::Timestamp;
use routerd_core::federation::intent::Retention;

use super::{Commit, EventStore};
use crate::store::StoreError;

/// How many events go in one transaction: receivers wait for its length.
const STRIDE: u64 = 2_000;

/// What a pruner removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Events for their age.
    pub(crate) old: u64,
    /// Events for their number.
    pub(crate) surplus: u64,
    /// Deliveries that still waited for a peer and went with their event.
    pub(crate) undelivered: u64,
}

impl EventStore {
    /// Removes what the retention of a group does not allow: what is too old, then the oldest beyond the number.
    pub(crate) fn prune(
        &self,
        now: Timestamp,
        group: &str,
        retention: Retention,
    ) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let oldest = now.as_millis().saturating_sub(retention.max_age);
        loop {
            let (removed, undelivered) = self.remove_oldest(group, STRIDE, oldest)?;
            pruned.old += removed;
            pruned.undelivered += undelivered;
            if removed < STRIDE {
                break;
            }
        }
        let mut surplus = self.count(group)?.saturating_sub(retention.max_events);
        while surplus > 0 {
            let stride = surplus.min(STRIDE);
            let (removed, undelivered) = self.remove_oldest(group, stride, u64::MAX >> 1)?;
            pruned.surplus += removed;
            pruned.undelivered += undelivered;
            surplus = if removed < stride {
                0
            } else {
                surplus - removed
            };
        }
        self.forget_outdated(now)?;
        Ok(pruned)
    }

    /// How many events of a group there are.
    pub(crate) fn count(&self, group: &str) -> Result<u64, StoreError> {
        self.read("count events", |db| {
            db.prepare_cached("SELECT count(*) FROM federation_events WHERE grp = ?1")?
                .query_row([group], |row| row.get(0))
        })
    }

    /// Removes at most `limit` events, the oldest first, that were stored before `before`; says how many and how
    /// many deliveries of theirs still waited.
    fn remove_oldest(
        &self,
        group: &str,
        limit: u64,
        before: u64,
    ) -> Result<(u64, u64), StoreError> {
        const CHOSEN: &str = "SELECT seq FROM federation_events
            WHERE grp = ?1 AND stored_at < ?3 ORDER BY stored_at, seq LIMIT ?2";
        self.transaction("prune events", Commit::Relaxed, |tx| {
            let open = format!(
                "SELECT count(*) FROM federation_deliveries
                 WHERE state = 'pending' AND seq IN ({CHOSEN})"
            );
            let undelivered = tx
                .prepare_cached(&open)?
                .query_row((group, limit, before), |row| row.get(0))?;
            let removed = tx
                .prepare_cached(&format!(
                    "DELETE FROM federation_events WHERE seq IN ({CHOSEN})"
                ))?
                .execute((group, limit, before))?;
            Ok((removed as u64, undelivered))
        })
    }

    /// Nonces of messages that would be refused for their time, and work on events that could not come again.
    fn forget_outdated(&self, now: Timestamp) -> Result<(), StoreError> {
        self.transaction("forget what is outdated", Commit::Relaxed, |tx| {
            let now = now.as_millis();
            tx.prepare_cached("DELETE FROM federation_nonces WHERE until < ?1")?
                .execute([now])?;
            tx.prepare_cached(
                "DELETE FROM federation_work WHERE expires_at <= ?1
                   AND state IN ('succeeded', 'expired')
                   AND NOT EXISTS (SELECT 1 FROM federation_events e WHERE e.seq = federation_work.seq)",
            )?
            .execute([now])?;
            Ok(())
        })
    }
}
