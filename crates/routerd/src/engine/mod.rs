//! Keeps the host as the generation in force says: observe, plan, record, apply, look again.

mod apply;
mod echo;
mod pace;
mod parts;
mod pass;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::plan::PlanLine;
use api::time::Timestamp;
use api::{IfName, MobileAddress};
use routerd_core::Kernel;
use routerd_core::observed::ArpConflict;

use self::echo::Echo;
use self::parts::{Refused, Startup};
use crate::bgp::Bgp;
use crate::dynamic::{Key, Shelf};
use crate::store::{EventKind, Store, StoreError};
use crate::view::{Snapshot, View};

pub(crate) use apply::{ApplyError, Candidate, compile};
pub(crate) use pace::Outcome;
pub(crate) use parts::merged;
pub(crate) use pass::{Pass, Trouble};
pub(crate) use run::{Inbox, Message, Outbox, channel, run};

/// Who announces and defends captured addresses.
pub(crate) trait Captures: Send {
    /// Answers for exactly these addresses from now on.
    fn update(&mut self, wanted: &BTreeMap<IfName, BTreeMap<MobileAddress, bool>>);

    /// Who else was heard answering.
    fn conflicts(&self) -> BTreeMap<MobileAddress, ArpConflict>;
}

impl Captures for linux::arp::Responder {
    fn update(&mut self, wanted: &BTreeMap<IfName, BTreeMap<MobileAddress, bool>>) {
        Self::update(self, wanted);
    }

    fn conflicts(&self) -> BTreeMap<MobileAddress, ArpConflict> {
        Self::conflicts(self)
    }
}

/// The only one that changes the host.
pub(crate) struct Engine {
    kernel: Box<dyn Kernel + Send>,
    captures: Arc<Mutex<dyn Captures>>,
    store: Store,
    view: Arc<View>,
    /// What clients see; published when it changes.
    state: Snapshot,
    /// Whether the host is kept at `state.effective`. Not so before a first apply: a daemon without a
    /// generation, or with a lost database, leaves what forwards alone.
    keeps: bool,
    /// The configuration in force as it was applied.
    startup: Startup,
    /// What is merged with it.
    shelf: Arc<Shelf>,
    /// What stood on the shelf when it was merged last.
    merged_version: u64,
    /// When time alone changes the merge.
    alarm: Option<Timestamp>,
    /// The host's gateways, as they were seen last.
    gateways: Option<BTreeSet<Ipv4Addr>>,
    /// Parts that the host refused.
    refused: BTreeMap<Key, Refused>,
    /// Finds ways where the configuration leaves them to BGP.
    speaker: Option<Arc<Bgp>>,
    /// How long a change may take to show on the host.
    patience: Duration,
    repaired: Echo,
    failed: Echo,
}

impl Engine {
    /// How long a change may take to show on a real host: a tunnel process has to start.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

    pub(crate) fn new(
        kernel: Box<dyn Kernel + Send>,
        captures: Arc<Mutex<dyn Captures>>,
        store: Store,
        shelf: Arc<Shelf>,
        view: Arc<View>,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let state = Snapshot {
            ledger: Arc::new(store.ledger()?),
            removals: store.removals()?,
            ..Snapshot::default()
        };
        Ok(Self {
            kernel,
            captures,
            store,
            view,
            state,
            keeps: false,
            startup: Startup::default(),
            shelf,
            merged_version: 0,
            alarm: None,
            gateways: None,
            refused: BTreeMap::new(),
            speaker: None,
            patience,
            repaired: Echo::default(),
            failed: Echo::default(),
        })
    }

    /// Has a BGP speaker.
    pub(crate) fn with_speaker(mut self, speaker: Arc<Bgp>) -> Self {
        self.speaker = Some(speaker);
        self
    }

    /// Puts right whatever differs from the generation in force.
    pub(crate) fn repair(&mut self, woke: &str) -> Outcome {
        if !self.keeps {
            return Outcome::Settled;
        }
        let began = Instant::now();
        let followed = self.follow_parts();
        let (pass, trouble) = self.attempt_merged();
        let kind = match followed {
            true => EventKind::Dynamic,
            false => EventKind::Repaired,
        };
        self.report(&pass, trouble.as_ref(), (kind, woke), began.elapsed());
        let outcome = match (&trouble, pass.settled) {
            (Some(_), _) => Outcome::Failed,
            (None, true) => Outcome::Settled,
            (None, false) => Outcome::Unsettled,
        };
        let error = trouble.map(|trouble| trouble.to_string());
        if !pass.done.is_empty() || error != self.state.last_error {
            self.state.repairs += u64::from(!pass.done.is_empty() && !followed);
            self.state.last_error = error;
            self.publish();
        }
        outcome
    }

    /// One line for a pass that changed or failed something; nothing for one that found all well, and less
    /// and less for what happens over and over.
    fn report(
        &mut self,
        pass: &Pass,
        trouble: Option<&Trouble>,
        (kind, woke): (EventKind, &str),
        took: Duration,
    ) {
        let ms = took.as_millis();
        if !pass.done.is_empty() {
            let what = summary(&pass.done);
            if let Some(times) = self.repaired.heard(&what) {
                tracing::info!(woke, ms, times, "{}: {what}", kind.as_str());
                self.note(kind, &what);
            }
        }
        if let Some(trouble) = trouble
            && let Some(times) = self.failed.heard(&trouble.to_string())
        {
            tracing::warn!(woke, ms, times, "cannot repair: {trouble}");
        }
    }

    /// Events are for people: one that cannot be kept stops nothing.
    fn note(&mut self, kind: EventKind, text: &str) {
        if let Err(error) = self.store.note(kind, text) {
            tracing::warn!("{error}");
        }
    }

    fn publish(&self) {
        self.view.publish(self.state.clone());
    }
}

/// The first steps in full, the others counted.
fn summary(done: &[PlanLine]) -> String {
    const SHOWN: usize = 4;
    let mut text: Vec<String> = done.iter().take(SHOWN).map(PlanLine::to_string).collect();
    if done.len() > SHOWN {
        text.push(format!("and {} more", done.len() - SHOWN));
    }
    text.join("; ")
}
