//! The session: what is offered, what both sides have, its beginning and its end.

use std::collections::BTreeSet;

use super::Speaker;
use super::connect::STEADY;
use crate::io::{DownReason, EventKind, Output};
use crate::rib::{GroupKey, GroupKind, Source, SourceKind, tells_own_next_hop};
use crate::session::{ConnState, Peer, PeerIx, Phase, Session, TimerId};
use crate::types::{ConnId, Family};
use crate::view::SessionState;
use crate::wire::{
    AddPathModes, Capabilities, LongLivedFamily, MAX_EXTENDED, MAX_MESSAGE, Notification, Open,
    Restart, RestartFamily,
};

impl Speaker {
    /// What we offer this peer.
    pub(super) fn our_open(&self, ix: PeerIx) -> Open {
        let capabilities = self.peers.get(ix).map(|peer| self.offered(peer));
        let hold = self.peers.get(ix).map(|p| p.config.timers.hold.as_secs());
        Open {
            asn: self.config.asn,
            hold: hold.map_or(0, |secs| u16::try_from(secs).unwrap_or(u16::MAX)),
            router_id: self.config.router_id,
            capabilities: capabilities.unwrap_or_default(),
        }
    }

    fn offered(&self, peer: &Peer) -> Capabilities {
        let config = &peer.config;
        let all = || config.families.iter().copied();
        let graceful = config.graceful_restart;
        let modes = AddPathModes {
            receive: config.add_path.receive,
            send: config.add_path.send.is_some(),
        };
        // The kernel forwards on while a session is down, but not across a boot: after one there is nothing to keep.
        let forwarding = self.restarted || peer.counters.established > 0;
        let restart = graceful.enabled.then(|| Restart {
            restarted: self.restarted,
            time: u16::try_from(graceful.restart_time.as_secs())
                .unwrap_or(u16::MAX)
                .min(0xfff),
            families: all()
                .map(|family| (family, RestartFamily { forwarding }))
                .collect(),
        });
        let long_lived = graceful
            .long_lived
            .filter(|_| graceful.enabled)
            .map(|time| {
                let stale_time = u32::try_from(time.as_secs())
                    .unwrap_or(u32::MAX)
                    .min(0xff_ffff);
                all().map(move |family| {
                    (
                        family,
                        LongLivedFamily {
                            forwarding,
                            stale_time,
                        },
                    )
                })
            });
        Capabilities {
            families: config.families.clone(),
            route_refresh: true,
            enhanced_refresh: true,
            extended_messages: config.extended_messages,
            four_octet_asn: Some(self.config.asn.get()),
            restart,
            long_lived: long_lived.into_iter().flatten().collect(),
            add_path: all()
                .filter(|_| modes != AddPathModes::default())
                .map(|family| (family, modes))
                .collect(),
        }
    }

    pub(super) fn established(&mut self, conn: ConnId, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        let cancel = (peer.phase == Phase::Connect).then_some(peer.address);
        peer.phase = Phase::Active;
        let others: Vec<ConnId> = peer.conns.iter().copied().filter(|o| *o != conn).collect();
        self.timers.cancel(TimerId::Connect(ix));
        self.outputs
            .extend(cancel.map(|remote| Output::CancelConnect { remote }));
        for other in others {
            self.fail(other, &Notification::cease(Notification::COLLISION));
        }
        let Some(session) = self.negotiate(conn, ix) else {
            return;
        };
        let hold = self.conns.get_mut(&conn).map(|from| {
            from.state = ConnState::Established;
            from.hold
        });
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        peer.complaints = 0;
        peer.since = self.now;
        peer.counters.established += 1;
        let up = EventKind::Up {
            router_id: session.router_id,
            asn: peer.config.asn,
            hold: hold.unwrap_or_default(),
            families: session.families.iter().copied().collect(),
        };
        let bfd = peer.config.bfd.then_some(Output::Bfd {
            peer: peer.address,
            local: Some(session.local),
            wanted: true,
        });
        peer.session = Some(session);
        self.event(ix, up);
        self.outputs.extend(bfd);
        self.restart_over(ix);
        self.deferral_session_up(ix);
        self.join_groups(ix, false);
    }

