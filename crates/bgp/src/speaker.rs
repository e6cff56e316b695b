//! The speaker: inputs are dispatched here, outputs queue up here; what they mean is decided in the modules below.

mod admin;
mod configure;
mod connect;
mod established;
mod import;
mod query;
mod receive;
mod refresh;
mod restart;
mod rivals;
mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::{NextHopTracking, SpeakerConfig};
use crate::io::{DownReason, Event, EventKind, Input, Output};
use crate::rib::Ribs;
use crate::session::{Conn, Peer, PeerIx, Peers, Random, TimerId, Timers};
use crate::types::{ConnId, Family, Time};

/// What a speaker starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The time now.
    pub now: Time,
    /// Randomness: for jitter, and against peers that choose what collides.
    pub seed: u64,
    /// Present after a restart that kept the FIB: peers that had a session before. They are told that we restarted
    /// (RFC 4724), and nothing is selected or sent until all of them have told their routes or the restart time is over.
    pub restarting: Option<BTreeSet<IpAddr>>,
}

/// A BGP speaker.
#[derive(Debug)]
pub struct Speaker {
    pub(crate) config: SpeakerConfig,
    pub(crate) now: Time,
    pub(crate) peers: Peers,
    conns: BTreeMap<ConnId, Conn>,
    timers: Timers,
    random: Random,
    outputs: VecDeque<Output>,
    pub(crate) ribs: Ribs,
    /// After our own restart: who has still to tell which families. Absent: nothing is waited for.
    deferral: Option<BTreeMap<IpAddr, BTreeSet<Family>>>,
    /// Whether the FIB was kept over our restart; said in OPENs until the first convergence.
    restarted: bool,
    /// Whether [`Output::Converged`] is still to be said.
    converging: bool,
    /// Canonical octets of the UPDATE at hand.
    scratch: Vec<u8>,
    /// The last attributes that came, and what was made of them.
    recent: import::Recent,
}

impl Speaker {
    /// A speaker with all its peers started.
    #[must_use]
    pub fn new(config: SpeakerConfig, start: Start) -> Self {
        let restarted = start.restarting.is_some();
        let deferral = start.restarting.map(|peers| {
            let families = |peer: &IpAddr| families_of(&config, *peer);
            peers.into_iter().map(|p| (p, families(&p))).collect()
        });
        let assume = config.next_hops == NextHopTracking::AssumeReachable;
        let mut speaker = Self {
            ribs: Ribs::new(&config, start.seed, assume),
            config,
            now: start.now,
            peers: Peers::default(),
            conns: BTreeMap::new(),
            timers: Timers::default(),
            random: Random::new(start.seed),
            outputs: VecDeque::new(),
            deferral,
            restarted,
            converging: false,
            scratch: Vec::new(),
            recent: import::Recent::default(),
        };
        speaker.begin_deferral();
        for (address, config) in speaker.config.peers.clone() {
            speaker.add_peer(Peer::new(address, config, start.now));
        }
        speaker
    }

    /// Takes what happened. `now` never goes back: an earlier time counts as the latest one seen.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.now = self.now.max(now);
        while let Some(timer) = self.timers.pop(self.now) {
            self.expire(timer);
        }
        match input {
            Input::Tick => {}
            Input::Accepted {
                conn,
                local,
                remote,
            } => self.accepted(conn, local, remote),
            Input::Connected {
                conn,
                local,
                remote,
            } => self.connected(conn, local, remote),
            Input::ConnectFailed { remote, reason } => self.connect_failed(remote, reason),
            Input::Received { conn, bytes } => self.received(conn, &bytes),
            Input::Sent { conn, count } => self.sent(conn, count),
            Input::Closed { conn, reason } => {
                self.drop_conn(conn, DownReason::ConnectionLost(reason), false);
            }
            Input::Configure(config) => self.configure(*config),
            Input::Originate(routes) => self.originate(&routes),
            Input::Withdraw(prefixes) => self.withdraw(&prefixes),
            Input::Bfd { peer, path } => self.bfd(peer, path),
            Input::NextHops(states) => self.ribs.set_next_hops(&states),
            Input::Admin { peer, action } => self.admin(peer, action),
        }
        self.tell_next_hops();
    }

    /// The next thing to do for the shell; to be called until there is none. Updates are put together here, a batch
    /// at a time, so that what changed several times meanwhile is sent once.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() && self.deferral.is_none() {
            let now = self.now;
            for sent in self.ribs.produce(&mut self.conns, &mut self.outputs) {
                self.arm_send_hold(sent, now);
            }
            if self.converging && self.ribs.fib_is_told() {
                self.converging = false;
                self.outputs.push_back(Output::Converged);
            }
        }
        self.outputs.pop_front()
    }

    /// When [`Speaker::handle`] is to be called at the latest, with [`Input::Tick`] if nothing else happened.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn config(&self) -> &SpeakerConfig {
        &self.config
    }

    fn expire(&mut self, timer: TimerId) {
        match timer {
            TimerId::Connect(peer) => self.connect_due(peer),
            TimerId::Hold(conn) => self.hold_expired(conn),
            TimerId::Keepalive(conn) => self.keepalive_due(conn),
            TimerId::SendHold(conn) => self.send_hold_expired(conn),
            TimerId::Restart(peer) => self.restart_expired(peer),
            TimerId::StalePaths(peer) => self.stale_paths_expired(peer),
            TimerId::LongLived(peer, family) => self.remove_stale(peer, family),
            TimerId::MaxPrefixes(peer) => self.max_prefixes_over(peer),
            TimerId::Deferral => self.end_deferral(),
        }
    }

    fn event(&mut self, peer: PeerIx, kind: EventKind) {
        if let Some(peer) = self.peers.get(peer) {
            self.outputs.push_back(Output::Event(Event {
                at: self.now,
                peer: peer.address,
                kind,
            }));
        }
    }

    fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let Some(to) = self.conns.get_mut(&conn) else {
            return;
        };
        let first = to.queued == 0;
        to.queued += bytes.len();
        self.outputs.push_back(Output::Send {
            conn,
            bytes: Bytes::from(bytes),
        });
        if first {
            self.arm_send_hold(conn, self.now);
        }
    }

    fn tell_next_hops(&mut self) {
        let changed = self.ribs.attrs.take_changed();
        if self.config.next_hops == NextHopTracking::Track {
            let tell = |(address, used)| Output::NextHop { address, used };
            self.outputs.extend(changed.into_iter().map(tell));
        }
    }
}

/// Families that a peer of this address may have.
fn families_of(config: &SpeakerConfig, address: IpAddr) -> BTreeSet<Family> {
    if let Some(peer) = config.peers.get(&address) {
        return peer.families.clone();
    }
    let covers = |range: &&crate::config::DynamicPeerConfig| {
        range.sources.iter().any(|prefix| prefix.contains(address))
    };
    let range = config.dynamic.iter().find(covers);
    range
        .map(|r| r.template.families.clone())
        .unwrap_or_default()
}
