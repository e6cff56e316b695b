//! Best paths for the FIB: what was told last, and what is to be told.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::World;
use super::bits::Bits;
use super::decision::{self, Candidate};
use super::table::Rib;
use crate::attr::AttrId;
use crate::config::SpeakerConfig;
use crate::io::RouteChange;
use crate::session::PeerIx;
use crate::wire::nlri::Address;

/// Changes in one output.
const BATCH: usize = 1024;

/// What the FIB was told of a slot: the attributes of the best path (a reference is held) and whether it was stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    attrs: AttrId,
    stale: bool,
}

const NOTHING: Told = Told {
    attrs: AttrId::NONE,
    stale: false,
};

#[derive(Debug)]
pub(crate) struct Fib {
    on: bool,
    max_next_hops: usize,
    queue: VecDeque<u32>,
    queued: Bits,
    told: Vec<Told>,
    /// Slots with several next hops.
    several: BTreeMap<u32, Vec<IpAddr>>,
}

impl Fib {
    pub(super) fn new(config: &SpeakerConfig) -> Self {
        Self {
            on: config.fib,
            max_next_hops: usize::from(config.max_next_hops.max(1)),
            queue: VecDeque::new(),
            queued: Bits::default(),
            told: Vec::new(),
            several: BTreeMap::new(),
        }
    }

    /// Notes a slot; `best`: whether its best path is another. With several next hops any path may count.
    pub(super) fn mark(&mut self, slot: u32, best: bool) {
        if self.on && (best || self.max_next_hops > 1) && self.queued.insert(slot) {
            self.queue.push_back(slot);
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<A: Address> Rib<A> {
    pub(super) fn configure_fib(&mut self, config: &SpeakerConfig) {
        self.fib.on = config.fib;
        self.fib.max_next_hops = usize::from(config.max_next_hops.max(1));
        if !config.fib {
            self.fib.queue.clear();
            self.fib.queued = Bits::default();
        }
    }

    pub(super) fn fib_is_told(&self) -> bool {
        self.fib.is_told()
    }

    /// The next batch of changes.
    pub(super) fn route_changes(&mut self, world: &mut World<'_>) -> Vec<RouteChange> {
        let mut changes = Vec::new();
        while changes.len() < BATCH
            && let Some(slot) = self.fib.queue.pop_front()
        {
            self.fib.queued.remove(slot);
            changes.extend(self.route_change(world, slot));
        }
        if self.fib.queue.is_empty() {
            self.fib.queue = VecDeque::new();
        }
        changes
    }

    fn route_change(&mut self, world: &mut World<'_>, slot: u32) -> Option<RouteChange> {
        let at = slot as usize;
        let route = &self.routes[at];
        let best = self.paths.get(route.best() as usize);
        // Our own routes are the kernel's already.
        let best = best.filter(|path| path.source != PeerIx::LOCAL);
        let now = best.map_or(NOTHING, |path| Told {
            attrs: path.attrs,
            stale: path.flags.has(super::PathFlags::STALE),
        });
        let prefix = route.net().prefix();
        let next_hops = match best {
            Some(_) => self.next_hops(world, slot),
            None => Vec::new(),
        };
        if self.fib.told.len() <= at {
            self.fib.told.resize(at + 1, NOTHING);
        }
        world.attrs.hold(now.attrs);
        let before = std::mem::replace(&mut self.fib.told[at], now);
        let several = if next_hops.len() > 1 {
            self.fib.several.insert(slot, next_hops.clone())
        } else {
            self.fib.several.remove(&slot)
        };
        let old_hops = several.unwrap_or_else(|| match before.attrs {
            AttrId::NONE => Vec::new(),
            attrs => vec![world.attrs.next_hop_of(attrs)],
        });
        world.attrs.release(before.attrs);
        let same = old_hops == next_hops && before.stale == now.stale;
        (!same).then_some(RouteChange {
            prefix,
            next_hops,
            stale: now.stale,
        })
    }

    /// The next hop of the best path, and of those as good as it where that is asked for.
    fn next_hops(&self, world: &World<'_>, slot: u32) -> Vec<IpAddr> {
        let best_at = self.routes[slot as usize].best();
        let Some(path) = self.paths.get(best_at as usize) else {
            return Vec::new();
        };
        let mut hops = vec![world.attrs.next_hop_of(path.attrs)];
        if self.fib.max_next_hops == 1 {
            return hops;
        }
        let med = world.always_compare_med;
        let all: Vec<Candidate<'_>> = decision::candidates(self, world.rules(), slot).collect();
        for other in decision::ranked(all.clone(), med, all.len()) {
            let Some(best) = all.iter().find(|c| c.at == best_at) else {
                break;
            };
            let hop = world.attrs.next_hop_of(self.paths[other.at as usize].attrs);
            if hops.len() < self.fib.max_next_hops
                && other.is_equal_cost(best, med)
                && !hops.contains(&hop)
            {
                hops.push(hop);
            }
        }
        hops.sort_unstable();
        hops
    }
}
