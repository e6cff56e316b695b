//! Route refresh in both directions (RFC 2918, 7313).

use super::Speaker;
use crate::rib::OUTBOUND_LIMIT;
use crate::session::PeerIx;
use crate::types::Family;
use crate::wire::Notification;
use crate::wire::refresh::{self, Refresh};

/// Octets that may wait for a peer when it asks for more.
const PATIENCE: usize = 2 * OUTBOUND_LIMIT;

impl Speaker {
    pub(super) fn refresh_received(&mut self, ix: PeerIx, body: &[u8]) {
        if let Some(peer) = self.peers.get_mut(ix) {
            peer.counters.refreshes_in += 1;
        }
        let Some(session) = self.peers.get(ix).and_then(|p| p.session.as_ref()) else {
            return;
        };
        let conn = session.conn;
        let (family, what) = match refresh::decode(body) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => return,
            // Who does not speak of borders may put anything there.
            Err(_) if !session.remote.enhanced_refresh => return,
            Err(notification) => return self.fail(conn, &notification),
        };
        if !session.families.contains(&family) {
            return;
        }
        match what {
            // Every answer begins with a border at once: who asks and asks, and reads nothing, would fill the queue.
            Refresh::Request if self.conns.get(&conn).is_some_and(|c| c.queued > PATIENCE) => {
                self.fail(conn, &Notification::cease(Notification::OUT_OF_RESOURCES));
            }
            Refresh::Request => {
                let bordered = session.remote.enhanced_refresh;
                if let Some(begin) = self.ribs.resend(ix, family, bordered) {
                    let mut bytes = Vec::new();
                    refresh::encode(&mut bytes, family, Refresh::Begin);
                    self.send(begin, bytes);
                }
            }
            Refresh::Begin => self.ribs.begin_refresh(ix, family),
            Refresh::End => {
                self.ribs.end_refresh(ix, family);
            }
        }
    }

    /// Asks for everything once more.
    pub(super) fn ask_refresh(&mut self, ix: PeerIx) {
        let Some(session) = self.peers.get(ix).and_then(|p| p.session.as_ref()) else {
            return;
        };
        if !session.remote.route_refresh {
            return;
        }
        let conn = session.conn;
        let mut bytes = Vec::new();
        for family in &session.families {
            refresh::encode(&mut bytes, *family, Refresh::Request);
        }
        self.send(conn, bytes);
    }

    /// Sends everything once more, unasked.
    pub(super) fn send_all(&mut self, ix: PeerIx) {
        for family in Family::ALL {
            self.ribs.resend(ix, family, false);
        }
    }
}
