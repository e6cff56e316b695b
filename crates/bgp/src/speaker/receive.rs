//! Octets to messages, and messages to what the state makes of them (RFC 4271, section 8.2.2).

use std::time::Duration;

use super::Speaker;
use crate::io::{DownReason, Output};
use crate::session::{Conn, ConnState, PeerIx, TimerId};
use crate::types::{ConnId, RouterId};
use crate::wire::{self, Kind, Notification, Open};

/// Where a message of `kind` starts and ends in the stream.
struct Message<'a> {
    kind: Kind,
    body: &'a [u8],
}

impl Speaker {
    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(from) = self.conns.get_mut(&conn) else {
            return;
        };
        let ix = from.peer;
        let mut partial = std::mem::take(&mut from.partial);
        if let Some(peer) = self.peers.get_mut(ix) {
            peer.counters.octets_in += bytes.len() as u64;
        }
        let consumed;
        let rest = if partial.is_empty() {
            consumed = self.messages(conn, ix, bytes);
            bytes[consumed..].to_vec()
        } else {
            partial.extend_from_slice(bytes);
            consumed = self.messages(conn, ix, &partial);
            partial.drain(..consumed);
            partial
        };
        let Some(from) = self.conns.get_mut(&conn) else {
            return;
        };
        from.partial = rest;
        // Only whole messages are a sign of life; halves may drip in for ever.
        if consumed > 0 && !from.hold.is_zero() {
            self.timers.set(TimerId::Hold(conn), self.now + from.hold);
        }
    }

    /// Handles all whole messages; how many octets they were.
    fn messages(&mut self, conn: ConnId, ix: PeerIx, stream: &[u8]) -> usize {
        let mut consumed = 0;
        // A message may be the connection's last.
        while let Some(from) = self.conns.get(&conn) {
            let (state, extended) = (from.state, from.extended);
            let rest = &stream[consumed..];
            match wire::frame(rest, extended) {
                Ok(None) => break,
                Err(notification) => {
                    self.fail(conn, &notification);
                    break;
                }
                Ok(Some((kind, length))) => {
                    consumed += length;
                    if let Some(peer) = self.peers.get_mut(ix) {
                        peer.counters.messages_in += 1;
                    }
                    let body = &rest[wire::HEADER..length];
                    self.message(conn, ix, state, &Message { kind, body });
                }
            }
        }
        consumed
    }

    fn message(&mut self, conn: ConnId, ix: PeerIx, state: ConnState, message: &Message<'_>) {
        match (state, message.kind) {
            (_, Kind::Notification) => {
                if let Some(peer) = self.peers.get_mut(ix) {
                    peer.counters.notifications_in += 1;
                }
                let notice = Notification::decode(message.body).notice();
                self.drop_conn(conn, DownReason::Received(notice), true);
            }
            (ConnState::OpenSent, Kind::Open) => self.opened(conn, ix, message.body),
            (ConnState::OpenConfirm, Kind::Keepalive) => self.established(conn, ix),
            (ConnState::Established, Kind::Keepalive) => {}
            (ConnState::Established, Kind::Update) => {
                self.mirror(ix, message.body);
                if let Err(notification) = self.update(ix, message.body) {
                    self.fail(conn, &notification);
                }
            }
            (ConnState::Established, Kind::RouteRefresh) => self.refresh_received(ix, message.body),
            (ConnState::OpenSent, _) => self.fail(conn, &Notification::fsm(1)),
            (ConnState::OpenConfirm, _) => self.fail(conn, &Notification::fsm(2)),
            (ConnState::Established, Kind::Open) => self.fail(conn, &Notification::fsm(3)),
        }
    }

    fn mirror(&mut self, ix: PeerIx, body: &[u8]) {
        if let Some(peer) = self.peers.get(ix).filter(|_| self.config.monitored) {
            let mut message = Vec::with_capacity(wire::HEADER + body.len());
            wire::message(&mut message, Kind::Update, |out| {
                out.extend_from_slice(body)
            });
            self.outputs.push_back(Output::Monitored {
                peer: peer.address,
                message: message.into(),
            });
        }
    }

    fn opened(&mut self, conn: ConnId, ix: PeerIx, body: &[u8]) {
        let open = Open::decode(body).and_then(|open| self.judge(ix, open));
        let open = match open {
            Ok(open) => open,
            Err(notification) => {
                self.fail(conn, &notification);
                return;
            }
        };
        if self.loses_collision(conn, ix, &open) {
            self.fail(conn, &Notification::cease(Notification::COLLISION));
            return;
        }
        let Some(peer) = self.peers.get(ix) else {
            return;
        };
        let timers = peer.config.timers;
        let offered = Duration::from_secs(open.hold.into());
        let extended = peer.config.extended_messages && open.capabilities.extended_messages;
        let Some(from) = self.conns.get_mut(&conn) else {
            return;
        };
        from.state = ConnState::OpenConfirm;
        from.extended = extended;
        from.hold = offered.min(timers.hold);
        let shortest = Duration::from_secs(1);
        from.keepalive = timers.keepalive.min(from.hold / 3).max(shortest);
        from.open = Some(open);
        wire::message(&mut from.opens.1, Kind::Open, |out| {
            out.extend_from_slice(body);
        });
        if from.hold.is_zero() {
            self.timers.cancel(TimerId::Hold(conn));
            let mut bytes = Vec::new();
            wire::keepalive(&mut bytes);
            self.send(conn, bytes);
        } else {
            self.timers.set(TimerId::Hold(conn), self.now + from.hold);
            self.keepalive_due(conn);
        }
    }

    /// Whether this OPEN is one that the configuration expects.
    fn judge(&self, ix: PeerIx, open: Open) -> Result<Open, Notification> {
        let Some(peer) = self.peers.get(ix) else {
            return Err(Notification::cease(Notification::PEER_DECONFIGURED));
        };
        if open.asn != peer.config.asn {
            return Err(Notification::new(2, 2, Vec::new()));
        }
        if open.asn == self.config.asn && open.router_id == self.config.router_id {
            return Err(Notification::new(2, 3, Vec::new()));
        }
        let spoken = &open.capabilities.families;
        // Without the capability a speaker means IPv4 unicast (RFC 4760, section 8).
        let implied =
            spoken.is_empty() && peer.config.families.contains(&crate::Family::Ipv4Unicast);
        if !implied && spoken.is_disjoint(&peer.config.families) {
            return Err(Notification::new(2, 7, Vec::new()));
        }
        Ok(open)
    }

    /// Settles a collision (RFC 4271, section 6.8); true if the connection at hand is the one to go.
    fn loses_collision(&mut self, conn: ConnId, ix: PeerIx, open: &Open) -> bool {
        let others: Vec<ConnId> = match self.peers.get(ix) {
            Some(peer) => peer.conns.iter().copied().filter(|o| *o != conn).collect(),
            None => return true,
        };
        for other in others {
            let outgoing = |c: &ConnId| self.conns.get(c).is_some_and(|c| c.outgoing);
            let (ours, theirs) = (outgoing(&conn), outgoing(&other));
            match self.conns.get(&other).map(|c: &Conn| c.state) {
                Some(ConnState::Established) if self.restarts_gracefully(ix, open) => {
                    // Its old connection is gone, it is only us who do not know yet (RFC 4724, section 5).
                    let reason = "the peer opened a new connection".to_owned();
                    self.drop_conn(other, DownReason::ConnectionLost(reason), true);
                }
                Some(ConnState::Established) => return true,
                // One in OpenSent counts as well: its peer has just been named by this OPEN. Were it left until its
                // own OPEN comes, the other side might have gone to Established on the one that is to go.
                Some(_) if self.keeps(open.router_id, open, ours, theirs) => {
                    self.fail(other, &Notification::cease(Notification::COLLISION));
                }
                Some(_) => return true,
                None => {}
            }
        }
        false
    }

    /// Whether the connection at hand stays: the one opened by the higher identifier does (RFC 6286 breaks ties by AS).
    fn keeps(&self, remote: RouterId, open: &Open, ours: bool, other_ours: bool) -> bool {
        if ours == other_ours {
            return true;
        }
        let we_win = (self.config.router_id, self.config.asn) > (remote, open.asn);
        ours == we_win
    }
}
