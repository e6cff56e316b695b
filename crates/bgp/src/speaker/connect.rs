//! From nothing to OpenConfirm: connection attempts, collisions, and the end of connections.

use std::net::IpAddr;
use std::time::Duration;

use super::Speaker;
use crate::io::{DownReason, Event, EventKind, Output};
use crate::session::{Conn, ConnState, Peer, PeerIx, Phase, TimerId};
use crate::types::{ConnId, Time};
use crate::wire::{self, Notification};

/// How long a peer may take for its OPEN. RFC 4271, section 8.2.2, suggests four minutes; who says nothing for one is
/// not going to, and keeps others of its range out.
const OPEN_WAIT: Duration = Duration::from_secs(60);
/// Whatever is configured, attempts are not more frequent.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// How long the first attempt may take, each later one twice as long, up to the retry time. A host that does not listen
/// yet refuses without a signature: where there is a password nobody hears that, and the kernel asks again only after a second.
const FIRST_PATIENCE: Duration = Duration::from_millis(400);
/// A session that lasted so long was none that comes and goes: the attempts after it begin at once again.
pub(super) const STEADY: Duration = Duration::from_secs(10);
/// Shortest send hold time (RFC 9687, section 3.1).
const SEND_HOLD: Duration = Duration::from_secs(8 * 60);

/// After so many attempts in a row that nobody answered, that is what is wrong; what was wrong before is history.
const SILENT_ATTEMPTS: u32 = 3;

impl Speaker {
    pub(super) fn add_peer(&mut self, peer: Peer) -> Option<PeerIx> {
        let ix = self.peers.insert(peer)?;
        self.start(ix);
        Some(ix)
    }

    /// Begins to look for a session, unless there is a reason not to.
    pub(super) fn start(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        if peer.is_down() {
            peer.phase = Phase::Idle;
        } else if peer.config.passive || peer.range.is_some() {
            peer.phase = Phase::Active;
        } else if peer.conns.is_empty() {
            self.connect(ix);
        }
    }

    fn connect(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        peer.phase = Phase::Connect;
        let patience = FIRST_PATIENCE * 2u32.pow(peer.failures.min(10));
        let retry = patience.min(peer.config.timers.connect_retry);
        let retry = self.random.jitter(retry.max(SHORTEST_RETRY));
        self.outputs.push_back(Output::Connect {
            remote: peer.address,
            port: peer.config.port,
            local: peer.config.local_address,
        });
        self.timers.set(TimerId::Connect(ix), self.now + retry);
    }

    pub(super) fn connect_due(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        if peer.is_down() || !peer.conns.is_empty() {
            return;
        }
        if peer.phase == Phase::Connect {
            peer.failures = peer.failures.saturating_add(1);
            let (remote, silent) = (peer.address, peer.failures > SILENT_ATTEMPTS);
            self.outputs.push_back(Output::CancelConnect { remote });
            if silent {
                self.note_failure(ix, "no answer, timed out".to_owned());
            }
        }
        self.start(ix);
    }

    pub(super) fn connect_failed(&mut self, remote: IpAddr, reason: String) {
        let Some(ix) = self.peers.find(remote) else {
            return;
        };
        let waiting = |peer: &&mut Peer| peer.phase == Phase::Connect;
        let Some(peer) = self.peers.get_mut(ix).filter(waiting) else {
            return;
        };
        peer.phase = Phase::Active;
        self.note_failure(ix, reason);
        self.retry_later(ix);
    }

