//! Path attributes: decoded for policy and people, interned as canonical octets for the RIB.

mod store;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

pub(crate) use store::{AttrId, AttrStore, Facts, NextHopId};

use crate::types::{
    Asn, Community, ExtendedCommunity, LargeCommunity, RouterId, StandardCommunity,
};
use crate::wire::attributes::{self as wire, OPTIONAL, Segments, TRANSITIVE};

/// Where a route was first told (RFC 4271, section 5.1.1); earlier is better.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Interior.
    #[default]
    Igp,
    /// Exterior.
    Egp,
    /// Neither is known.
    Incomplete,
}

/// Part of an AS path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segment {
    /// Systems in the order of traversal, the nearest first.
    Sequence(Vec<u32>),
    /// Systems in no order: an aggregate.
    Set(Vec<u32>),
}

/// An attribute that is passed on without being understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnknownAttribute {
    /// Flags as on the wire, without the extended-length bit.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// Value.
    pub value: Vec<u8>,
}

/// Everything that is said about a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathAttributes {
    /// Where to send packets.
    pub next_hop: IpAddr,
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: Vec<Segment>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_preference: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<(u32, Ipv4Addr)>,
    /// COMMUNITIES.
    pub communities: Vec<StandardCommunity>,
    /// EXTENDED COMMUNITIES.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<LargeCommunity>,
    /// ORIGINATOR_ID.
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST, the nearest cluster first.
    pub cluster_list: Vec<Ipv4Addr>,
    /// What is not understood.
    pub unknown: Vec<UnknownAttribute>,
}

impl PathAttributes {
    /// A path of our own with nothing but a next hop.
    #[must_use]
    pub fn local(next_hop: IpAddr) -> Self {
        Self {
            next_hop,
            origin: Origin::Igp,
            as_path: Vec::new(),
            med: None,
            local_preference: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Whether the path carries a community.
    #[must_use]
    pub fn has(&self, community: Community) -> bool {
        match community {
            Community::Standard(standard) => self.communities.contains(&standard),
            Community::Large(large) => self.large_communities.contains(&large),
        }
    }

    /// Adds a community that is not there yet.
    pub(crate) fn add(&mut self, community: Community) {
        if self.has(community) {
            return;
        }
        match community {
            Community::Standard(standard) => self.communities.push(standard),
            Community::Large(large) => self.large_communities.push(large),
        }
    }

    /// Puts a system in front of the path.
    pub(crate) fn prepend(&mut self, asn: Asn) {
        match self.as_path.first_mut() {
            Some(Segment::Sequence(numbers)) if numbers.len() < 255 => numbers.insert(0, asn.get()),
            _ => self.as_path.insert(0, Segment::Sequence(vec![asn.get()])),
        }
    }

    /// From canonical octets.
    pub(crate) fn decode(canonical: &[u8], next_hop: IpAddr) -> Self {
        let mut path = Self::local(next_hop);
        for (flags, code, value) in wire::walk(canonical) {
            path.decode_one(flags, code, value);
        }
        path
    }

    fn decode_one(&mut self, flags: u8, code: u8, value: &[u8]) {
        let words = || {
            value
                .as_chunks::<4>()
                .0
                .iter()
                .map(|w| u32::from_be_bytes(*w))
        };
        match code {
            wire::ORIGIN => {
                self.origin = match value {
                    [0] => Origin::Igp,
                    [1] => Origin::Egp,
                    _ => Origin::Incomplete,
                }
            }
            wire::AS_PATH => self.as_path = Segments(value).map(segment).collect(),
            wire::MED => self.med = words().next(),
            wire::LOCAL_PREF => self.local_preference = words().next(),
            wire::ATOMIC_AGGREGATE => self.atomic_aggregate = true,
            wire::AGGREGATOR => {
                let numbers: Vec<u32> = words().collect();
                if let [asn, address] = numbers[..] {
                    self.aggregator = Some((asn, Ipv4Addr::from(address)));
                }
            }
            wire::COMMUNITIES => self.communities = words().map(StandardCommunity).collect(),
            wire::EXTENDED_COMMUNITIES => {
                let chunks = value.as_chunks::<8>().0;
                self.extended_communities = chunks.iter().map(|c| ExtendedCommunity(*c)).collect();
            }
            wire::LARGE_COMMUNITIES => {
                let numbers: Vec<u32> = words().collect();
                let chunks = numbers.as_chunks::<3>().0;
                self.large_communities = chunks.iter().map(|c| LargeCommunity(*c)).collect();
            }
            wire::ORIGINATOR_ID => {
                self.originator_id = words().next().and_then(|id| RouterId::try_from(id).ok());
            }
            wire::CLUSTER_LIST => self.cluster_list = words().map(Ipv4Addr::from).collect(),
            _ => self.unknown.push(UnknownAttribute {
                flags: flags & !wire::EXTENDED,
                code,
                value: value.to_vec(),
            }),
        }
    }

    /// As canonical octets.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let origin = match self.origin {
            Origin::Igp => 0,
            Origin::Egp => 1,
            Origin::Incomplete => 2,
        };
        wire::put(out, TRANSITIVE, wire::ORIGIN, &[origin]);
        wire::put(out, TRANSITIVE, wire::AS_PATH, &self.encode_path());
        if let Some(med) = self.med {
            wire::put(out, OPTIONAL, wire::MED, &med.to_be_bytes());
        }
        if let Some(preference) = self.local_preference {
            wire::put(out, TRANSITIVE, wire::LOCAL_PREF, &preference.to_be_bytes());
        }
        if self.atomic_aggregate {
            wire::put(out, TRANSITIVE, wire::ATOMIC_AGGREGATE, &[]);
        }
        if let Some((asn, address)) = self.aggregator {
            let value = [asn.to_be_bytes(), address.octets()];
            let flags = OPTIONAL | TRANSITIVE;
            wire::put(out, flags, wire::AGGREGATOR, value.as_flattened());
        }
        self.encode_lists(out);
    }

