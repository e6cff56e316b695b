//! Peers that come, go and change while others stay up.

use std::net::IpAddr;

use super::Speaker;
use crate::config::{Admission, DynamicPeerConfig, PeerConfig, SpeakerConfig};
use crate::io::{EventKind, Output};
use crate::session::{Peer, PeerIx, Phase, TimerId};
use crate::wire::Notification;

/// What a peer is to be.
struct Wanted {
    config: PeerConfig,
    range: Option<String>,
    admission: Option<Admission>,
}

impl Speaker {
    pub(super) fn configure(&mut self, config: SpeakerConfig) {
        let identity = |c: &SpeakerConfig| (c.asn, c.router_id, c.cluster());
        let other = identity(&self.config) != identity(&config);
        let selection = |c: &SpeakerConfig| (c.always_compare_med, c.max_next_hops, c.fib);
        let select = selection(&self.config) != selection(&config);
        self.config = config;
        self.recent.clear(&mut self.ribs.attrs);
        self.ribs.configure(&self.config);
        for ix in self.peers.numbers() {
            match self
                .peers
                .get(ix)
                .and_then(|peer| self.wanted(peer.address))
            {
                None => self.remove_peer(ix),
                Some(wanted) => self.change_peer(ix, wanted, other),
            }
        }
        if select {
            self.ribs.select_all();
        }
        for (address, config) in self.config.peers.clone() {
            if self.peers.find(address).is_none() {
                self.add_peer(Peer::new(address, config, self.now));
            }
        }
    }

    fn wanted(&self, address: IpAddr) -> Option<Wanted> {
        if let Some(config) = self.config.peers.get(&address) {
            return Some(Wanted {
                config: config.clone(),
                range: None,
                admission: None,
            });
        }
        let (range, admission) = self.range_of(address)?;
        Some(Wanted {
            config: range.template.clone(),
            range: Some(range.name.clone()),
            admission: admission.cloned(),
        })
    }

    /// The range that lets an address in, with what its claim says.
    fn range_of(&self, address: IpAddr) -> Option<(&DynamicPeerConfig, Option<&Admission>)> {
        let inside = |range: &&DynamicPeerConfig| {
            range.sources.iter().any(|prefix| prefix.contains(address))
        };
        let range = self.config.dynamic.iter().find(inside)?;
        match &range.admissions {
            None => Some((range, None)),
            Some(admissions) => Some((range, Some(admissions.get(&address)?))),
        }
    }

    /// Makes a peer of an address that connected.
    pub(super) fn discover(&mut self, address: IpAddr) -> Result<PeerIx, String> {
        let Some((range, admission)) = self.range_of(address) else {
            return Err("no peer of this address".to_owned());
        };
        let name = range.name.clone();
        let same = |(_, peer): &(PeerIx, &Peer)| peer.range.as_ref() == Some(&name);
        if self.peers.iter().filter(same).count() >= range.max_peers as usize {
            return Err(format!("{name} has {} peers already", range.max_peers));
        }
        let mut peer = Peer::new(address, range.template.clone(), self.now);
        peer.range = Some(name.clone());
        peer.admission = admission.cloned();
        let ix = self.add_peer(peer).ok_or("there are too many peers")?;
        let (range, present) = (name, true);
        self.event(ix, EventKind::Discovered { range, present });
        Ok(ix)
    }

    /// Forgets a dynamic peer that left nothing behind.
    pub(super) fn forget_dynamic(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get(ix) else {
            return;
        };
        let kept = !peer.restart.stale.is_empty() || peer.is_down() || !peer.conns.is_empty();
        let Some(range) = peer.range.clone().filter(|_| !kept) else {
            return;
        };
        let present = false;
        self.event(ix, EventKind::Discovered { range, present });
        self.purge(ix);
    }

    fn remove_peer(&mut self, ix: PeerIx) {
        self.cancel_connect(ix);
        if let Some(peer) = self.peers.get_mut(ix) {
            // It is not to be tried again while its connections end.
            peer.shutdown = true;
        }
        self.end_all(ix, &Notification::cease(Notification::PEER_DECONFIGURED));
        if let Some(address) = self.peers.get(ix).map(|p| p.address) {
            self.purge(ix);
            self.deferral_without(address);
        }
    }

    /// Removes every trace of a peer that has no connection.
    fn purge(&mut self, ix: PeerIx) {
        for timer in [
            TimerId::Connect(ix),
            TimerId::Restart(ix),
            TimerId::StalePaths(ix),
            TimerId::MaxPrefixes(ix),
        ] {
            self.timers.cancel(timer);
        }
        for family in crate::Family::ALL {
            self.timers.cancel(TimerId::LongLived(ix, family));
            self.ribs.remove_all(ix, family);
        }
        self.recent.clear(&mut self.ribs.attrs);
        if let Some(peer) = self.peers.remove(ix)
            && peer.config.bfd
        {
            self.outputs.push_back(Output::Bfd {
                peer: peer.address,
                local: None,
                wanted: false,
            });
        }
    }

    pub(super) fn cancel_connect(&mut self, ix: PeerIx) {
        self.timers.cancel(TimerId::Connect(ix));
        if let Some(peer) = self.peers.get_mut(ix)
            && peer.phase == Phase::Connect
        {
            peer.phase = Phase::Idle;
            let remote = peer.address;
            self.outputs.push_back(Output::CancelConnect { remote });
        }
    }

    fn change_peer(&mut self, ix: PeerIx, wanted: Wanted, identity: bool) {
        let Some(peer) = self.peers.get_mut(ix) else {
            return;
        };
        let before = std::mem::replace(&mut peer.config, wanted.config);
        let admission = std::mem::replace(&mut peer.admission, wanted.admission);
        peer.range = wanted.range;
        let now = peer.config.clone();
        let import = before.import != now.import
            || before.communities != now.communities
            || admission != peer.admission;
        let bfd = (before.bfd != now.bfd).then(|| Output::Bfd {
            peer: peer.address,
            local: peer.session.as_ref().map(|s| s.local),
            wanted: now.bfd,
        });
        if !now.bfd {
            peer.bfd = None;
        }
        // More may fit now.
        let released = before.max_prefixes != now.max_prefixes && peer.overflowed;
        if released {
            peer.overflowed = false;
            self.timers.cancel(TimerId::MaxPrefixes(ix));
        }
        self.outputs.extend(bfd);
        if let Some(text) = &now.shutdown {
            self.shut_down(ix, text);
        } else if identity || session_part(&before) != session_part(&now) {
            self.end_all(ix, &Notification::cease(Notification::OTHER_CHANGE));
            self.start_now(ix);
        } else {
            if before.shutdown.is_some() || released {
                self.start_now(ix);
            }
            if before.export != now.export || before.communities != now.communities {
                self.join_groups(ix, true);
            }
            if import {
                self.reimport(ix);
            }
        }
    }
}

/// The part of a configuration that a session cannot change while it is up.
fn session_part(config: &PeerConfig) -> PeerConfig {
    PeerConfig {
        import: crate::Policy::default(),
        export: crate::Policy::default(),
        communities: crate::CommunityPolicy::default(),
        max_prefixes: None,
        max_prefixes_restart: None,
        shutdown: None,
        bfd: false,
        ..config.clone()
    }
}
