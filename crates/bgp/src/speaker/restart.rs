//! Graceful restart: the helper's side, its long-lived sequel, and our own restart (RFC 4724, 9494).

use std::time::Duration;

use super::Speaker;
use crate::io::{DownReason, EventKind};
use crate::session::{Peer, PeerIx, Session, TimerId};
use crate::types::Family;
use crate::wire::Open;

/// Connections that both sides open at once end up within this time. A second connection that comes later is no
/// collision.
const COLLISION_WINDOW: Duration = Duration::from_secs(5);

impl Speaker {
    /// After a session: keeps the peer's routes as stale where that was agreed, removes the others.
    ///
    /// Only a connection that just ended may be a restart. A NOTIFICATION means what it says, a silent peer is dead, and
    /// so is one that BFD does not see.
    pub(super) fn keep_stale(&mut self, ix: PeerIx, session: &Session, why: &DownReason) -> bool {
        let Some(peer) = self.peers.get_mut(ix) else {
            return false;
        };
        let graceful = peer.config.graceful_restart;
        let helps = graceful.enabled
            && matches!(why, DownReason::ConnectionLost(_))
            && peer.bfd != Some(false);
        let restart = session.remote.restart.as_ref().filter(|_| helps);
        peer.restart.long_lived.clear();
        for family in Family::ALL {
            // What was stale before has had its chance.
            self.ribs.remove_stale(ix, family);
            peer.restart.stale.remove(&family);
            let kept = restart.is_some_and(|r| r.families.contains_key(&family));
            if !kept {
                self.ribs.remove_all(ix, family);
                continue;
            }
            if self.ribs.mark_stale(ix, family) > 0 {
                peer.restart.stale.insert(family);
            }
            let theirs = session.remote.long_lived.get(&family);
            if let (Some(ours), Some(theirs)) = (graceful.long_lived, theirs) {
                let ours = u32::try_from(ours.as_secs()).unwrap_or(u32::MAX);
                let time = ours.min(theirs.stale_time);
                peer.restart.long_lived.insert(family, time);
            }
        }
        let Some(restart) = restart.filter(|_| !peer.restart.stale.is_empty()) else {
            return false;
        };
        let wait = Duration::from_secs(restart.time.into());
        self.timers.set(TimerId::Restart(ix), self.now + wait);
        true
    }

    /// The peer did not come back in time.
    pub(super) fn restart_expired(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get(ix) else {
            return;
        };
        let stale: Vec<Family> = peer.restart.stale.iter().copied().collect();
        let long_lived = peer.restart.long_lived.clone();
        for family in stale {
            match long_lived.get(&family) {
                Some(&seconds) if seconds > 0 => {
                    let count = self.ribs.make_long_lived(ix, family);
                    self.event(ix, EventKind::LongLivedStale(family, count));
                    let end = self.now + Duration::from_secs(seconds.into());
                    self.timers.set(TimerId::LongLived(ix, family), end);
                }
                _ => self.remove_stale(ix, family),
            }
        }
    }

    /// Removes what is still stale in a family.
    pub(super) fn remove_stale(&mut self, ix: PeerIx, family: Family) {
        self.timers.cancel(TimerId::LongLived(ix, family));
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        let was_stale = peer.restart.stale.remove(&family);
        let (idle, dynamic) = (peer.conns.is_empty(), peer.range.is_some());
        let count = self.ribs.remove_stale(ix, family);
        if was_stale {
            self.event(ix, EventKind::StaleRemoved(family, count));
        }
        if idle && dynamic {
            self.forget_dynamic(ix);
        }
    }

    pub(super) fn remove_all_stale(&mut self, ix: PeerIx) {
        self.timers.cancel(TimerId::Restart(ix));
        self.timers.cancel(TimerId::StalePaths(ix));
        for family in Family::ALL {
            self.remove_stale(ix, family);
        }
    }

    /// The peer is back: stale routes stay for a while longer where it still forwards, for others there is no reason.
    pub(super) fn restart_over(&mut self, ix: PeerIx) {
        self.timers.cancel(TimerId::Restart(ix));
        let Some(peer) = self.peers.get(ix) else {
            return;
        };
        let wait = peer.config.graceful_restart.stale_path_time;
        let stale: Vec<Family> = peer.restart.stale.iter().copied().collect();
        let gone: Vec<Family> = stale
            .iter()
            .copied()
            .filter(|family| !still_forwards(peer, *family))
            .collect();
        for family in &gone {
            self.remove_stale(ix, *family);
        }
        if gone.len() < stale.len() {
            self.timers.set(TimerId::StalePaths(ix), self.now + wait);
        }
    }

