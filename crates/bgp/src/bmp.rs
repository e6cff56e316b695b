//! BMP messages (RFC 7854): peers and their routes for a monitoring station.
//!
//! A station that connects is told [`initiation`], then for every peer with a session [`Speaker::monitor_up`] and
//! [`Speaker::monitor_routes`]; from then on [`route_monitoring`] for every UPDATE that
//! [`crate::Output::Monitored`] mirrors, [`Speaker::monitor_up`] and [`peer_down`] as sessions come and go, and
//! [`statistics`] now and then. Wall-clock time is an argument, as time since the Unix epoch.

use std::net::IpAddr;
use std::time::Duration;

use crate::rib::{Rib, Ribs};
use crate::session::PeerIx;
use crate::speaker::Speaker;
use crate::types::{Asn, Family};
use crate::view::PeerView;
use crate::wire::encode::{self, Item};
use crate::wire::nlri::Address;

const ROUTE_MONITORING: u8 = 0;
const STATISTICS: u8 = 1;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
const TERMINATION: u8 = 5;

/// Whom a message is about (RFC 7854, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The peer's address.
    pub peer: IpAddr,
    /// Its system.
    pub asn: Asn,
    /// Its identifier; 0 while there is no session.
    pub router_id: u32,
}

impl Subject {
    /// From the view of a peer.
    #[must_use]
    pub fn of(view: &PeerView) -> Self {
        Self {
            peer: view.address,
            asn: view.asn,
            router_id: view.router_id.map_or(0, crate::RouterId::get),
        }
    }
}

/// The first message to a station.
pub fn initiation(out: &mut Vec<u8>, name: &str, description: &str) {
    message(out, INITIATION, |out| {
        put_words(out, 1, description);
        put_words(out, 2, name);
    });
}

/// The last message to a station: it is closed by an operator.
pub fn termination(out: &mut Vec<u8>) {
    message(out, TERMINATION, |out| {
        out.extend_from_slice(&[0, 1, 0, 2, 0, 0]);
    });
}

/// An UPDATE of a peer as it came, header included: its routes before policy.
pub fn route_monitoring(out: &mut Vec<u8>, wall: Duration, subject: &Subject, update: &[u8]) {
    message(out, ROUTE_MONITORING, |out| {
        put_subject(out, wall, subject);
        out.extend_from_slice(update);
    });
}

/// A session that ended without a NOTIFICATION; reasons 2 (ours) and 4 (theirs) of section 4.9.
pub fn peer_down(out: &mut Vec<u8>, wall: Duration, subject: &Subject, by_us: bool) {
    message(out, PEER_DOWN, |out| {
        put_subject(out, wall, subject);
        if by_us {
            // No FSM event is named.
            out.extend_from_slice(&[2, 0, 0]);
        } else {
            out.push(4);
        }
    });
}

/// Counters of a peer (section 4.8).
pub fn statistics(out: &mut Vec<u8>, wall: Duration, view: &PeerView) {
    let refused: u64 = view
        .families
        .values()
        .flat_map(|f| f.reasons.values())
        .sum();
    let routes: u64 = view
        .families
        .values()
        .map(|f| u64::from(f.accepted) + u64::from(f.rejected))
        .sum();
    message(out, STATISTICS, |out| {
        put_subject(out, wall, &Subject::of(view));
        out.extend_from_slice(&3u32.to_be_bytes());
        for (kind, counter) in [(0u16, refused), (11, view.counters.treated_as_withdraw)] {
            let counter = u32::try_from(counter).unwrap_or(u32::MAX);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 4]);
            out.extend_from_slice(&counter.to_be_bytes());
        }
        out.extend_from_slice(&[0, 7, 0, 8]);
        out.extend_from_slice(&routes.to_be_bytes());
    });
}

fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[3, 0, 0, 0, 0, kind]);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

fn put_words(out: &mut Vec<u8>, kind: u16, words: &str) {
    let words = &words.as_bytes()[..words.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u16::try_from(words.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(words);
}

fn put_subject(out: &mut Vec<u8>, wall: Duration, subject: &Subject) {
    // A global instance; before policy; four-octet AS_PATHs.
    out.extend_from_slice(&[0, u8::from(subject.peer.is_ipv6()) << 7]);
    out.extend_from_slice(&[0; 8]);
    put_address(out, subject.peer);
    out.extend_from_slice(&subject.asn.get().to_be_bytes());
    out.extend_from_slice(&subject.router_id.to_be_bytes());
    // The field is 32 bits wide.
    let seconds = (wall.as_secs() & u64::from(u32::MAX)) as u32;
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&wall.subsec_micros().to_be_bytes());
}

/// Sixteen octets; IPv4 in the last four.
fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
}

impl Speaker {
    /// That a peer has a session, with both OPENs. False: it has none, nothing was written.
    ///
    /// The core knows no ports: `ports` are ours and the peer's.
    pub fn monitor_up(
        &self,
        out: &mut Vec<u8>,
        wall: Duration,
        peer: IpAddr,
        ports: (u16, u16),
    ) -> bool {
        let Some(peer) = self.peers.find(peer).and_then(|ix| self.peers.get(ix)) else {
            return false;
        };
        let Some(session) = &peer.session else {
            return false;
        };
        let subject = Subject {
            peer: peer.address,
            asn: peer.config.asn,
            router_id: session.router_id.get(),
        };
        message(out, PEER_UP, |out| {
            put_subject(out, wall, &subject);
            put_address(out, session.local);
            out.extend_from_slice(&ports.0.to_be_bytes());
            out.extend_from_slice(&ports.1.to_be_bytes());
            out.extend_from_slice(&session.opens.0);
            out.extend_from_slice(&session.opens.1);
        });
        true
    }

    /// Every path of a peer before policy, each as a message for `sink`, then the end of each family.
    pub fn monitor_routes(&self, wall: Duration, peer: IpAddr, mut sink: impl FnMut(&[u8])) {
        let Some((ix, peer)) = self
            .peers
            .find(peer)
            .and_then(|ix| Some((ix, self.peers.get(ix)?)))
        else {
            return;
        };
        let Some(session) = &peer.session else {
            return;
        };
        let subject = Subject {
            peer: peer.address,
            asn: peer.config.asn,
            router_id: session.router_id.get(),
        };
        for family in &session.families {
            let mut put = |update: &[u8]| {
                let mut out = Vec::new();
                route_monitoring(&mut out, wall, &subject, update);
                sink(&out);
            };
            let identified = session.add_path_in.contains(family);
            match family {
                Family::Ipv4Unicast => routes(&self.ribs, &self.ribs.v4, ix, identified, &mut put),
                Family::Ipv6Unicast => routes(&self.ribs, &self.ribs.v6, ix, identified, &mut put),
            }
            let mut end = Vec::new();
            encode::end_of_rib(&mut end, *family);
            put(&end);
        }
    }
}

fn routes<A: Address>(
    ribs: &Ribs,
    rib: &Rib<A>,
    ix: PeerIx,
    identified: bool,
    put: &mut impl FnMut(&[u8]),
) {
    let mut update = Vec::new();
    for at in rib.paths_of_peer(ix) {
        let path = &rib.paths[at as usize];
        let net = rib.routes[path.route as usize].net();
        let item: Item<A> = (net, identified.then_some(path.path_id));
        let section = ribs.attrs.octets(path.received);
        let next_hop = ribs.attrs.next_hop_of(path.received);
        update.clear();
        if encode::announce(
            &mut update,
            section,
            next_hop,
            &[item],
            crate::wire::MAX_EXTENDED,
        ) {
            put(&update);
        }
    }
}
