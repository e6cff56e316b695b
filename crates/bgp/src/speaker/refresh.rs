//! Route refresh in both directions (RFC 2918, 7313).

use super::Speaker;
use crate::session::PeerIx;
use crate::types::Family;
use crate::wire::refresh::{self, Refresh};

impl Speaker {
    pub(super) fn refresh_received(&mut self, ix: PeerIx, body: &[u8]) {
        if let Some(peer) = self.peers.get_mut(ix) {
            peer.counters.refreshes_in += 1;
        }
        let Some((family, what)) = refresh::decode(body) else {
            return;
        };
        let Some(session) = self.peers.get(ix).and_then(|p| p.session.as_ref()) else {
            return;
        };
        if !session.families.contains(&family) {
            return;
        }
        match what {
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