    pub(super) fn stale_paths_expired(&mut self, ix: PeerIx) {
        self.remove_all_stale(ix);
    }

    /// Whether an OPEN on a second connection means that the peer restarted behind our back (RFC 4724, section 4.2).
    ///
    /// Of a session that has just come up it may be the other half of a collision, which the peer is about to close:
    /// taken for a restart, it would cost both connections. Then only a peer that says so, and did not say so before,
    /// has restarted; one that has and does not say so tries again.
    pub(super) fn restarts_gracefully(&self, ix: PeerIx, open: &Open) -> bool {
        let Some(peer) = self.peers.get(ix) else {
            return false;
        };
        let before = peer
            .session
            .as_ref()
            .and_then(|s| s.remote.restart.as_ref());
        let (Some(before), Some(now)) = (before, &open.capabilities.restart) else {
            return false;
        };
        let young = self.now.since(peer.since) < COLLISION_WINDOW;
        !young || (now.restarted && !before.restarted)
    }

    /// The peer has told all its routes of a family.
    pub(super) fn end_of_rib(&mut self, ix: PeerIx, family: Family) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        let address = peer.address;
        let Some(session) = peer.session.as_mut() else {
            return;
        };
        if !session.families.contains(&family) || !session.end_of_rib.insert(family) {
            return;
        }
        self.event(ix, EventKind::EndOfRib(family));
        self.remove_stale(ix, family);
        if let Some(waiting) = &mut self.deferral {
            if let Some(families) = waiting.get_mut(&address) {
                families.remove(&family);
            }
            self.check_deferral();
        }
    }

    pub(super) fn begin_deferral(&mut self) {
        if self.deferral.is_none() {
            return;
        }
        let fixed = self.config.peers.values();
        let all = fixed.chain(self.config.dynamic.iter().map(|range| &range.template));
        let longest = all.map(|peer| peer.graceful_restart.restart_time).max();
        let until = self.now + longest.unwrap_or_default();
        self.timers.set(TimerId::Deferral, until);
        self.check_deferral();
    }

    /// A peer that tells no end-of-RIB, or restarted itself, is not waited for (RFC 4724, section 4.1).
    pub(super) fn deferral_session_up(&mut self, ix: PeerIx) {
        let Some(waiting) = &mut self.deferral else {
            return;
        };
        let Some(peer) = self.peers.get(ix) else {
            return;
        };
        let Some(session) = &peer.session else {
            return;
        };
        let tells = session.remote.restart.as_ref();
        if tells.is_none_or(|restart| restart.restarted) {
            waiting.remove(&peer.address);
        } else if let Some(families) = waiting.get_mut(&peer.address) {
            families.retain(|family| session.families.contains(family));
        }
        self.check_deferral();
    }

    /// Stops waiting for a peer that will not come.
    pub(super) fn deferral_without(&mut self, address: std::net::IpAddr) {
        if let Some(waiting) = &mut self.deferral {
            waiting.remove(&address);
            self.check_deferral();
        }
    }

    fn check_deferral(&mut self) {
        if let Some(waiting) = &self.deferral
            && waiting.values().all(|families| families.is_empty())
        {
            self.end_deferral();
        }
    }

    pub(super) fn end_deferral(&mut self) {
        self.timers.cancel(TimerId::Deferral);
        self.deferral = None;
        self.restarted = false;
        self.converging = true;
    }
}

/// Whether the peer says that it forwards as before.
fn still_forwards(peer: &Peer, family: Family) -> bool {
    let Some(session) = peer.session.as_ref() else {
        return false;
    };
    let remote = &session.remote;
    let restart = remote
        .restart
        .as_ref()
        .and_then(|r| r.families.get(&family));
    let long_lived = remote.long_lived.get(&family);
    session.families.contains(&family)
        && (restart.is_some_and(|r| r.forwarding) || long_lived.is_some_and(|l| l.forwarding))
}
