//! One courier a peer: it fills the peer's outbox, sends batch by batch, and waits for nobody but its own peer.

use std::sync::Arc;
use std::time::Duration;

use api::event::Event;
use api::time::Timestamp;
use hyper::body::Bytes;
use routerd_core::federation::intent::{GroupIntent, PeerIntent, Transport};
use routerd_core::federation::outbox::{Attempt, Queue, select};
use routerd_core::federation::receive::{Batch, MAX_EVENTS, Outcome};
use routerd_core::federation::wire::{Address, Head};

use super::direct::Direct;
use super::nats::Publisher;
use super::{Shared, key, metrics};
use crate::store::{EventStore, Settled, StoreError};

/// The longest sleep without a look at the outbox: dead letters are noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What came of sending a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// The peer answered for every event.
    Answered(Vec<Outcome>),
    /// Somebody between keeps it for the peer.
    Kept,
    /// The peer cannot take it now.
    Unavailable {
        /// The wait that it asked for, in milliseconds.
        retry_after: Option<u64>,
        /// Why.
        error: String,
    },
    /// The peer refused all of it, and says why.
    Refused(String),
}

/// When to go again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more.
    Now,
    /// Not before this time.
    At(Timestamp),
    /// When there is something new.
    News,
}

/// Carries events to a peer for as long as it is not dropped.
pub(super) async fn carry(shared: Arc<Shared>, peer: String) {
    let mut news = shared.news.subscribe();
    let mut courier = match Courier::new(Arc::clone(&shared), &peer) {
        Some(courier) => courier,
        None => return,
    };
    loop {
        news.borrow_and_update();
        let next = match courier.round().await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!("EventPeer/{peer}: {error:#}");
                Next::At((shared.clock)().plus_millis(1_000))
            }
        };
        match next {
            Next::Now => {}
            Next::At(at) => {
                let wait = Duration::from_millis(at.millis_since((shared.clock)()));
                tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
            }
            Next::News => {
                let _ = tokio::time::timeout(LONGEST_SLEEP, news.changed()).await;
            }
        }
    }
}

/// How messages travel.
enum Link {
    Direct(Direct),
    Nats(Box<Publisher>),
}

/// The sender's end of one peer.
pub(super) struct Courier {
    shared: Arc<Shared>,
    name: String,
    peer: PeerIntent,
    group: GroupIntent,
    link: Link,
}

/// What a round begins with.
struct Load {
    queue: Queue,
    batch: Vec<(i64, Event)>,
    /// Whether more waits behind the batch.
    more: bool,
}

impl Courier {
    /// A courier for a peer as it is configured now; none for a peer that is sent nothing.
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Option<Self> {
        let intent = shared.intent();
        let peer = intent.peers.get(name)?.clone();
        let group = intent.groups.get(&peer.group)?.clone();
        let link = match &group.transport {
            Transport::Direct => Link::Direct(Direct::new(peer.endpoint?)),
            Transport::Nats(nats) => {
                let age = Duration::from_millis(group.retention.max_age);
                let publisher = Publisher::new(nats.clone(), &peer.group, &peer.node, age);
                Link::Nats(Box::new(publisher))
            }
        };
        Some(Self {
            shared,
            name: name.to_owned(),
            peer,
            group,
            link,
        })
    }

    /// Sends at most one batch; says when to go again.
    pub(super) async fn round(&mut self) -> anyhow::Result<Next> {
        let now = (self.shared.clock)();
        let Load { queue, batch, more } = self.load(now).await?;
        if !queue.is_due(now) {
            return Ok(queue.not_before.map_or(Next::Now, Next::At));
        }
        if batch.is_empty() {
            return Ok(if more { Next::Now } else { Next::News });
        }
        let sent = self.send(&batch).await?;
        let queue = self.settle(queue, batch, sent).await?;
        Ok(match queue.not_before {
            Some(at) => Next::At(at),
            None => Next::Now,
        })
    }

    /// Fills the outbox and takes the next batch from it; what expired meanwhile is a dead letter.
    async fn load(&self, now: Timestamp) -> anyhow::Result<Load> {
        let (name, peer) = (self.name.clone(), self.peer.clone());
        let node = self.group.node.clone();
        let work = move |shared: &Shared| {
            let store = &shared.store;
            store.fill_outbox(now, &name, &peer, &node)?;
            let queue = store.queue(&name)?;
            let (batch, more) = next_batch(store, now, &name)?;
            Ok(Load { queue, batch, more })
        };
        self.shared.blocking(work).await
    }

