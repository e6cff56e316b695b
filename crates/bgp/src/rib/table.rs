//! The slabs: prefixes and their paths.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::decision;
use super::fib::Fib;
use super::group::Group;
use super::path::{Link, Path, PathFlags, Route};
use super::{Judged, World};
use crate::attr::AttrId;
use crate::config::SpeakerConfig;
use crate::session::PeerIx;
use crate::types::Prefix;
use crate::view::RejectReason;
use crate::wire::nlri::{Address, Net};

/// No path, no slot.
pub(crate) const NONE: u32 = u32::MAX;

/// What a table has of one peer.
#[derive(Debug, Clone)]
pub(crate) struct PeerPaths {
    head: u32,
    pub(crate) paths: u32,
    pub(crate) rejected: u32,
    pub(crate) stale: u32,
    /// Whether refused routes were not kept.
    pub(crate) forgotten: bool,
    /// Routes refused so far, by reason.
    pub(crate) reasons: std::collections::BTreeMap<RejectReason, u64>,
}

impl PeerPaths {
    const EMPTY: Self = Self {
        head: NONE,
        paths: 0,
        rejected: 0,
        stale: 0,
        forgotten: false,
        reasons: std::collections::BTreeMap::new(),
    };
}

/// A peer that the table has never heard of.
static NOBODY: PeerPaths = PeerPaths::EMPTY;

/// The table of one family.
#[derive(Debug)]
pub(crate) struct Rib<A> {
    index: HashTable<u32>,
    hasher: FixedState,
    pub(crate) routes: Vec<Route<A>>,
    free_routes: Vec<u32>,
    /// Slots without paths that somebody may still have to be told about.
    ghosts: Vec<u32>,
    pub(crate) paths: Vec<Path>,
    free_paths: Vec<u32>,
    /// What the peer calls each path (RFC 7911); paths beyond the end have no name, which is 0.
    names: Vec<u32>,
    peers: Vec<PeerPaths>,
    pub(super) groups: Vec<Group>,
    pub(super) fib: Fib,
}

impl<A: Address> Rib<A> {
    pub(super) fn new(seed: u64, config: &SpeakerConfig) -> Self {
        Self {
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            routes: Vec::new(),
            free_routes: Vec::new(),
            ghosts: Vec::new(),
            paths: Vec::new(),
            free_paths: Vec::new(),
            names: Vec::new(),
            peers: vec![PeerPaths::EMPTY],
            groups: Vec::new(),
            fib: Fib::new(config),
        }
    }

    pub(crate) fn peer(&self, ix: PeerIx) -> &PeerPaths {
        self.peers.get(ix.at()).unwrap_or(&NOBODY)
    }

    pub(super) fn peer_mut(&mut self, ix: PeerIx) -> &mut PeerPaths {
        if self.peers.len() <= ix.at() {
            self.peers.resize(ix.at() + 1, PeerPaths::EMPTY);
        }
        &mut self.peers[ix.at()]
    }

    pub(crate) fn find(&self, net: Net<A>) -> Option<u32> {
        let hash = hash(&self.hasher, net);
        let same = |slot: &u32| self.routes[*slot as usize].net() == net;
        self.index.find(hash, same).copied()
    }