    fn encode_path(&self) -> Vec<u8> {
        let mut value = Vec::new();
        for segment in &self.as_path {
            let (kind, numbers) = match segment {
                Segment::Sequence(numbers) => (wire::SEQUENCE, numbers),
                Segment::Set(numbers) => (wire::SET, numbers),
            };
            for part in numbers.chunks(255) {
                value.extend_from_slice(&[kind, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
                value.extend(part.iter().flat_map(|number| number.to_be_bytes()));
            }
        }
        value
    }

    fn encode_lists(&self, out: &mut Vec<u8>) {
        let both = OPTIONAL | TRANSITIVE;
        let words = |words: &mut dyn Iterator<Item = u32>| -> Vec<u8> {
            words.flat_map(u32::to_be_bytes).collect()
        };
        let standard = words(&mut self.communities.iter().map(|c| c.0));
        let clusters = words(&mut self.cluster_list.iter().map(|c| u32::from(*c)));
        let large = words(&mut self.large_communities.iter().flat_map(|c| c.0));
        let extended: Vec<u8> = self.extended_communities.iter().flat_map(|c| c.0).collect();
        let originator = self.originator_id.map(|id| id.get().to_be_bytes().to_vec());
        let mut lists = vec![
            (both, wire::COMMUNITIES, standard),
            (
                OPTIONAL,
                wire::ORIGINATOR_ID,
                originator.unwrap_or_default(),
            ),
            (OPTIONAL, wire::CLUSTER_LIST, clusters),
            (both, wire::EXTENDED_COMMUNITIES, extended),
            (both, wire::LARGE_COMMUNITIES, large),
        ];
        lists.retain(|(_, _, value)| !value.is_empty());
        lists.extend(
            self.unknown
                .iter()
                .map(|u| (u.flags, u.code, u.value.clone())),
        );
        lists.sort_by_key(|(_, code, _)| *code);
        for (flags, code, value) in &lists {
            wire::put(out, *flags, *code, value);
        }
    }
}

fn segment((kind, numbers): (u8, &[[u8; 4]])) -> Segment {
    let numbers = numbers.iter().map(|n| u32::from_be_bytes(*n)).collect();
    if kind == wire::SET {
        Segment::Set(numbers)
    } else {
        Segment::Sequence(numbers)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Igp => "igp",
            Self::Egp => "egp",
            Self::Incomplete => "incomplete",
        })
    }
}
