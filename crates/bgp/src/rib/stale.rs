//! Paths that outlive their session, and those that a refresh has to confirm.

use super::World;
use super::path::PathFlags;
use super::table::{NONE, Rib};
use crate::attr::NextHopId;
use crate::session::PeerIx;
use crate::types::{Community, StandardCommunity};
use crate::wire::nlri::Address;

impl<A: Address> Rib<A> {
    pub(super) fn remove_all(&mut self, world: &mut World<'_>, ix: PeerIx) {
        let mut at = self.first_of(ix);
        while at != NONE {
            let next = self.next_of_peer(at);
            self.remove(world, at);
            at = next;
        }
        self.peer_mut(ix).forgotten = false;
    }

    /// Marks every path of a peer; how many are eligible. Refused ones are of no use without a session.
    pub(super) fn mark_stale(&mut self, ix: PeerIx) -> u32 {
        let mut count = 0;
        let mut at = self.first_of(ix);
        while at != NONE {
            let path = &mut self.paths[at as usize];
            path.flags.set(PathFlags::STALE);
            let next = path.peer_next;
            let slot = self.route_of(at);
            count += 1;
            // Peers are told nothing new, but the FIB shows it.
            self.fib.mark(slot, true);
            at = next;
        }
        self.peer_mut(ix).stale = count;
        count
    }

    pub(super) fn begin_refresh(&mut self, ix: PeerIx) {
        let mut at = self.first_of(ix);
        while at != NONE {
            let path = &mut self.paths[at as usize];
            path.flags.set(PathFlags::AWAITING_REFRESH);
            at = path.peer_next;
        }
    }

    /// Removes the paths of a peer that carry a mark; how many.
    pub(super) fn remove_marked(
        &mut self,
        world: &mut World<'_>,
        ix: PeerIx,
        mark: PathFlags,
    ) -> u32 {
        let mut count = 0;
        let mut at = self.first_of(ix);
        while at != NONE {
            let next = self.next_of_peer(at);
            if self.paths[at as usize].flags.has(mark) {
                self.remove(world, at);
                count += 1;
            }
            at = next;
        }
        count
    }

    /// Turns stale paths into long-lived stale ones, least preferred from now on; those that must not be kept so
    /// long go (RFC 9494, section 4.2). How many stay.
    pub(super) fn make_long_lived(&mut self, world: &mut World<'_>, ix: PeerIx) -> u32 {
        let mut count = 0;
        let mut at = self.first_of(ix);
        while at != NONE {
            let next = self.next_of_peer(at);
            let path = &self.paths[at as usize];
            if path.flags.has(PathFlags::STALE) {
                let attrs = path.attrs;
                let kept = path.rejected.is_none()
                    && !world
                        .attrs
                        .decode(attrs)
                        .has(Community::Standard(StandardCommunity::NO_LLGR));
                if kept {
                    self.mark_long_lived(world, at);
                    count += 1;
                } else {
                    self.remove(world, at);
                }
            }
            at = next;
        }
        count
    }

    fn mark_long_lived(&mut self, world: &mut World<'_>, at: u32) {
        let (slot, before) = (self.route_of(at), self.paths[at as usize].attrs);
        let mut decoded = world.attrs.decode(before);
        decoded.add(Community::Standard(StandardCommunity::LLGR_STALE));
        let attrs = world.attrs.intern_decoded(&decoded);
        self.paths[at as usize].attrs = attrs;
        self.select(world, slot, at);
        world.attrs.release(before);
    }

    /// Selects anew where a next hop came, went or moved.
    pub(super) fn next_hops_changed(&mut self, world: &mut World<'_>, changed: &[NextHopId]) {
        let slots: Vec<u32> = self
            .slots()
            .filter(|slot| {
                self.paths_of(*slot).any(|at| {
                    let path = &self.paths[at as usize];
                    path.rejected.is_none()
                        && changed
                            .binary_search(&world.attrs.next_hop_id(path.attrs))
                            .is_ok()
                })
            })
            .collect();
        for slot in slots {
            self.select(world, slot, NONE);
        }
    }
}
