//! What the federation counts.

use routerd_core::federation::receive::{Outcome, Refusal};

use super::Shared;
use crate::metrics::{Metric, Metrics};
use crate::store::{Pruned, StoreError};

const fn counter(name: &'static str, help: &'static str) -> Metric {
    let kind = "counter";
    Metric { name, kind, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    let kind = "histogram";
    Metric { name, kind, help }
}

pub(super) const MESSAGES: Metric = counter(
    "routerd_federation_received_messages_total",
    "Messages of other nodes, by what became of them.",
);
pub(super) const EVENTS: Metric = counter(
    "routerd_federation_received_events_total",
    "Events in accepted messages, by what became of them.",
);
pub(super) const SENT: Metric = counter(
    "routerd_federation_sent_events_total",
    "Events that a peer answered for, by its answer.",
);
pub(super) const ATTEMPTS: Metric = counter(
    "routerd_federation_attempts_total",
    "Attempts to send a batch, by what came of them.",
);
const PRUNED: Metric = counter(
    "routerd_federation_pruned_events_total",
    "Events that retention removed, by its reason.",
);
const DROPPED: Metric = counter(
    "routerd_federation_dropped_deliveries_total",
    "Deliveries that were removed with their event before the peer took it.",
);
pub(super) const STORE_SECONDS: Metric = histogram(
    "routerd_federation_receive_seconds",
    "Time to check and store a message.",
);
pub(super) const DELIVERY_SECONDS: Metric = histogram(
    "routerd_federation_delivery_seconds",
    "Time from the observation of the oldest event of a batch to the peer's answer.",
);

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    let kind = "gauge";
    Metric { name, kind, help }
}

const PENDING: Metric = gauge(
    "routerd_federation_pending_deliveries",
    "Deliveries that wait for a peer.",
);
const DEAD: Metric = gauge(
    "routerd_federation_dead_deliveries",
    "Deliveries in the store that expired before the peer took them.",
);
const LAG: Metric = gauge(
    "routerd_federation_lag_milliseconds",
    "Age of the oldest delivery that waits for a peer.",
);
const STORED: Metric = gauge("routerd_federation_stored_events", "Events in the store.");
const WORK: Metric = gauge(
    "routerd_federation_pending_runs",
    "Events that wait for a run of a subscription.",
);

impl Shared {
    /// Brings the gauges up to date.
    pub(crate) fn measure(&self) -> Result<(), StoreError> {
        let (intent, now, all) = (self.intent(), (self.clock)(), &self.metrics);
        for outbox in self.store.outboxes()? {
            let peer = [("peer", outbox.peer.as_str())];
            let lag = outbox.oldest.map_or(0, |oldest| now.millis_since(oldest));
            all.set(PENDING, &peer, outbox.pending);
            all.set(DEAD, &peer, outbox.dead);
            all.set(LAG, &peer, lag);
        }
        for group in intent.groups.keys() {
            all.set(STORED, &[("group", group)], self.store.count(group)?);
        }
        for name in intent.subscriptions.keys() {
            let (pending, _) = self.store.backlog(name)?;
            all.set(WORK, &[("subscription", name)], pending);
        }
        Ok(())
    }
}

/// One message was refused.
pub(super) fn refused(metrics: &Metrics, group: &str, refusal: Refusal) {
    let status = refusal.status().to_string();
    let labels = [
        ("group", group),
        ("result", refusal.counter()),
        ("status", &status),
    ];
    metrics.add(MESSAGES, &labels, 1);
}

/// One message was accepted.
pub(super) fn accepted(metrics: &Metrics, group: &str, status: u16, outcomes: &[Outcome]) {
    let status = status.to_string();
    let labels = [
        ("group", group),
        ("result", "accepted"),
        ("status", &status),
    ];
    metrics.add(MESSAGES, &labels, 1);
    for outcome in outcomes {
        let labels = [("group", group), ("outcome", outcome.counter())];
        metrics.add(EVENTS, &labels, 1);
    }
}

/// The pruner was here.
pub(super) fn pruned(metrics: &Metrics, group: &str, pruned: Pruned) {
    for (reason, count) in [("age", pruned.old), ("number", pruned.surplus)] {
        metrics.add(PRUNED, &[("group", group), ("reason", reason)], count);
    }
    metrics.add(DROPPED, &[("group", group)], pruned.undelivered);
}
