//! MRT records (RFC 6396): what is in the tables, and what happened, for the tools that operators have.
//!
//! Everything is octets for the shell to write; wall-clock time is an argument, as time since the Unix epoch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::attr::AttrId;
use crate::rib::Rib;
use crate::session::{Peer, PeerIx};
use crate::speaker::Speaker;
use crate::types::{Asn, Family};
use crate::view::SessionState;
use crate::wire::attributes::{self, OPTIONAL, TRANSITIVE};
use crate::wire::nlri::Address;

const TABLE_DUMP_V2: u16 = 13;
const BGP4MP: u16 = 16;
const PEER_INDEX_TABLE: u16 = 1;
const STATE_CHANGE_AS4: u16 = 5;

/// Subtypes of messages: with numbers of two octets or four, without path identifiers and with them (RFC 8050).
const MESSAGES: [[u16; 2]; 2] = [[1, 8], [4, 9]];

/// The ends of a session, as BGP4MP records name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The peer's system.
    pub peer_asn: Asn,
    /// Ours.
    pub local_asn: Asn,
    /// The peer's address.
    pub peer: IpAddr,
    /// Ours, of the same family.
    pub local: IpAddr,
    /// Whether its messages have AS numbers of four octets.
    pub four_octet: bool,
    /// Whether its routes have path identifiers.
    pub add_path: bool,
}

/// A change of a session's state (BGP4MP_STATE_CHANGE_AS4).
pub fn state_change(
    out: &mut Vec<u8>,
    wall: Duration,
    ends: &Ends,
    before: SessionState,
    now: SessionState,
) {
    record(out, wall, BGP4MP, STATE_CHANGE_AS4, |out| {
        put_ends(out, ends, true);
        for state in [before, now] {
            out.extend_from_slice(&state_code(state).to_be_bytes());
        }
    });
}

/// A message as it was received (BGP4MP_MESSAGE_AS4, or as the session has it), header included.
pub fn message(out: &mut Vec<u8>, wall: Duration, ends: &Ends, message: &[u8]) {
    let subtype = MESSAGES[usize::from(ends.four_octet)][usize::from(ends.add_path)];
    record(out, wall, BGP4MP, subtype, |out| {
        put_ends(out, ends, ends.four_octet);
        out.extend_from_slice(message);
    });
}

fn put_ends(out: &mut Vec<u8>, ends: &Ends, four_octet: bool) {
    for asn in [ends.peer_asn, ends.local_asn] {
        if four_octet {
            out.extend_from_slice(&asn.get().to_be_bytes());
        } else {
            out.extend_from_slice(&asn.two_octets().to_be_bytes());
        }
    }
    out.extend_from_slice(&[0, 0]);
    let afi = Family::of(ends.peer).afi();
    out.extend_from_slice(&afi.to_be_bytes());
    put_address(out, ends.peer);
    put_address(out, ends.local);
}

/// RFC 6396, section 4.4.1.
fn state_code(state: SessionState) -> u16 {
    match state {
        SessionState::Idle => 1,
        SessionState::Connect => 2,
        SessionState::Active => 3,
        SessionState::OpenSent => 4,
        SessionState::OpenConfirm => 5,
        SessionState::Established => 6,
    }
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
}

