//! All sessions of a node: which one a packet belongs to, and when the next one has something to do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HOP_LIMIT;
use super::Moment;
use super::packet::{Diagnostic, Discard, LENGTH, Packet, State};
use super::session::{Effects, Session, Settings, Transition};

/// Our number of a session, which is its discriminator too; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u32);

impl SessionId {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// The two ends of a session. No two sessions have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionPath {
    /// The peer.
    pub remote: IpAddr,
    /// Our address, where it matters: always over several hops.
    pub local: Option<IpAddr>,
    /// How far away the peer is.
    pub scope: Scope,
}

/// How far away a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// On the link.
    SingleHop {
        /// Index of the interface; absent: whichever.
        interface: Option<u32>,
    },
    /// Behind routers.
    MultiHop {
        /// Packets that arrive with less are discarded.
        least_hop_limit: u8,
    },
}

impl SessionPath {
    fn takes(&self, arrival: &Arrival<'_>) -> bool {
        let scope = match (self.scope, arrival.multi_hop) {
            (Scope::SingleHop { interface }, false) => {
                interface.is_none_or(|index| index == arrival.interface)
            }
            (Scope::MultiHop { .. }, true) => true,
            _ => false,
        };
        let local = self.local.is_none_or(|local| local == arrival.local);
        scope && local && self.remote == arrival.remote
    }

    fn least_hop_limit(&self) -> u8 {
        match self.scope {
            Scope::SingleHop { .. } => HOP_LIMIT,
            Scope::MultiHop { least_hop_limit } => least_hop_limit,
        }
    }
}

/// A datagram that came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its sender.
    pub remote: IpAddr,
    /// The address that it was sent to.
    pub local: IpAddr,
    /// Index of the interface that it came in by.
    pub interface: u32,
    /// Its hop limit (TTL).
    pub hop_limit: u8,
    /// Whether it came to the port of multihop sessions.
    pub multi_hop: bool,
    /// What is in it.
    pub payload: &'a [u8],
}

/// What the caller has to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit {
        /// For which session.
        session: SessionId,
        /// The datagram.
        packet: [u8; LENGTH],
    },
    /// A state changed.
    Changed {
        /// Whose.
        session: SessionId,
        /// From what to what.
        transition: Transition,
    },
    /// A session became more patient after a false alarm, or less after a quiet time.
    Patience {
        /// Whose.
        session: SessionId,
        /// How many times longer than asked for its intervals are.
        factor: u32,
    },
    /// A session that was removed has said goodbye: its socket may be closed.
    Gone {
        /// Whose.
        session: SessionId,
    },
}

/// A session as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its ends.
    pub path: SessionPath,
    /// Its state.
    pub state: State,
    /// Why it last left `Up`.
    pub diagnostic: Diagnostic,
    /// The peer's state.
    pub remote_state: State,
    /// Why the peer's last left `Up`.
    pub remote_diagnostic: Diagnostic,
    /// The peer's number of it; 0 if unknown.
    pub remote_discriminator: u32,
    /// The time between two packets that we send, before jitter; absent if the peer wants none.
    pub transmit_interval: Option<Duration>,
    /// How long nothing is heard before the peer is dead.
    pub detection_time: Duration,
    /// How many times longer than asked for the intervals are.
    pub patience: u32,
    /// How often the peer was declared dead and was not.
    pub false_alarms: u32,
    /// Whether the peer's BFD goes on while its control plane restarts, by its own word.
    pub remote_independent: bool,
    /// When the peer was last heard.
    pub heard: Option<Moment>,
}

/// Discarded packets by reason.
pub type Discards = BTreeMap<Discard, u64>;

#[derive(Debug)]
struct Slot {
    path: SessionPath,
    session: Session,
    timeout: Option<Moment>,
    leaving: bool,
}

/// All sessions of a node.
#[derive(Debug, Default)]
pub struct Detector {
    slots: BTreeMap<SessionId, Slot>,
    due: BTreeSet<(Moment, SessionId)>,
    outputs: VecDeque<Output>,
    discards: Discards,
}

impl Detector {
    /// No sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a session; one with the same ends that is leaving ends at once. `random` is its discriminator, if that
    /// is free, and what its jitter begins with.
    pub fn add(
        &mut self,
        now: Moment,
        path: SessionPath,
        settings: Settings,
        random: u64,
    ) -> SessionId {
        let leaving = |slot: &Slot| slot.leaving && slot.path == path;
        let former = self.slots.iter().find(|(_, slot)| leaving(slot));
        if let Some(former) = former.map(|(id, _)| *id) {
            self.drop_session(former);
        }
        let mut number = (random >> 32) as u32;
        while number == 0 || self.slots.contains_key(&SessionId(number)) {
            number = number.wrapping_add(1);
        }
        let session = Session::new(now, settings, number, random);
        let id = SessionId(number);
        let slot = Slot {
            path,
            session,
            timeout: None,
            leaving: false,
        };
        self.slots.insert(id, slot);
        self.reschedule(id);
        id
    }