    async fn send(&mut self, batch: &[(i64, Event)]) -> anyhow::Result<Sent> {
        let events = batch.iter().map(|(_, event)| event.clone()).collect();
        let body = Bytes::from(serde_json::to_vec(&Batch { events })?);
        let signer = match key::signer(&self.group, &self.shared.node_key) {
            Ok(signer) => signer,
            Err(error) => return Ok(Sent::Refused(error.to_string())),
        };
        let address = Address {
            group: &self.peer.group,
            sender: &self.group.node,
            recipient: &self.peer.node,
        };
        let nonce = format!("{:032x}", u128::from_be_bytes(key::random()?));
        let head = Head::sign(&signer, &address, (self.shared.clock)(), nonce, &body);
        Ok(match &mut self.link {
            Link::Direct(direct) => direct.send(&head, body).await,
            Link::Nats(publisher) => publisher.send(&head, body).await,
        })
    }

    /// Notes what came of a batch; hands back the state of the queue after it.
    async fn settle(
        &self,
        before: Queue,
        batch: Vec<(i64, Event)>,
        sent: Sent,
    ) -> anyhow::Result<Queue> {
        let count = batch.len();
        let (settled, attempt, error) = match sent {
            Sent::Answered(outcomes) if outcomes.len() == count => {
                let settled = batch
                    .iter()
                    .zip(&outcomes)
                    .map(|((seq, _), o)| (*seq, settled(*o)));
                (settled.collect(), Attempt::Answered, None)
            }
            Sent::Answered(outcomes) => {
                let error = format!("answered for {} of {count} events", outcomes.len());
                (Vec::new(), Attempt::Refused, Some(error))
            }
            Sent::Kept => {
                let settled = batch.iter().map(|(seq, _)| (*seq, Settled::Delivered));
                (settled.collect::<Vec<_>>(), Attempt::Answered, None)
            }
            Sent::Unavailable { retry_after, error } => (
                Vec::new(),
                Attempt::Unavailable { retry_after },
                Some(error),
            ),
            Sent::Refused(error) => (Vec::new(), Attempt::Refused, Some(error)),
        };
        self.count(&batch, &settled, attempt);
        let now = (self.shared.clock)();
        let jitter = u16::from_be_bytes(key::random()?) % 1_001;
        let queue = before.after(now, attempt, jitter);
        let name = self.name.clone();
        self.shared
            .blocking(move |shared| {
                shared.store.settle(now, &name, &settled)?;
                shared.store.attempted(now, &name, queue, error.as_deref())
            })
            .await?;
        Ok(queue)
    }

    fn count(&self, batch: &[(i64, Event)], settled: &[(i64, Settled)], attempt: Attempt) {
        let all = &self.shared.metrics;
        let peer = ("peer", self.name.as_str());
        let result = match attempt {
            Attempt::Answered => "answered",
            Attempt::Unavailable { .. } => "unavailable",
            Attempt::Refused => "refused",
        };
        all.add(metrics::ATTEMPTS, &[peer, ("result", result)], 1);
        for (_, settled) in settled {
            let outcome = match settled {
                Settled::Delivered => "delivered",
                Settled::Refused(reason) => reason,
                Settled::Dead => "dead",
            };
            all.add(metrics::SENT, &[peer, ("outcome", outcome)], 1);
        }
        if let (Attempt::Answered, Some((_, oldest))) = (attempt, batch.first()) {
            let millis = (self.shared.clock)().millis_since(oldest.observed_at);
            let seconds = Duration::from_millis(millis).as_secs_f64();
            all.took(metrics::DELIVERY_SECONDS, &[peer], seconds);
        }
    }
}

/// The next batch of a peer and whether anything may wait behind it.
fn next_batch(
    store: &EventStore,
    now: Timestamp,
    name: &str,
) -> Result<(Vec<(i64, Event)>, bool), StoreError> {
    let limit = u32::try_from(MAX_EVENTS).unwrap_or(u32::MAX);
    let waiting = store.waiting(name, limit)?;
    let (numbers, events): (Vec<i64>, Vec<Event>) = waiting.into_iter().unzip();
    let selection = select(now, &events);
    let dead: Vec<(i64, Settled)> = selection
        .dead
        .iter()
        .filter_map(|index| Some((*numbers.get(*index)?, Settled::Dead)))
        .collect();
    store.settle(now, name, &dead)?;
    let chosen: std::collections::BTreeSet<usize> = selection.send.iter().copied().collect();
    let batch = numbers.into_iter().zip(events).enumerate();
    let batch = batch
        .filter(|(index, _)| chosen.contains(index))
        .map(|(_, row)| row);
    Ok((batch.collect(), !dead.is_empty()))
}

/// Every answer is final: what the peer has it has, and what it refuses for an event it refuses for good.
fn settled(outcome: Outcome) -> Settled {
    match outcome {
        Outcome::Accepted | Outcome::Duplicate => Settled::Delivered,
        Outcome::Conflict | Outcome::Expired | Outcome::Invalid => {
            Settled::Refused(outcome.counter())
        }
    }
}