    /// Every prefix that has paths, in no useful order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let used = |(slot, route): (usize, &Route<A>)| {
            (route.head != NONE).then(|| u32::try_from(slot).unwrap_or(NONE))
        };
        self.routes.iter().enumerate().filter_map(used)
    }

    /// The paths of a prefix.
    pub(crate) fn paths_of(&self, slot: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.routes[slot as usize].head;
        std::iter::from_fn(move || {
            let path = self.paths.get(at as usize)?;
            let next = path.next.path().unwrap_or(NONE);
            Some(std::mem::replace(&mut at, next))
        })
    }

    /// The slot that a path belongs to.
    pub(crate) fn route_of(&self, at: u32) -> u32 {
        let mut link = self.paths[at as usize].next;
        while let Some(next) = link.path() {
            link = self.paths[next as usize].next;
        }
        link.slot()
    }

    /// As the peer named it (RFC 7911), or 0.
    pub(crate) fn path_id(&self, at: u32) -> u32 {
        self.names.get(at as usize).copied().unwrap_or(0)
    }

    fn name(&mut self, at: u32, path_id: u32) {
        let at = at as usize;
        if path_id != 0 && self.names.len() <= at {
            self.names.resize(at + 1, 0);
        }
        if let Some(name) = self.names.get_mut(at) {
            *name = path_id;
        }
    }

    /// The first path of a peer. Removing the one at hand is allowed if its successor was asked for before.
    pub(super) fn first_of(&self, ix: PeerIx) -> u32 {
        self.peer(ix).head
    }

    pub(super) fn next_of_peer(&self, path: u32) -> u32 {
        self.paths[path as usize].peer_next
    }

    pub(super) fn received(&self, ix: PeerIx) -> Vec<(Prefix, u32, AttrId)> {
        let mut found = Vec::new();
        let mut at = self.first_of(ix);
        while at != NONE {
            let path = &self.paths[at as usize];
            let prefix = self.routes[self.route_of(at) as usize].net().prefix();
            found.push((prefix, self.path_id(at), path.received));
            at = path.peer_next;
        }
        found
    }

    fn slot(&mut self, net: Net<A>) -> u32 {
        let hash = hash(&self.hasher, net);
        let routes = &self.routes;
        let same = |slot: &u32| routes[*slot as usize].net() == net;
        if let Some(slot) = self.index.find(hash, same) {
            return *slot;
        }
        let route = Route {
            bits: net.bits,
            length: net.length,
            head: NONE,
            chosen: false,
            ghost: false,
        };
        let slot = place(&mut self.routes, &mut self.free_routes, route);
        let (routes, hasher) = (&self.routes, &self.hasher);
        self.index.insert_unique(hash, slot, |other| {
            self::hash(hasher, routes[*other as usize].net())
        });
        slot
    }

    pub(super) fn learn(
        &mut self,
        world: &mut World<'_>,
        source: PeerIx,
        net: Net<A>,
        path_id: u32,
        judged: Judged,
    ) {
        if let Err(reason) = judged.accepted {
            let peer = self.peer_mut(source);
            *peer.reasons.entry(reason).or_default() += 1;
            if peer.rejected >= world.rejected_kept {
                peer.forgotten = true;
                self.forget(world, source, net, path_id);
                return;
            }
        }
        let slot = self.slot(net);
        let attrs = judged.accepted.unwrap_or(AttrId::NONE);
        world.attrs.hold(judged.received);
        world.attrs.hold(attrs);
        let Some(at) = self.path_of(slot, source, path_id) else {
            self.insert(slot, source, path_id, judged);
            self.select(world, slot, NONE);
            return;
        };
        let peer = &mut self.peers[source.at()];
        let path = &mut self.paths[at as usize];
        peer.stale -= u32::from(path.flags.has(PathFlags::STALE));
        peer.rejected -= u32::from(path.rejected.is_some());
        peer.rejected += u32::from(judged.accepted.is_err());
        let changed = path.attrs != attrs || path.flags.has(PathFlags::STALE);
        let before = [path.received, path.attrs];
        path.received = judged.received;
        path.attrs = attrs;
        path.rejected = judged.accepted.err();
        path.flags = PathFlags::default();
        for id in before {
            world.attrs.release(id);
        }
        if changed {
            self.select(world, slot, at);
        }
    }

    fn path_of(&self, slot: u32, source: PeerIx, path_id: u32) -> Option<u32> {
        self.paths_of(slot)
            .find(|at| self.paths[*at as usize].source == source && self.path_id(*at) == path_id)
    }

    fn insert(&mut self, slot: u32, source: PeerIx, path_id: u32, judged: Judged) {
        let first = self.peer_mut(source).head;
        // The best path stays in front until somebody selects anew.
        let route = &self.routes[slot as usize];
        let best = route.best();
        let path = Path {
            next: match self.paths.get(best as usize) {
                Some(best) => best.next,
                None if route.head == NONE => Link::end(slot),
                None => Link::to(route.head),
            },
            peer_next: first,
            peer_previous: NONE,
            received: judged.received,
            attrs: judged.accepted.unwrap_or(AttrId::NONE),
            source,
            flags: PathFlags::default(),
            rejected: judged.accepted.err(),
        };
        let at = place(&mut self.paths, &mut self.free_paths, path);
        match self.paths.get_mut(best as usize) {
            Some(best) => best.next = Link::to(at),
            None => self.routes[slot as usize].head = at,
        }
        self.name(at, path_id);
        if let Some(first) = self.paths.get_mut(first as usize) {
            first.peer_previous = at;
        }
        let peer = self.peer_mut(source);
        peer.head = at;
        peer.paths += 1;
        peer.rejected += u32::from(judged.accepted.is_err());
    }

    pub(super) fn forget(
        &mut self,
        world: &mut World<'_>,
        source: PeerIx,
        net: Net<A>,
        path_id: u32,
    ) {
        let found = self
            .find(net)
            .and_then(|s| self.path_of(s, source, path_id));
        if let Some(at) = found {
            self.remove(world, at);
        }
    }

    /// Takes a path out of everything.
    pub(super) fn remove(&mut self, world: &mut World<'_>, at: u32) {
        let slot = self.route_of(at);
        let path = &self.paths[at as usize];
        let source = path.source;
        let (peer_next, peer_previous) = (path.peer_next, path.peer_previous);
        let (rejected, stale) = (path.rejected.is_some(), path.flags.has(PathFlags::STALE));
        world.attrs.release(path.received);
        let attrs = path.attrs;
        let best = self.routes[slot as usize].best();
        self.routes[slot as usize].chosen &= best != at;
        self.unlink(slot, at);
        if let Some(after) = self.paths.get_mut(peer_next as usize) {
            after.peer_previous = peer_previous;
        }
        match self.paths.get_mut(peer_previous as usize) {
            Some(before) => before.peer_next = peer_next,
            None => self.peer_mut(source).head = peer_next,
        }
        let peer = self.peer_mut(source);
        peer.paths -= 1;
        peer.rejected -= u32::from(rejected);
        peer.stale -= u32::from(stale);
        self.select_after(world, slot, best, at);
        world.attrs.release(attrs);
        self.free_paths.push(at);
        let route = &mut self.routes[slot as usize];
        if route.head == NONE && !route.ghost {
            route.ghost = true;
            self.ghosts.push(slot);
        }
    }

    /// Takes a path out of the list of its prefix.
    fn unlink(&mut self, slot: u32, at: u32) {
        let next = self.paths[at as usize].next;
        let before = self
            .paths_of(slot)
            .find(|p| self.paths[*p as usize].next == Link::to(at));
        match before {
            Some(before) => self.paths[before as usize].next = next,
            None => self.routes[slot as usize].head = next.path().unwrap_or(NONE),
        }
    }

    /// Selects the best path anew after `touched` changed, and tells who has to know.
    pub(super) fn select(&mut self, world: &World<'_>, slot: u32, touched: u32) {
        let before = self.routes[slot as usize].best();
        self.select_after(world, slot, before, touched);
    }

    /// The same after it changed or went; `before`: the best path until then.
    fn select_after(&mut self, world: &World<'_>, slot: u32, before: u32, touched: u32) {
        let best = decision::best(self, world.rules(), slot);
        self.routes[slot as usize].chosen = best != NONE;
        if best != NONE && self.routes[slot as usize].head != best {
            self.unlink(slot, best);
            let second = std::mem::replace(&mut self.routes[slot as usize].head, best);
            self.paths[best as usize].next = Link::to(second);
        }
        let other = before != best || (best == touched && best != NONE);
        for group in &mut self.groups {
            group.mark(slot, other);
        }
        self.fib.mark(slot, other);
    }

    pub(super) fn select_all(&mut self, world: &mut World<'_>) {
        for slot in self.slots().collect::<Vec<_>>() {
            let best = self.routes[slot as usize].best();
            self.select(world, slot, best);
        }
    }

    /// Gives slots without paths back, once nobody has to be told about them.
    pub(super) fn bury(&mut self) {
        if self.ghosts.is_empty() || self.groups.iter().any(Group::has_work) {
            return;
        }
        if !self.fib.is_told() {
            return;
        }
        for slot in std::mem::take(&mut self.ghosts) {
            let route = &mut self.routes[slot as usize];
            route.ghost = false;
            if route.head != NONE {
                continue;
            }
            let net = route.net();
            let hash = hash(&self.hasher, net);
            if let Ok(found) = self.index.find_entry(hash, |other| *other == slot) {
                found.remove();
                self.free_routes.push(slot);
            }
        }
    }
}

/// Networks in a row lie in a row: mostly they are told in the order of their addresses, and then eight of them share
/// the cache lines that a search reads. The table takes the lowest bits for the place and the highest seven for a tag,
/// which keeps the eight apart.
fn hash<A: Address>(hasher: &FixedState, net: Net<A>) -> u64 {
    let (row, member) = net.bits.row(net.length);
    let member = u64::from(member);
    hasher.hash_one(row ^ u64::from(net.length) << 56) ^ member ^ member << 57
}

/// Puts a value into a free place of a slab.
fn place<T>(slab: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(at) = free.pop() {
        slab[at as usize] = value;
        return at;
    }
    slab.push(value);
    u32::try_from(slab.len() - 1).unwrap_or(NONE)
}
