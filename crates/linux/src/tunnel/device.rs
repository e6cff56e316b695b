//! What a device is configured to be, and how a change becomes visible: whole, between two packets.

mod succession;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;
use ipnet::IpNet;
use routerd_core::key::{PublicKey, SecretKey};

use super::allowed_ips::{AllowedIps, Mix};
use super::gate::Gate;
use super::handover::Neighbour;
use super::peer::{HANDSHAKE_SPACE, Peer, Seed, State};
use super::tun::Tun;
use super::uapi::{AllowedIpChange, DeviceState, PeerState, SetDevice, SetPeer};
use super::udp::Udp;
use crate::wireguard::random;

/// Handshakes a second from which on a sender has to prove its address first.
const HANDSHAKES_UNDER_LOAD: u64 = 100;

/// A device: its tables, its TUN queue and its UDP sockets.
pub(super) struct Device {
    tables: RwLock<Tables>,
    pub(super) tun: Tun,
    pub(super) udp: Udp,
    /// Before the reading ends of both.
    pub(super) gate: Gate,
    /// The other process while one takes over from the other.
    pub(super) neighbour: Neighbour,
}

/// Who we are and whom we know.
pub(super) struct Tables {
    identity: Identity,
    /// Stands in while no private key is set: peers can be configured, but talk to nobody.
    placeholder: SecretKey,
    peers: BTreeMap<PublicKey, Entry>,
    by_index: HashMap<u32, Arc<Peer>, BuildHasherDefault<Mix>>,
    allowed_ips: AllowedIps<Arc<Peer>>,
    next_index: u32,
    /// Indices that another process uses for this device.
    reserved: BTreeSet<u32>,
}

struct Entry {
    peer: Arc<Peer>,
    allowed_ips: BTreeSet<IpNet>,
}

/// Our key and what is derived from it.
pub(super) struct Identity {
    pub(super) private_key: SecretKey,
    pub(super) secret: x25519::StaticSecret,
    pub(super) public: x25519::PublicKey,
    /// Decides whether a handshake message is looked at.
    pub(super) gate: Arc<RateLimiter>,
    /// For the protocol states, which see only what passed the gate.
    open: Arc<RateLimiter>,
}

impl Identity {
    fn new(private_key: SecretKey) -> Self {
        let secret = x25519::StaticSecret::from(*private_key.expose());
        let public = x25519::PublicKey::from(&secret);
        Self {
            private_key,
            secret,
            public,
            gate: Arc::new(RateLimiter::new(&public, HANDSHAKES_UNDER_LOAD)),
            open: Arc::new(RateLimiter::new(&public, u64::MAX)),
        }
    }
}

impl Device {
    /// A device without key and peers.
    pub(super) fn new(tun: Tun, udp: Udp) -> io::Result<Self> {
        let placeholder = SecretKey::from_bytes(random()?);
        Ok(Self {
            tables: RwLock::new(Tables::new(placeholder)),
            tun,
            udp,
            gate: Gate::default(),
            neighbour: Neighbour::default(),
        })
    }

    /// The tables as they are between two changes.
    pub(super) fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a whole request but for the port, which comes before.
    pub(super) fn set(&self, request: SetDevice) -> io::Result<()> {
        if let Some(mark) = request.fwmark {
            self.udp.set_mark(mark)?;
        }
        let touched = self.tables_mut().apply(request);
        for peer in touched {
            self.wake(&peer);
        }
        Ok(())
    }

    /// Sends what became possible with a change: a handshake for packets that wait.
    fn wake(&self, peer: &Peer) {
        self.shake(peer, State::initiate_for_waiting);
    }

    /// Sends the beginning of a handshake, if there is one to send and a place to send it to.
    fn shake(&self, peer: &Peer, begin: impl FnOnce(&mut State, &mut [u8]) -> Option<usize>) {
        let mut dst = [0; HANDSHAKE_SPACE];
        let mut state = peer.lock();
        let Some(endpoint) = state.endpoint else {
            return;
        };
        if let Some(length) = begin(&mut state, &mut dst) {
            drop(state);
            self.udp.send(&dst[..length], endpoint);
        }
    }

