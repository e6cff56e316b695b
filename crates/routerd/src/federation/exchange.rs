//! Takes messages of other nodes, whatever carried them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use routerd_core::federation::intent::Transport;
use routerd_core::federation::receive::{Outcome, Receiver, Refusal};
use routerd_core::federation::wire::{Head, Reply};

use super::{Shared, key, metrics};

/// How many messages of one sender are worked on at a time.
const PER_SENDER: u32 = 4;

/// The answer to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Stored; with the status of the answer.
    Stored(u16, Reply),
    /// Refused, and not stored.
    Refused(Refusal),
    /// This node cannot tell: the sender has to try again.
    Failed(String),
}

/// Takes the messages of one group.
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    group: String,
    busy: Mutex<BTreeMap<String, u32>>,
}

impl Exchange {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        Self {
            shared,
            group,
            busy: Mutex::default(),
        }
    }

    /// Refuses without looking any further.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Taken {
        metrics::refused(&self.shared.metrics, &self.group, refusal);
        Taken::Refused(refusal)
    }

    /// Checks and stores one message; what is stored is on the disk when this returns. Blocks.
    pub(crate) fn take(&self, head: Result<Head, Refusal>, body: &[u8]) -> Taken {
        let began = Instant::now();
        let head = match head {
            Ok(head) => head,
            Err(refusal) => return self.refuse(refusal),
        };
        let receiver = match self.receiver(&head.sender) {
            Ok(receiver) => receiver,
            Err(error) => return Taken::Failed(error),
        };
        let envelope = head.envelope(body);
        let now = (self.shared.clock)();
        if let Err(refusal) = receiver.authenticate(now, &envelope, &head.signature) {
            return self.refuse(refusal);
        }
        let Some(_place) = Place::take(&self.busy, &head.sender) else {
            return self.refuse(Refusal::Busy);
        };
        match self.shared.store.receive(now, &receiver, &envelope) {
            Err(error) => Taken::Failed(error.to_string()),
            Ok(Err(refusal)) => self.refuse(refusal),
            Ok(Ok(accepted)) => {
                let outcomes: Vec<Outcome> = accepted.events.iter().map(|(_, o)| *o).collect();
                let (status, reply) = Reply::accepted(outcomes.clone());
                let all = &self.shared.metrics;
                metrics::accepted(all, &self.group, status, &outcomes);
                let labels = [("group", self.group.as_str())];
                all.took(
                    metrics::STORE_SECONDS,
                    &labels,
                    began.elapsed().as_secs_f64(),
                );
                Taken::Stored(status, reply)
            }
        }
    }

    /// Who we are, and what we believe of this one sender.
    fn receiver(&self, sender: &str) -> Result<Receiver, String> {
        let intent = self.shared.intent();
        let Some(group) = intent.groups.get(&self.group) else {
            return Err("the group was removed".to_owned());
        };
        let verifier = key::verifier(&intent, &self.group, group, sender)
            .map_err(|error| error.to_string())?;
        Ok(Receiver {
            group: self.group.clone(),
            node: group.node.clone(),
            senders: verifier
                .map(|verifier| (sender.to_owned(), verifier))
                .into_iter()
                .collect(),
            replay_window: group.replay_window,
            held: match group.transport {
                Transport::Direct => 0,
                Transport::Nats(_) => group.retention.max_age,
            },
        })
    }
}

/// The right of a sender to have one more message worked on.
struct Place<'b> {
    busy: &'b Mutex<BTreeMap<String, u32>>,
    sender: String,
}

impl<'b> Place<'b> {
    fn take(busy: &'b Mutex<BTreeMap<String, u32>>, sender: &str) -> Option<Self> {
        let mut all = busy.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(sender.to_owned()).or_default();
        if *count >= PER_SENDER {
            return None;
        }
        *count += 1;
        Some(Self {
            busy,
            sender: sender.to_owned(),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut all = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.sender) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.sender);
            }
        }
    }
}
