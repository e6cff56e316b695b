//! BMP messages (RFC 7854): peers and their routes for a monitoring station.
//!
//! A station that connects is told [`initiation`], then for every peer with a session [`Speaker::monitor_up`], then
//! what there is, piece by piece ([`Speaker::monitor_routes`]); meanwhile and from then on [`route_monitoring`] for every UPDATE
//! that [`crate::Output::Monitored`] mirrors, [`Speaker::monitor_up`] and [`peer_down`] as sessions come and go, and
//! [`statistics`] now and then. Wall-clock time is an argument, as time since the Unix epoch.

use std::net::IpAddr;
use std::time::Duration;

use crate::io::DownReason;
use crate::rib::Rib;
use crate::session::{Peer, Session};
use crate::speaker::Speaker;
use crate::types::{Asn, Family};
use crate::view::PeerView;
use crate::wire::Notification;
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
    /// Its identifier.
    pub router_id: u32,
    /// Whether AS_PATHs of its UPDATEs have numbers of two octets.
    pub two_octet: bool,
}

impl Subject {
    fn of(peer: &Peer, session: &Session) -> Self {
        Self {
            peer: peer.address,
            asn: peer.config.asn,
            router_id: session.router_id.get(),
            two_octet: !session.four_octet,
        }
    }

    /// The same for UPDATEs of ours, which always have four octets.
    fn rewritten(self) -> Self {
        Self {
            two_octet: false,
            ..self
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

/// A session that ended (section 4.9).
pub fn peer_down(out: &mut Vec<u8>, wall: Duration, subject: &Subject, reason: &DownReason) {
    message(out, PEER_DOWN, |out| {
        put_subject(out, wall, subject);
        match reason {
            DownReason::Sent(notice) => {
                out.push(1);
                Notification::of(notice).encode(out);
            }
            DownReason::BfdDown => {
                out.push(1);
                Notification::cease(Notification::BFD_DOWN).encode(out);
            }
            DownReason::Collision => {
                out.push(1);
                Notification::cease(Notification::COLLISION).encode(out);
            }
            // Without a NOTIFICATION of ours; no event of the state machine is named.
            DownReason::SendHoldTimer => out.extend_from_slice(&[2, 0, 0]),
            DownReason::Received(notice) => {
                out.push(3);
                Notification::of(notice).encode(out);
            }
            DownReason::ConnectionLost(_) | DownReason::ConnectFailed(_) => out.push(4),
        }
    });
}

/// Counters of a peer (section 4.8).
pub fn statistics(out: &mut Vec<u8>, wall: Duration, subject: &Subject, view: &PeerView) {
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
        put_subject(out, wall, subject);
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
    // A global instance; before policy; what AS_PATHs are made of.
    let flags = u8::from(subject.peer.is_ipv6()) << 7 | u8::from(subject.two_octet) << 5;
    out.extend_from_slice(&[0, flags]);
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

/// How far a station has been told what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tour {
    family: usize,
    slot: usize,
}

impl Speaker {
    /// A peer that has a session, as stations know it.
    #[must_use]
    pub fn subject(&self, peer: IpAddr) -> Option<Subject> {
        let (peer, session) = self.session_of(peer)?;
        Some(Subject::of(peer, session))
    }

    pub(crate) fn session_of(&self, peer: IpAddr) -> Option<(&Peer, &Session)> {
        let peer = self.peers.get(self.peers.find(peer)?)?;
        Some((peer, peer.session.as_ref()?))
    }

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
        let Some((peer, session)) = self.session_of(peer) else {
            return false;
        };
        message(out, PEER_UP, |out| {
            put_subject(out, wall, &Subject::of(peer, session));
            put_address(out, session.local);
            out.extend_from_slice(&ports.0.to_be_bytes());
            out.extend_from_slice(&ports.1.to_be_bytes());
            out.extend_from_slice(&session.opens.0);
            out.extend_from_slice(&session.opens.1);
        });
        true
    }

    /// Paths of all peers with a session, before policy, from where the tour stands; each as a message, until there are
    /// `enough` octets. After the last path of a family come its ends of RIB. True: there is more.
    ///
    /// What changes meanwhile is mirrored; whatever the tour has not come to is told as it stands then, so that a station
    /// is right at the end.
    pub fn monitor_routes(
        &self,
        out: &mut Vec<u8>,
        wall: Duration,
        tour: &mut Tour,
        enough: usize,
    ) -> bool {
        while let Some(family) = Family::ALL.get(tour.family) {
            let more = match family {
                Family::Ipv4Unicast => self.visit(&self.ribs.v4, out, wall, tour, enough),
                Family::Ipv6Unicast => self.visit(&self.ribs.v6, out, wall, tour, enough),
            };
            if more {
                return true;
            }
            let sessions = self.peers.iter().filter_map(|(_, peer)| {
                let session = peer.session.as_ref()?;
                Some((peer, session)).filter(|_| session.families.contains(family))
            });
            for (peer, session) in sessions {
                let mut end = Vec::new();
                encode::end_of_rib(&mut end, *family);
                route_monitoring(out, wall, &Subject::of(peer, session), &end);
            }
            tour.family += 1;
            tour.slot = 0;
        }
        false
    }

    fn visit<A: Address>(
        &self,
        rib: &Rib<A>,
        out: &mut Vec<u8>,
        wall: Duration,
        tour: &mut Tour,
        enough: usize,
    ) -> bool {
        let mut update = Vec::new();
        while let Ok(slot) = u32::try_from(tour.slot)
            && let Some(route) = rib.routes.get(tour.slot)
        {
            if out.len() >= enough {
                return true;
            }
            for at in rib.paths_of(slot) {
                let path = &rib.paths[at as usize];
                let peer = self.peers.get(path.source);
                let Some((peer, session)) = peer.and_then(|p| Some((p, p.session.as_ref()?)))
                else {
                    continue;
                };
                let id = session.add_path_in.contains(&A::FAMILY);
                let item: Item<A> = (route.net(), id.then_some(rib.path_id(at)));
                let section = self.ribs.attrs.octets(path.received);
                let next_hop = self.ribs.attrs.next_hop_of(path.received);
                update.clear();
                let longest = crate::wire::MAX_EXTENDED;
                if encode::announce(&mut update, section, next_hop, &[item], longest) {
                    let subject = Subject::of(peer, session).rewritten();
                    route_monitoring(out, wall, &subject, &update);
                }
            }
            tour.slot += 1;
        }
        false
    }
}