    /// Everything, as `get=1` shows it.
    pub(super) fn get(&self) -> DeviceState {
        let tables = self.tables();
        DeviceState {
            private_key: tables.identity().map(|i| i.private_key.clone()),
            listen_port: self.udp.port(),
            fwmark: self.udp.mark(),
            peers: tables.peers.values().map(peer_state).collect(),
        }
    }
}

fn peer_state(entry: &Entry) -> PeerState {
    let mut state = entry.peer.lock();
    state.note_handshake();
    PeerState {
        public_key: entry.peer.key,
        preshared_key: state.preshared_key.clone(),
        endpoint: state.endpoint.map(|endpoint| endpoint.remote),
        persistent_keepalive: state.keepalive_interval(),
        last_handshake: state
            .last_handshake
            .and_then(|when| when.duration_since(std::time::UNIX_EPOCH).ok()),
        rx_bytes: state.rx_bytes,
        tx_bytes: state.tx_bytes,
        allowed_ips: entry.allowed_ips.clone(),
    }
}

impl Tables {
    fn new(placeholder: SecretKey) -> Self {
        Self {
            identity: Identity::new(placeholder.clone()),
            placeholder,
            peers: BTreeMap::new(),
            by_index: HashMap::default(),
            allowed_ips: AllowedIps::default(),
            next_index: 0,
            reserved: BTreeSet::new(),
        }
    }

    /// Our key, once it is set.
    pub(super) fn identity(&self) -> Option<&Identity> {
        (self.identity.private_key != self.placeholder).then_some(&self.identity)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.peers.values().map(|entry| &entry.peer)
    }

    pub(super) fn peer(&self, key: &PublicKey) -> Option<&Arc<Peer>> {
        self.peers.get(key).map(|entry| &entry.peer)
    }

    /// The peer that a message with this receiver index is for.
    pub(super) fn by_receiver(&self, receiver: u32) -> Option<&Arc<Peer>> {
        self.by_index.get(&(receiver >> 8))
    }

    /// The peer that an address belongs to.
    pub(super) fn by_address(&self, address: std::net::IpAddr) -> Option<&Arc<Peer>> {
        self.allowed_ips.lookup(address)
    }

    /// Applies a request and returns the peers that it set something on.
    fn apply(&mut self, request: SetDevice) -> Vec<Arc<Peer>> {
        if let Some(private_key) = request.private_key {
            self.set_private_key(private_key);
        }
        if request.replace_peers {
            self.peers.clear();
            self.by_index.clear();
            self.allowed_ips = AllowedIps::default();
        }
        let peers = request.peers.into_iter();
        peers.filter_map(|peer| self.apply_peer(peer)).collect()
    }

    fn apply_peer(&mut self, change: SetPeer) -> Option<Arc<Peer>> {
        let key = change.public_key;
        if change.remove {
            self.remove_peer(&key);
            return None;
        }
        // A device is never its own peer; the kernel passes over it, too.
        if self.identity.public.as_bytes() == &key.0 {
            return None;
        }
        let peer = match self.peers.get(&key) {
            Some(entry) => Arc::clone(&entry.peer),
            None if change.update_only => return None,
            None => self.add_peer(key),
        };
        if let Some(preshared_key) = change.preshared_key {
            self.set_preshared_key(&peer, preshared_key);
        }
        let mut state = peer.lock();
        if let Some(endpoint) = change.endpoint {
            state.endpoint = Some(endpoint.into());
        }
        if let Some(seconds) = change.persistent_keepalive {
            state.set_persistent_keepalive(seconds);
        }
        drop(state);
        self.set_allowed_ips(&peer, &change.allowed_ips, change.replace_allowed_ips);
        Some(peer)
    }

