//! Peers: who may have a session, and what there is of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::{Admission, PeerConfig};
use crate::io::DownReason;
use crate::types::{ConnId, Family, RouterId, Time};
use crate::view::Counters;
use crate::wire::Capabilities;

/// A peer's number; 0 is ourselves, as the source of our own routes. Numbers of forgotten peers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerIx(pub(crate) u16);

impl PeerIx {
    pub(crate) const LOCAL: Self = Self(0);

    pub(crate) fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// What we do about a peer without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing, until someone says so or a timer does.
    Idle,
    /// An attempt to connect is under way.
    Connect,
    /// Waiting for its connection, or for the next attempt.
    Active,
}

/// The session that carries routes.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) local: IpAddr,
    pub(crate) router_id: RouterId,
    /// Families both sides offered.
    pub(crate) families: BTreeSet<Family>,
    /// What the peer offered.
    pub(crate) remote: Capabilities,
    /// Families in which the peer may send several paths.
    pub(crate) add_path_in: BTreeSet<Family>,
    /// Families in which it takes several.
    pub(crate) add_path_out: BTreeSet<Family>,
    /// Whether both sides speak four-octet numbers.
    pub(crate) four_octet: bool,
    /// Longest message that the peer takes.
    pub(crate) max_message: usize,
    /// The OPENs of both sides as they went over the wire: ours, the peer's.
    pub(crate) opens: (Vec<u8>, Vec<u8>),
    /// Families whose end-of-RIB has come.
    pub(crate) end_of_rib: BTreeSet<Family>,
}

/// What the last session left behind for a peer that is restarting.
#[derive(Debug, Default)]
pub(crate) struct RestartState {
    /// Families with stale routes.
    pub(crate) stale: BTreeSet<Family>,
    /// Seconds that stale routes may be kept beyond the restart time, where that was agreed.
    pub(crate) long_lived: BTreeMap<Family, u32>,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) config: PeerConfig,
    /// The range that it came from; fixed peers have none.
    pub(crate) range: Option<String>,
    pub(crate) admission: Option<Admission>,
    pub(crate) phase: Phase,
    pub(crate) conns: Vec<ConnId>,
    pub(crate) session: Option<Session>,
    pub(crate) restart: RestartState,
    /// Shut down by an operator: until enabled.
    pub(crate) shutdown: bool,
    /// Kept down after too many prefixes.
    pub(crate) overflowed: bool,
    pub(crate) bfd: Option<bool>,
    /// Failed attempts in a row.
    pub(crate) failures: u32,
    /// When the state last changed.
    pub(crate) since: Time,
    pub(crate) last_error: Option<DownReason>,
    pub(crate) counters: Counters,
    /// Refused routes and malformed UPDATEs of this session so far.
    pub(crate) complaints: u32,
}

impl Peer {
    pub(crate) fn new(address: IpAddr, config: PeerConfig, now: Time) -> Self {
        Self {
            address,
            config,
            range: None,
            admission: None,
            phase: Phase::Idle,
            conns: Vec::new(),
            session: None,
            restart: RestartState::default(),
            shutdown: false,
            overflowed: false,
            bfd: None,
            failures: 0,
            since: now,
            last_error: None,
            counters: Counters::default(),
            complaints: 0,
        }
    }

    /// Whether no session is allowed.
    pub(crate) fn is_down(&self) -> bool {
        self.shutdown || self.overflowed || self.config.shutdown.is_some()
    }
}

/// All peers, by number and by address.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Peer>>,
    by_address: BTreeMap<IpAddr, PeerIx>,
}

impl Peers {
    /// `None`: there are as many peers as there are numbers.
    pub(crate) fn insert(&mut self, peer: Peer) -> Option<PeerIx> {
        if self.slots.is_empty() {
            self.slots.push(None);
        }
        let free = self.slots.iter().skip(1).position(Option::is_none);
        let at = free.map_or(self.slots.len(), |position| position + 1);
        let ix = PeerIx(u16::try_from(at).ok()?);
        self.by_address.insert(peer.address, ix);
        if at == self.slots.len() {
            self.slots.push(Some(peer));
        } else {
            self.slots[at] = Some(peer);
        }
        Some(ix)
    }

    pub(crate) fn remove(&mut self, ix: PeerIx) -> Option<Peer> {
        let peer = self.slots.get_mut(ix.at())?.take()?;
        self.by_address.remove(&peer.address);
        Some(peer)
    }

    pub(crate) fn find(&self, address: IpAddr) -> Option<PeerIx> {
        self.by_address.get(&address).copied()
    }

    pub(crate) fn get(&self, ix: PeerIx) -> Option<&Peer> {
        self.slots.get(ix.at())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, ix: PeerIx) -> Option<&mut Peer> {
        self.slots.get_mut(ix.at())?.as_mut()
    }

    /// Peers in the order of their addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerIx, &Peer)> {
        self.by_address
            .values()
            .filter_map(|ix| Some((*ix, self.get(*ix)?)))
    }

    pub(crate) fn numbers(&self) -> Vec<PeerIx> {
        self.by_address.values().copied().collect()
    }
}
