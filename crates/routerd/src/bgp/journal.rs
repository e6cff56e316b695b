//! What happened of late, for those that ask and those that follow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bgp::Event;
use routerd_core::bgp::{DatedEvent, Happened};
use tokio::sync::watch;

use crate::view::lock;

/// Events that are kept.
const KEPT: usize = 10_000;

/// Events with their wall-clock time, shared.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    kept: Arc<Mutex<Kept>>,
    /// The number of the next event.
    next: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the first one that is kept.
    first: u64,
    events: VecDeque<DatedEvent>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            kept: Arc::default(),
            next: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(super) fn note(&self, event: Event) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(now.unwrap_or_default().as_millis());
        let at = now.unwrap_or(i64::MAX);
        let mut kept = lock(&self.kept);
        if kept.events.len() == KEPT {
            kept.events.pop_front();
            kept.first += 1;
        }
        kept.events.push_back(DatedEvent { at, event });
        let next = kept.first + kept.events.len() as u64;
        self.next.send_replace(next);
    }

    /// Events from a number on, oldest first.
    fn since(&self, from: u64) -> Happened {
        let kept = lock(&self.kept);
        let skip = usize::try_from(from.saturating_sub(kept.first)).unwrap_or(usize::MAX);
        Happened {
            next: kept.first + kept.events.len() as u64,
            events: kept.events.iter().skip(skip).cloned().collect(),
        }
    }

    /// Events from a number on; waits for one if there are none.
    pub(crate) async fn follow(&self, from: u64) -> Happened {
        let mut next = self.next.subscribe();
        // The sender lives as long as this value.
        let _ = next.wait_for(|next| *next > from).await;
        self.since(from)
    }
}
