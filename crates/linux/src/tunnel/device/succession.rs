//! What a device tells the process that takes it over, and takes from the one before.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use routerd_core::key::PublicKey;

use super::super::handover::PeerNote;
use super::super::mmsg::Endpoint;
use super::super::peer::{HANDSHAKE_SPACE, OVERHEAD, Sealed, State};
use super::{Device, Entry};

impl Device {
    /// Of each peer what the configuration does not say.
    pub(in crate::tunnel) fn notes(&self) -> Vec<PeerNote> {
        self.tables().peers.values().map(note).collect()
    }

    /// Keeps indices free that another process uses.
    pub(in crate::tunnel) fn reserve(&self, indices: BTreeSet<u32>) {
        self.tables_mut().reserved = indices;
    }

    /// Takes over where peers are and what was counted since `before`.
    pub(in crate::tunnel) fn inherit(&self, before: &[PeerNote], now: &[PeerNote]) {
        let tables = self.tables();
        for note in now {
            let Some(peer) = tables.peer(&note.key) else {
                continue;
            };
            let known = before.iter().find(|known| known.key == note.key);
            let since =
                |figure: fn(&PeerNote) -> u64| figure(note).saturating_sub(known.map_or(0, figure));
            let handshake = note.last_handshake.map(|age| UNIX_EPOCH + age);
            let mut state = peer.lock();
            state.inherit(since(|n| n.rx_bytes), since(|n| n.tx_bytes), handshake);
            if let (Some(remote), None) = (note.remote, known) {
                let local = note.local;
                state.endpoint = Some(Endpoint { remote, local });
            }
        }
    }

    /// Begins a handshake with a peer that is somewhere.
    pub(in crate::tunnel) fn initiate(&self, key: &PublicKey) {
        let tables = self.tables();
        if let Some(peer) = tables.peer(key) {
            self.shake(peer, State::initiate);
        }
    }

    /// Sends an empty packet in every session: by that a peer knows that it can use it.
    pub(in crate::tunnel) fn confirm(&self) {
        let mut dst = [0; HANDSHAKE_SPACE + OVERHEAD];
        let tables = self.tables();
        for peer in tables.peers() {
            let mut state = peer.lock();
            let (true, Some(endpoint)) = (state.is_live(), state.endpoint) else {
                continue;
            };
            if let Sealed::Send(length) = state.seal(&[], &mut dst) {
                drop(state);
                self.udp.send(&dst[..length], endpoint);
            }
        }
    }

    /// Whether a peer has a session, or is none any more.
    pub(in crate::tunnel) fn is_settled(&self, key: &PublicKey) -> bool {
        let tables = self.tables();
        tables.peer(key).is_none_or(|peer| peer.lock().is_live())
    }

    /// Bytes received from a peer, if it is one.
    pub(in crate::tunnel) fn received(&self, key: &PublicKey) -> Option<u64> {
        let tables = self.tables();
        tables.peer(key).map(|peer| peer.lock().rx_bytes)
    }

    /// Sends the answer to a handshake message, unless it would confirm a session that must not be used yet.
    pub(in crate::tunnel) fn answer(&self, answer: &[u8], to: Endpoint) {
        let confirms = super::super::inbound::data_for(answer).is_some();
        if !(confirms && self.neighbour.is_unconfirmed()) {
            self.udp.send(answer, to);
        }
    }
}

fn note(entry: &Entry) -> PeerNote {
    let mut state = entry.peer.lock();
    state.note_handshake();
    let since_epoch = |when: std::time::SystemTime| when.duration_since(UNIX_EPOCH);
    PeerNote {
        key: entry.peer.key,
        remote: state.endpoint.map(|endpoint| endpoint.remote),
        local: state.endpoint.and_then(|endpoint| endpoint.local),
        indices: state.indices().collect(),
        live: state.is_live(),
        rx_bytes: state.rx_bytes,
        tx_bytes: state.tx_bytes,
        last_handshake: state
            .last_handshake
            .map(since_epoch)
            .and_then(Result::ok)
            .filter(|age| *age > Duration::ZERO),
    }
}