    /// The same failure again and again is told once.
    fn note_failure(&mut self, ix: PeerIx, reason: String) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        let reason = DownReason::ConnectFailed(reason);
        let news = peer.last_error.as_ref() != Some(&reason);
        peer.last_error = Some(reason.clone());
        if news {
            self.event(ix, EventKind::Failed(reason));
        }
    }

    /// The next attempt: soon after the first failure, at the configured interval after some.
    fn retry_later(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        let soon = SHORTEST_RETRY * 2u32.pow(peer.failures.min(10));
        peer.failures = peer.failures.saturating_add(1);
        let delay = soon.min(peer.config.timers.connect_retry);
        let delay = self.random.jitter(delay.max(SHORTEST_RETRY));
        self.timers.set(TimerId::Connect(ix), self.now + delay);
    }

    pub(super) fn connected(&mut self, conn: ConnId, local: IpAddr, remote: IpAddr) {
        let expected = |ix: &PeerIx| {
            self.peers
                .get(*ix)
                .is_some_and(|p| p.phase == Phase::Connect)
        };
        let Some(ix) = self.peers.find(remote).filter(expected) else {
            self.outputs.push_back(Output::Close { conn });
            return;
        };
        self.timers.cancel(TimerId::Connect(ix));
        if let Some(peer) = self.peers.get_mut(ix) {
            peer.phase = Phase::Active;
        }
        self.open(conn, ix, local, true);
    }

    pub(super) fn accepted(&mut self, conn: ConnId, local: IpAddr, remote: IpAddr) {
        let known = self.peers.find(remote);
        let admitted = known.map_or_else(|| self.discover(remote), Ok);
        let ix = match admitted {
            Ok(ix) => ix,
            Err(reason) => {
                self.outputs.push_back(Output::Event(Event {
                    at: self.now,
                    peer: remote,
                    kind: EventKind::NotAdmitted(reason),
                }));
                self.reject(conn);
                return;
            }
        };
        let Some(peer) = self.peers.get(ix) else {
            return;
        };
        if peer.is_down() {
            self.reject(conn);
            return;
        }
        // A peer that connects anew has given up its earlier connection that got nowhere.
        let earlier: Vec<ConnId> = peer.conns.clone();
        for other in earlier {
            let abandoned = |c: &Conn| !c.outgoing && c.state < ConnState::Established;
            if self.conns.get(&other).is_some_and(abandoned) {
                self.fail(other, &Notification::cease(Notification::COLLISION));
            }
        }
        self.open(conn, ix, local, false);
    }

    /// Closes a connection that no session will have, saying so.
    fn reject(&mut self, conn: ConnId) {
        let mut bytes = Vec::new();
        Notification::cease(Notification::REJECTED).encode(&mut bytes);
        let bytes = bytes.into();
        self.outputs.push_back(Output::Send { conn, bytes });
        self.outputs.push_back(Output::Close { conn });
    }

    fn open(&mut self, conn: ConnId, ix: PeerIx, local: IpAddr, outgoing: bool) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        peer.conns.push(conn);
        let mut bytes = Vec::new();
        self.our_open(ix).encode(&mut bytes);
        let mut fresh = Conn::new(ix, local, outgoing, self.now);
        fresh.opens.0.clone_from(&bytes);
        self.conns.insert(conn, fresh);
        self.timers.set(TimerId::Hold(conn), self.now + OPEN_WAIT);
        self.send(conn, bytes);
    }

    /// Ends a connection for a reason of ours.
    pub(super) fn fail(&mut self, conn: ConnId, notification: &Notification) {
        let reason = match notification {
            Notification {
                code: 6,
                subcode: Notification::COLLISION,
                ..
            } => DownReason::Collision,
            Notification {
                code: 6,
                subcode: Notification::BFD_DOWN,
                ..
            } => DownReason::BfdDown,
            other => DownReason::Sent(other.notice()),
        };
        let peer = self.conns.get(&conn).map(|from| from.peer);
        if let Some(peer) = peer.and_then(|ix| self.peers.get_mut(ix)) {
            peer.counters.notifications_out += 1;
        }
        let mut bytes = Vec::new();
        notification.encode(&mut bytes);
        self.send(conn, bytes);
        self.drop_conn(conn, reason, true);
    }

    /// Forgets a connection; what hung on it ends or goes on as the reason has it.
    pub(super) fn drop_conn(&mut self, conn: ConnId, reason: DownReason, close: bool) {
        let Some(gone) = self.conns.remove(&conn) else {
            return;
        };
        for timer in [TimerId::Hold, TimerId::Keepalive, TimerId::SendHold] {
            self.timers.cancel(timer(conn));
        }
        if close {
            self.outputs.push_back(Output::Close { conn });
        }
        let ix = gone.peer;
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        peer.conns.retain(|other| *other != conn);
        if peer.session.as_ref().is_some_and(|s| s.conn == conn) {
            self.session_down(ix, reason);
        } else if reason != DownReason::Collision {
            peer.last_error = Some(reason.clone());
            self.event(ix, EventKind::Failed(reason));
        }
        self.after_loss(ix);
    }

    /// A peer without connections: forgotten if it was a dynamic one, tried again otherwise.
    fn after_loss(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        if !peer.conns.is_empty() || peer.phase == Phase::Connect {
            return;
        }
        peer.phase = Phase::Idle;
        if peer.range.is_some() {
            self.forget_dynamic(ix);
        } else if !peer.is_down() {
            if peer.config.passive {
                peer.phase = Phase::Active;
            } else {
                self.retry_later(ix);
            }
        }
    }

    pub(super) fn hold_expired(&mut self, conn: ConnId) {
        self.fail(conn, &Notification::hold());
    }

    pub(super) fn keepalive_due(&mut self, conn: ConnId) {
        let Some(interval) = self.conns.get(&conn).map(|c| c.keepalive) else {
            return;
        };
        let mut bytes = Vec::new();
        wire::keepalive(&mut bytes);
        self.send(conn, bytes);
        self.timers
            .set(TimerId::Keepalive(conn), self.now + interval);
    }

    /// Counts what the system took.
    pub(super) fn sent(&mut self, conn: ConnId, count: usize) {
        let Some(to) = self.conns.get_mut(&conn) else {
            return;
        };
        to.queued = to.queued.saturating_sub(count);
        to.progress = self.now;
        let (done, ix) = (to.queued == 0, to.peer);
        if done {
            self.timers.cancel(TimerId::SendHold(conn));
        }
        if let Some(peer) = self.peers.get_mut(ix) {
            peer.counters.octets_out += count as u64;
        }
    }

    pub(super) fn arm_send_hold(&mut self, conn: ConnId, from: Time) {
        if let Some(to) = self.conns.get(&conn)
            && !self.timers.is_set(TimerId::SendHold(conn))
        {
            let limit = SEND_HOLD.max(to.hold * 2);
            self.timers.set(TimerId::SendHold(conn), from + limit);
        }
    }

    pub(super) fn send_hold_expired(&mut self, conn: ConnId) {
        let Some(to) = self.conns.get(&conn).filter(|c| c.queued > 0) else {
            return;
        };
        let until = to.progress + SEND_HOLD.max(to.hold * 2);
        if until > self.now {
            self.timers.set(TimerId::SendHold(conn), until);
        } else {
            self.drop_conn(conn, DownReason::SendHoldTimer, true);
        }
    }
}
