//! What operators, BFD and our own routes ask for.

use std::net::IpAddr;

use super::Speaker;
use crate::attr::{AttrId, PathAttributes};
use crate::io::{AdminAction, LocalRoute, PathState};
use crate::session::{PeerIx, TimerId};
use crate::types::{ConnId, Prefix};
use crate::wire::Notification;

impl Speaker {
    pub(super) fn admin(&mut self, address: IpAddr, action: AdminAction) {
        let Some(ix) = self.peers.find(address) else {
            return;
        };
        match action {
            AdminAction::Reset(text) => {
                let notification = Notification::cease_saying(Notification::ADMIN_RESET, &text);
                self.end_all(ix, &notification);
                self.start_now(ix);
            }
            AdminAction::Shutdown(text) => {
                if let Some(peer) = self.peers.get_mut(ix) {
                    peer.shutdown = true;
                }
                self.shut_down(ix, &text);
            }
            AdminAction::Enable => {
                if let Some(peer) = self.peers.get_mut(ix) {
                    peer.shutdown = false;
                    peer.overflowed = false;
                }
                self.timers.cancel(TimerId::MaxPrefixes(ix));
                self.start_now(ix);
            }
            AdminAction::RefreshIn => self.ask_refresh(ix),
            AdminAction::RefreshOut => self.send_all(ix),
        }
    }

    pub(super) fn shut_down(&mut self, ix: PeerIx, text: &str) {
        let notification = Notification::cease_saying(Notification::ADMIN_SHUTDOWN, text);
        self.cancel_connect(ix);
        self.end_all(ix, &notification);
        self.remove_all_stale(ix);
    }

    /// Ends every connection with a peer.
    pub(super) fn end_all(&mut self, ix: PeerIx, notification: &Notification) {
        let conns: Vec<ConnId> = self
            .peers
            .get(ix)
            .map(|p| p.conns.clone())
            .unwrap_or_default();
        for conn in conns {
            self.fail(conn, notification);
        }
    }

    /// Looks for a session without waiting for the next attempt's time.
    pub(super) fn start_now(&mut self, ix: PeerIx) {
        self.timers.cancel(TimerId::Connect(ix));
        self.cancel_connect(ix);
        self.start(ix);
    }

    pub(super) fn max_prefixes_over(&mut self, ix: PeerIx) {
        if let Some(peer) = self.peers.get_mut(ix) {
            peer.overflowed = false;
            self.start_now(ix);
        }
    }

    /// BFD that goes down ends the session, and what graceful restart keeps as well: a dead owner's routes are the
    /// very thing that BFD is there to remove. Only a peer whose connection ended first, as that of a killed process
    /// does, and whose BFD ends with its process, may be restarting.
    pub(super) fn bfd(&mut self, address: IpAddr, path: PathState) {
        let Some(ix) = self.peers.find(address) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(ix).filter(|p| p.config.bfd) else {
            return;
        };
        let before = peer.bfd.replace(path == PathState::Up);
        if path == PathState::Up || before != Some(true) {
            return;
        }
        match peer.session.as_ref().map(|s| s.conn) {
            Some(conn) => self.fail(conn, &Notification::cease(Notification::BFD_DOWN)),
            None if path == PathState::Silent => return,
            None => {}
        }
        self.remove_all_stale(ix);
    }

    pub(super) fn originate(&mut self, routes: &[LocalRoute]) {
        for route in routes {
            let mut path = PathAttributes::local(route.next_hop);
            path.med = route.med;
            path.local_preference = Some(route.local_preference.unwrap_or(100));
            for community in &route.communities {
                path.add(*community);
            }
            let attrs: AttrId = self.ribs.attrs.intern_decoded(&path);
            self.ribs.learn_local(route.prefix, attrs);
            self.ribs.attrs.release(attrs);
        }
    }

    pub(super) fn withdraw(&mut self, prefixes: &[Prefix]) {
        for prefix in prefixes {
            self.ribs.forget_local(*prefix);
        }
    }
}
