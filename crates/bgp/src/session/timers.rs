//! All deadlines of a speaker in one queue.

use std::collections::{BTreeMap, BTreeSet};

use super::PeerIx;
use crate::types::{ConnId, Family, Time};

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerId {
    /// Connect (again).
    Connect(PeerIx),
    /// The peer is silent.
    Hold(ConnId),
    /// We would be silent.
    Keepalive(ConnId),
    /// The peer takes nothing (RFC 9687).
    SendHold(ConnId),
    /// The peer did not come back (RFC 4724).
    Restart(PeerIx),
    /// The peer came back but did not tell all its routes.
    StalePaths(PeerIx),
    /// The end of long-lived stale routes (RFC 9494).
    LongLived(PeerIx, Family),
    /// The peer may come back after too many prefixes.
    MaxPrefixes(PeerIx),
    /// Our own restart: peers that are not back by now are not waited for.
    Deferral,
}

/// Deadlines. One that only moves later, as hold timers do with every message, costs no work in the queue until it
/// would have fired.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Time, TimerId)>,
    /// Where in the queue a timer is, and when it is really due.
    due: BTreeMap<TimerId, (Time, Time)>,
}

impl Timers {
    pub(crate) fn set(&mut self, id: TimerId, at: Time) {
        let slot = self.due.entry(id).or_insert((at, at));
        slot.1 = at;
        if at < slot.0 {
            self.queue.remove(&(slot.0, id));
            slot.0 = at;
        }
        if slot.0 == at {
            self.queue.insert((at, id));
        }
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        if let Some((queued, _)) = self.due.remove(&id) {
            self.queue.remove(&(queued, id));
        }
    }

    pub(crate) fn is_set(&self, id: TimerId) -> bool {
        self.due.contains_key(&id)
    }

    /// No timer fires before.
    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes out one timer that is due.
    pub(crate) fn pop(&mut self, now: Time) -> Option<TimerId> {
        while let Some(&(queued, id)) = self.queue.first()
            && queued <= now
        {
            self.queue.pop_first();
            let Some(slot) = self.due.get_mut(&id) else {
                continue;
            };
            if slot.1 <= now {
                self.due.remove(&id);
                return Some(id);
            }
            slot.0 = slot.1;
            self.queue.insert((slot.1, id));
        }
        None
    }
}