    /// Gives a session other settings, without ending it.
    pub fn configure(&mut self, now: Moment, id: SessionId, settings: Settings) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.session.configure(now, settings);
            self.reschedule(id);
        }
    }

    /// Ends a session: the peer is told for a detection time, then comes [`Output::Gone`].
    pub fn remove(&mut self, now: Moment, id: SessionId) {
        let mut effects = Effects::default();
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.leaving = true;
            slot.session.leave(now, &mut effects);
        }
        self.finish(id, effects);
    }

    /// A datagram came in at `now`: the time at which the kernel had it, if that is known.
    ///
    /// # Errors
    /// Why it is discarded; it is counted already.
    pub fn receive(&mut self, now: Moment, arrival: &Arrival<'_>) -> Result<SessionId, Discard> {
        let received = self.try_receive(now, arrival);
        if let Err(discard) = received {
            *self.discards.entry(discard).or_default() += 1;
        }
        received
    }

    fn try_receive(&mut self, now: Moment, arrival: &Arrival<'_>) -> Result<SessionId, Discard> {
        if !arrival.multi_hop && arrival.hop_limit != HOP_LIMIT {
            return Err(Discard::HopLimit);
        }
        let packet = Packet::parse(arrival.payload)?;
        let id = self.find(&packet, arrival).ok_or(Discard::NoSession)?;
        let slot = self.slots.get_mut(&id).ok_or(Discard::NoSession)?;
        if arrival.hop_limit < slot.path.least_hop_limit() {
            return Err(Discard::HopLimit);
        }
        let mut effects = Effects::default();
        let received = slot.session.receive(now, &packet, &mut effects);
        self.finish(id, effects);
        received.map(|()| id)
    }

    /// By our discriminator, and before the peer knows that by the ends. The ends have to be right in either case:
    /// a packet over several hops has no other proof of where it is from.
    fn find(&self, packet: &Packet, arrival: &Arrival<'_>) -> Option<SessionId> {
        if packet.your_discriminator != 0 {
            let id = SessionId(packet.your_discriminator);
            return self.slots.get(&id)?.path.takes(arrival).then_some(id);
        }
        let mut slots = self.slots.iter();
        let found = slots.find(|(_, slot)| !slot.leaving && slot.path.takes(arrival));
        found.map(|(id, _)| *id)
    }

    /// It is `now`: everything that is due is done. All datagrams that have arrived come first.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(&(at, id)) = self.due.first() {
            if at > now {
                return;
            }
            let mut effects = Effects::default();
            if let Some(slot) = self.slots.get_mut(&id) {
                if slot.session.is_gone(now) {
                    self.drop_session(id);
                    continue;
                }
                slot.session.handle_timeout(now, &mut effects);
            }
            self.finish(id, effects);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A session as it stands.
    #[must_use]
    pub fn view(&self, id: SessionId) -> Option<SessionView> {
        let slot = self.slots.get(&id)?;
        let session = &slot.session;
        let remote = session.remote();
        Some(SessionView {
            path: slot.path,
            state: session.state(),
            diagnostic: session.diagnostic(),
            remote_state: remote.state,
            remote_diagnostic: remote.diagnostic,
            remote_discriminator: remote.discriminator,
            transmit_interval: session.transmit_interval(),
            detection_time: session.detection_time(),
            patience: session.patience_factor(),
            false_alarms: session.false_alarms(),
            remote_independent: remote.independent,
            heard: session.heard(),
        })
    }

    /// Discarded packets since the start, by reason.
    #[must_use]
    pub fn discards(&self) -> &Discards {
        &self.discards
    }

    /// Sessions that say goodbye.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.slots.values().filter(|slot| slot.leaving).count()
    }

    fn finish(&mut self, id: SessionId, effects: Effects) {
        let session = id;
        if let Some(transition) = effects.transition {
            self.outputs.push_back(Output::Changed {
                session,
                transition,
            });
        }
        for packet in effects.packets {
            let packet = packet.encode();
            self.outputs.push_back(Output::Transmit { session, packet });
        }
        if let (true, Some(slot)) = (effects.patience, self.slots.get(&id)) {
            let factor = slot.session.patience_factor();
            self.outputs.push_back(Output::Patience { session, factor });
        }
        self.reschedule(id);
    }

    fn reschedule(&mut self, id: SessionId) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let next = slot.session.next_timeout();
        if next == slot.timeout {
            return;
        }
        if let Some(at) = std::mem::replace(&mut slot.timeout, next) {
            self.due.remove(&(at, id));
        }
        self.due.extend(next.map(|at| (at, id)));
    }

    fn drop_session(&mut self, id: SessionId) {
        if let Some(slot) = self.slots.remove(&id) {
            if let Some(at) = slot.timeout {
                self.due.remove(&(at, id));
            }
            self.outputs.push_back(Output::Gone { session: id });
        }
    }
}