fn record(
    out: &mut Vec<u8>,
    wall: Duration,
    kind: u16,
    subtype: u16,
    body: impl FnOnce(&mut Vec<u8>),
) {
    // The field is 32 bits wide: it wraps in 2106.
    let seconds = (wall.as_secs() & u64::from(u32::MAX)) as u32;
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&subtype.to_be_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

impl Speaker {
    /// The ends of a peer's session, if it has one.
    #[must_use]
    pub fn ends(&self, peer: IpAddr) -> Option<Ends> {
        let (peer, session) = self.session_of(peer)?;
        Some(Ends {
            peer_asn: peer.config.asn,
            local_asn: self.config.asn,
            peer: peer.address,
            local: session.local,
            four_octet: session.four_octet,
            add_path: !session.add_path_in.is_empty(),
        })
    }

    /// All accepted paths as a table dump (TABLE_DUMP_V2; path identifiers as in RFC 8050): the peer index first, then a
    /// record per prefix, each given to `sink` on its own. A path's time is that of its session: paths have none of
    /// their own. Our own routes are those of peer 0.
    pub fn dump(&self, wall: Duration, mut sink: impl FnMut(&[u8])) {
        let mut peers: Vec<(PeerIx, Option<&Peer>)> = vec![(PeerIx::LOCAL, None)];
        peers.extend(self.peers.iter().map(|(ix, peer)| (ix, Some(peer))));
        let mut out = Vec::new();
        record(&mut out, wall, TABLE_DUMP_V2, PEER_INDEX_TABLE, |out| {
            out.extend_from_slice(&self.config.router_id.get().to_be_bytes());
            // No view name.
            out.extend_from_slice(&[0, 0]);
            put_count(out, peers.len());
            for (_, peer) in &peers {
                self.put_peer(out, *peer);
            }
        });
        sink(&out);
        let index: BTreeMap<PeerIx, u16> = (0..).zip(&peers).map(|(n, (ix, _))| (*ix, n)).collect();
        let mut sequence = 0;
        let dump = Dump {
            speaker: self,
            wall,
            index: &index,
        };
        dump.table(&self.ribs.v4, [2, 8], &mut sequence, &mut sink);
        sequence = 0;
        dump.table(&self.ribs.v6, [4, 10], &mut sequence, &mut sink);
    }

    fn put_peer(&self, out: &mut Vec<u8>, peer: Option<&Peer>) {
        let own = self.config.router_id;
        let (id, address, asn) = match peer {
            Some(peer) => {
                let id = peer.session.as_ref().map_or(0, |s| s.router_id.get());
                (id, peer.address, peer.config.asn)
            }
            None => (own.get(), IpAddr::V4(own.into()), self.config.asn),
        };
        // Four-octet number; address family in the lowest bit.
        out.push(2 | u8::from(address.is_ipv6()));
        out.extend_from_slice(&id.to_be_bytes());
        put_address(out, address);
        out.extend_from_slice(&asn.get().to_be_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

struct Dump<'a> {
    speaker: &'a Speaker,
    wall: Duration,
    index: &'a BTreeMap<PeerIx, u16>,
}

impl Dump<'_> {
    /// One record per prefix, and a second one where paths have identifiers.
    fn table<A: Address>(
        &self,
        rib: &Rib<A>,
        [plain, identified]: [u16; 2],
        sequence: &mut u32,
        sink: &mut impl FnMut(&[u8]),
    ) {
        let mut slots: Vec<u32> = rib.slots().collect();
        slots.sort_unstable_by_key(|slot| rib.routes[*slot as usize].net());
        let mut out = Vec::new();
        for slot in slots {
            for (subtype, with_id) in [(plain, false), (identified, true)] {
                let paths: Vec<u32> = rib
                    .paths_of(slot)
                    .filter(|at| {
                        let path = &rib.paths[*at as usize];
                        path.rejected.is_none() && (rib.path_id(*at) != 0) == with_id
                    })
                    .collect();
                if paths.is_empty() {
                    continue;
                }
                out.clear();
                record(&mut out, self.wall, TABLE_DUMP_V2, subtype, |out| {
                    out.extend_from_slice(&sequence.to_be_bytes());
                    rib.routes[slot as usize].net().put(None, out);
                    put_count(out, paths.len());
                    for at in paths {
                        self.put_path(out, rib, at, with_id);
                    }
                });
                *sequence = sequence.wrapping_add(1);
                sink(&out);
            }
        }
    }

    fn put_path<A: Address>(&self, out: &mut Vec<u8>, rib: &Rib<A>, at: u32, with_id: bool) {
        let path = &rib.paths[at as usize];
        let peer = self.speaker.peers.get(path.source);
        let since = peer.map_or(Duration::ZERO, |p| self.speaker.now.since(p.since));
        let seconds = self.wall.saturating_sub(since).as_secs();
        let index = self.index.get(&path.source).copied().unwrap_or(0);
        out.extend_from_slice(&index.to_be_bytes());
        out.extend_from_slice(&((seconds & u64::from(u32::MAX)) as u32).to_be_bytes());
        if with_id {
            out.extend_from_slice(&rib.path_id(at).to_be_bytes());
        }
        let mut section = Vec::new();
        self.put_attributes(&mut section, path.attrs);
        put_count(out, section.len());
        out.extend_from_slice(&section);
    }

    /// IPv6 next hops stand alone in an MP_REACH_NLRI cut down to them (section 4.3.4).
    fn put_attributes(&self, out: &mut Vec<u8>, attrs: AttrId) {
        let store = &self.speaker.ribs.attrs;
        let next_hop = store.next_hop_of(attrs);
        out.extend_from_slice(store.octets(attrs));
        match next_hop {
            IpAddr::V4(hop) => {
                attributes::put(out, TRANSITIVE, attributes::NEXT_HOP, &hop.octets());
            }
            IpAddr::V6(hop) => {
                let mut value = vec![16];
                value.extend_from_slice(&hop.octets());
                attributes::put(out, OPTIONAL, attributes::MP_REACH, &value);
            }
        }
    }
}
