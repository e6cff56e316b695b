//! Interned attributes: a path in the RIB is four octets of id, however much is said about it.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::PathAttributes;
use crate::types::StandardCommunity;
use crate::wire::attributes::{self as wire, Segments};

/// A set of attributes with its next hop. Valid while somebody holds a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttrId(u32);

impl AttrId {
    /// No attributes.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// A next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NextHopId(pub(crate) u32);

/// What path selection and reflection ask of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) local_preference: u32,
    pub(crate) med: u32,
    /// First system of the path, 0 if the path is empty.
    pub(crate) neighbour: u32,
    /// 0 if absent.
    pub(crate) originator: u32,
    pub(crate) as_path_length: u16,
    pub(crate) cluster_list_length: u16,
    pub(crate) origin: u8,
    pub(crate) llgr_stale: bool,
    /// NO_EXPORT or NO_EXPORT_SUBCONFED.
    pub(crate) no_export: bool,
    pub(crate) no_advertise: bool,
}

/// LOCAL_PREF where none is given.
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

impl Facts {
    fn scan(canonical: &[u8]) -> Self {
        let mut facts = Self {
            local_preference: DEFAULT_LOCAL_PREF,
            med: 0,
            neighbour: 0,
            originator: 0,
            as_path_length: 0,
            cluster_list_length: 0,
            origin: 0,
            llgr_stale: false,
            no_export: false,
            no_advertise: false,
        };
        for (_, code, value) in wire::walk(canonical) {
            facts.note(code, value);
        }
        facts
    }

    fn note(&mut self, code: u8, value: &[u8]) {
        let word = || value.first_chunk().map_or(0, |w| u32::from_be_bytes(*w));
        let length = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        match code {
            wire::ORIGIN => self.origin = value.first().copied().unwrap_or(2),
            wire::AS_PATH => {
                self.as_path_length = length(wire::as_path_length(value));
                // A set in front names no single neighbour.
                if let Some((wire::SEQUENCE, [first, ..])) = Segments(value).next() {
                    self.neighbour = u32::from_be_bytes(*first);
                }
            }
            wire::MED => self.med = word(),
            wire::LOCAL_PREF => self.local_preference = word(),
            wire::COMMUNITIES => {
                for community in value.as_chunks::<4>().0 {
                    self.note_community(StandardCommunity(u32::from_be_bytes(*community)));
                }
            }
            wire::ORIGINATOR_ID => self.originator = word(),
            wire::CLUSTER_LIST => self.cluster_list_length = length(value.len() / 4),
            _ => {}
        }
    }

    fn note_community(&mut self, community: StandardCommunity) {
        match community {
            StandardCommunity::LLGR_STALE => self.llgr_stale = true,
            StandardCommunity::NO_EXPORT | StandardCommunity::NO_EXPORT_SUBCONFED => {
                self.no_export = true;
            }
            StandardCommunity::NO_ADVERTISE => self.no_advertise = true,
            _ => {}
        }
    }
}

#[derive(Debug)]
struct Entry {
    octets: Box<[u8]>,
    facts: Facts,
    next_hop: NextHopId,
    references: u32,
}

/// A next hop as the shell knows it.
#[derive(Debug)]
struct NextHop {
    address: IpAddr,
    /// `None`: unreachable.
    metric: Option<u32>,
    users: u32,
}

/// All attributes and next hops in use.
#[derive(Debug)]
pub(crate) struct AttrStore {
    entries: Vec<Entry>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
    next_hops: Vec<NextHop>,
    free_next_hops: Vec<u32>,
    by_address: BTreeMap<IpAddr, NextHopId>,
    /// Metric of a next hop that the shell has said nothing about.
    unheard: Option<u32>,
    /// Next hops that came into use or fell out of it since the last look.
    changed: Vec<(IpAddr, bool)>,
}