    fn set_private_key(&mut self, private_key: Option<SecretKey>) {
        let private_key = private_key.unwrap_or_else(|| self.placeholder.clone());
        if private_key == self.identity.private_key {
            return;
        }
        self.identity = Identity::new(private_key);
        self.remove_peer(&PublicKey(self.identity.public.to_bytes()));
        for entry in self.peers.values() {
            let mut state = entry.peer.lock();
            state.set_private_key(&self.identity.private_key, &self.identity.open);
        }
    }

    fn add_peer(&mut self, key: PublicKey) -> Arc<Peer> {
        let seed = self.seed();
        let peer = Arc::new(Peer::new(key, &seed));
        self.by_index.insert(seed.index, Arc::clone(&peer));
        self.peers.insert(
            key,
            Entry {
                peer: Arc::clone(&peer),
                allowed_ips: BTreeSet::new(),
            },
        );
        peer
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        let Some(entry) = self.peers.remove(key) else {
            return;
        };
        for net in entry.allowed_ips {
            self.allowed_ips.remove(net);
        }
        self.by_index
            .retain(|_, peer| !Arc::ptr_eq(peer, &entry.peer));
    }

    fn set_preshared_key(&mut self, peer: &Arc<Peer>, preshared_key: Option<SecretKey>) {
        let mut state = peer.lock();
        if state.preshared_key == preshared_key {
            return;
        }
        let seed = self.seed();
        state.set_preshared_key(peer.key, preshared_key, &seed);
        let live: Vec<u32> = state.indices().collect();
        drop(state);
        self.by_index
            .retain(|index, owner| !Arc::ptr_eq(owner, peer) || live.contains(index));
        self.by_index.insert(seed.index, Arc::clone(peer));
    }

    fn set_allowed_ips(&mut self, peer: &Arc<Peer>, changes: &[AllowedIpChange], replace: bool) {
        if replace {
            let kept: BTreeSet<IpNet> = changes
                .iter()
                .filter_map(|change| match change {
                    AllowedIpChange::Add(net) => Some(*net),
                    AllowedIpChange::Remove(_) => None,
                })
                .collect();
            let held = self
                .peers
                .get(&peer.key)
                .map(|entry| entry.allowed_ips.clone());
            for net in held.into_iter().flatten().filter(|net| !kept.contains(net)) {
                self.release(peer, net);
            }
        }
        for change in changes {
            match change {
                AllowedIpChange::Add(net) => self.assign(peer, *net),
                AllowedIpChange::Remove(net) => self.release(peer, *net),
            }
        }
    }

    /// Gives a prefix to a peer and takes it from the one that has it.
    fn assign(&mut self, peer: &Arc<Peer>, net: IpNet) {
        let old = self.allowed_ips.insert(net, Arc::clone(peer));
        if let Some(entry) = old.and_then(|old| self.peers.get_mut(&old.key)) {
            entry.allowed_ips.remove(&net);
        }
        if let Some(entry) = self.peers.get_mut(&peer.key) {
            entry.allowed_ips.insert(net);
        }
    }

    /// Takes a prefix from a peer if it is the peer's.
    fn release(&mut self, peer: &Arc<Peer>, net: IpNet) {
        let owned = |owner: &Arc<Peer>| Arc::ptr_eq(owner, peer);
        if self.allowed_ips.owner(net).is_some_and(owned) {
            self.allowed_ips.remove(net);
        }
        if let Some(entry) = self.peers.get_mut(&peer.key) {
            entry.allowed_ips.remove(&net);
        }
    }

    fn seed(&mut self) -> Seed {
        Seed {
            private_key: self.identity.private_key.clone(),
            index: self.free_index(),
            limiter: Arc::clone(&self.identity.open),
        }
    }

    /// An index of 24 bits that no live session uses.
    fn free_index(&mut self) -> u32 {
        loop {
            self.next_index = (self.next_index + 1) & 0x00ff_ffff;
            let index = &self.next_index;
            if !self.by_index.contains_key(index) && !self.reserved.contains(index) {
                return self.next_index;
            }
        }
    }
}

#[cfg(test)]
mod tests;