    fn negotiate(&self, conn: ConnId, ix: PeerIx) -> Option<Session> {
        let peer = self.peers.get(ix)?;
        let from = self.conns.get(&conn)?;
        let open = from.open.clone()?;
        let remote = open.capabilities;
        let config = &peer.config;
        let mut families: BTreeSet<Family> = config
            .families
            .intersection(&remote.families)
            .copied()
            .collect();
        if remote.families.is_empty() {
            families.insert(Family::Ipv4Unicast);
        }
        let modes = |family: &Family| remote.add_path.get(family).copied().unwrap_or_default();
        let receives = |f: &&Family| config.add_path.receive && modes(f).send;
        let sends = |f: &&Family| config.add_path.send.is_some() && modes(f).receive;
        Some(Session {
            conn,
            local: from.local,
            router_id: open.router_id,
            add_path_in: families.iter().filter(receives).copied().collect(),
            add_path_out: families.iter().filter(sends).copied().collect(),
            families,
            four_octet: remote.four_octet_asn.is_some(),
            max_message: if from.extended {
                MAX_EXTENDED
            } else {
                MAX_MESSAGE
            },
            opens: from.opens.clone(),
            end_of_rib: BTreeSet::new(),
            remote,
        })
    }

    /// Puts a peer with a session among those that are told the same. `again`: its policy changed meanwhile.
    pub(super) fn join_groups(&mut self, ix: PeerIx, again: bool) {
        let Some(peer) = self.peers.get(ix) else {
            return;
        };
        let Some(session) = &peer.session else {
            return;
        };
        let config = &peer.config;
        let (kind, source) = match (config.asn == self.config.asn, config.route_reflector_client) {
            (false, _) => (GroupKind::External, SourceKind::External),
            (true, false) => (GroupKind::Internal, SourceKind::Internal),
            (true, true) => (GroupKind::Client, SourceKind::Client),
        };
        let (router_id, address) = (session.router_id.get(), peer.address);
        let own = tells_own_next_hop(kind, config.export.next_hop).then_some(session.local);
        for family in session.families.iter().copied() {
            let key = GroupKey {
                kind,
                asn: self.config.asn,
                cluster: config.cluster_id.unwrap_or(self.config.cluster()),
                own_next_hop: own.filter(|local| Family::of(*local) == family),
                policy: config.export.clone(),
                communities: config.communities.clone(),
                four_octet: session.four_octet,
                max_message: session.max_message,
                add_path: config
                    .add_path
                    .send
                    .filter(|_| session.add_path_out.contains(&family)),
                long_lived: session.remote.long_lived.contains_key(&family),
            };
            let kind = source;
            self.ribs.set_source(
                ix,
                Source {
                    kind,
                    router_id,
                    address,
                },
            );
            self.ribs.join(family, ix, session.conn, key, again);
        }
    }

    /// The session is over; its connection is already forgotten.
    pub(super) fn session_down(&mut self, ix: PeerIx, reason: DownReason) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        let Some(session) = peer.session.take() else {
            return;
        };
        if self.now.since(peer.since) >= STEADY {
            peer.failures = 0;
        }
        peer.since = self.now;
        peer.last_error = Some(reason.clone());
        self.ribs.leave(ix);
        let graceful = self.keep_stale(ix, &session, &reason);
        self.event(ix, EventKind::Down { reason, graceful });
    }

    pub(super) fn state(&self, peer: &Peer) -> SessionState {
        let furthest = peer.conns.iter().filter_map(|c| self.conns.get(c));
        match furthest.map(|conn| conn.state).max() {
            Some(ConnState::Established) => SessionState::Established,
            Some(ConnState::OpenConfirm) => SessionState::OpenConfirm,
            Some(ConnState::OpenSent) => SessionState::OpenSent,
            None => match peer.phase {
                Phase::Idle => SessionState::Idle,
                Phase::Connect => SessionState::Connect,
                Phase::Active => SessionState::Active,
            },
        }
    }
}