impl AttrStore {
    /// `assume`: whether next hops are reachable until told otherwise. The seed keeps a peer from choosing attributes
    /// that collide.
    pub(crate) fn new(seed: u64, assume: bool) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            next_hops: Vec::new(),
            free_next_hops: Vec::new(),
            by_address: BTreeMap::new(),
            unheard: assume.then_some(0),
            changed: Vec::new(),
        }
    }

    /// The id of canonical octets with a next hop; the caller holds one reference more.
    pub(crate) fn intern(&mut self, octets: &[u8], next_hop: IpAddr) -> AttrId {
        let next_hop = self.next_hop(next_hop);
        let hash = hash(&self.hasher, octets, next_hop);
        let entries = &self.entries;
        let same = |id: &u32| {
            let entry = &entries[*id as usize];
            entry.next_hop == next_hop && *entry.octets == *octets
        };
        if let Some(&id) = self.index.find(hash, same) {
            self.entries[id as usize].references += 1;
            return AttrId(id);
        }
        self.next_hops[next_hop.0 as usize].users += 1;
        let entry = Entry {
            octets: octets.into(),
            facts: Facts::scan(octets),
            next_hop,
            references: 1,
        };
        let id = place(&mut self.entries, &mut self.free, entry);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, id, |other| {
            let entry = &entries[*other as usize];
            self::hash(hasher, &entry.octets, entry.next_hop)
        });
        AttrId(id)
    }

    /// The id of decoded attributes; the caller holds one reference more.
    pub(crate) fn intern_decoded(&mut self, path: &PathAttributes) -> AttrId {
        let mut octets = Vec::new();
        path.encode(&mut octets);
        self.intern(&octets, path.next_hop)
    }

    pub(crate) fn hold(&mut self, id: AttrId) {
        if id != AttrId::NONE {
            self.entries[id.0 as usize].references += 1;
        }
    }

    pub(crate) fn release(&mut self, id: AttrId) {
        if id == AttrId::NONE {
            return;
        }
        let entry = &mut self.entries[id.0 as usize];
        entry.references -= 1;
        if entry.references > 0 {
            return;
        }
        let hash = hash(&self.hasher, &entry.octets, entry.next_hop);
        entry.octets = Box::default();
        let next_hop = entry.next_hop;
        if let Ok(found) = self.index.find_entry(hash, |other| *other == id.0) {
            found.remove();
        }
        self.free.push(id.0);
        self.release_next_hop(next_hop);
    }

    pub(crate) fn facts(&self, id: AttrId) -> &Facts {
        &self.entries[id.0 as usize].facts
    }

    pub(crate) fn octets(&self, id: AttrId) -> &[u8] {
        &self.entries[id.0 as usize].octets
    }

    pub(crate) fn next_hop_id(&self, id: AttrId) -> NextHopId {
        self.entries[id.0 as usize].next_hop
    }

    pub(crate) fn next_hop_of(&self, id: AttrId) -> IpAddr {
        self.address(self.next_hop_id(id))
    }

    pub(crate) fn address(&self, id: NextHopId) -> IpAddr {
        self.next_hops[id.0 as usize].address
    }

    /// How far away the next hop of a path is; `None`: unreachable.
    pub(crate) fn metric(&self, id: AttrId) -> Option<u32> {
        self.next_hops[self.next_hop_id(id).0 as usize].metric
    }

    pub(crate) fn decode(&self, id: AttrId) -> PathAttributes {
        PathAttributes::decode(self.octets(id), self.next_hop_of(id))
    }

    /// Sets what the shell found out; the next hop if that is news.
    pub(crate) fn set_next_hop(
        &mut self,
        address: IpAddr,
        metric: Option<u32>,
    ) -> Option<NextHopId> {
        let id = *self.by_address.get(&address)?;
        let next_hop = &mut self.next_hops[id.0 as usize];
        let news = next_hop.metric != metric;
        next_hop.metric = metric;
        news.then_some(id)
    }

    /// Next hops that came into use (true) or fell out of it (false) since the last call, in order.
    pub(crate) fn take_changed(&mut self) -> Vec<(IpAddr, bool)> {
        std::mem::take(&mut self.changed)
    }

    fn next_hop(&mut self, address: IpAddr) -> NextHopId {
        if let Some(id) = self.by_address.get(&address) {
            return *id;
        }
        let next_hop = NextHop {
            address,
            metric: self.unheard,
            users: 0,
        };
        let id = NextHopId(place(
            &mut self.next_hops,
            &mut self.free_next_hops,
            next_hop,
        ));
        self.by_address.insert(address, id);
        self.changed.push((address, true));
        id
    }

    fn release_next_hop(&mut self, id: NextHopId) {
        let next_hop = &mut self.next_hops[id.0 as usize];
        next_hop.users -= 1;
        if next_hop.users == 0 {
            let address = next_hop.address;
            self.by_address.remove(&address);
            self.free_next_hops.push(id.0);
            self.changed.push((address, false));
        }
    }
}

fn hash(hasher: &FixedState, octets: &[u8], next_hop: NextHopId) -> u64 {
    hasher.hash_one((octets, next_hop.0))
}

/// Puts a value into a free place of a slab.
fn place<T>(slab: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(index) = free.pop() {
        slab[index as usize] = value;
        return index;
    }
    slab.push(value);
    u32::try_from(slab.len() - 1).unwrap_or(u32::MAX)
}
