//! Addresses that two announce with nothing to rank them.

use super::Speaker;
use crate::rib::{Candidate, Rib, Ribs, Step, candidates, ranked};
use crate::types::Prefix;
use crate::view::Rivals;
use crate::wire::nlri::Address;

impl Speaker {
    /// Hosts whose best two paths lead to different next hops and are told apart by chance alone: how near a next hop is,
    /// or whose identifier is lower. At most `limit`, by prefix. Looks at every route.
    ///
    /// Where several next hops are asked for, that is no rivalry.
    #[must_use]
    pub fn rivals(&self, limit: usize) -> Vec<Rivals> {
        let mut found = Vec::new();
        if self.config.max_next_hops <= 1 {
            self.ribs.rivals(&self.ribs.v4, &mut found);
            self.ribs.rivals(&self.ribs.v6, &mut found);
        }
        found.sort_by_key(|rivals| rivals.prefix);
        found.truncate(limit);
        found
    }
}

impl Ribs {
    fn rivals<A: Address>(&self, rib: &Rib<A>, found: &mut Vec<Rivals>) {
        for slot in rib.slots() {
            let prefix = rib.routes[slot as usize].net().prefix();
            if is_host(prefix) && rib.paths_of(slot).nth(1).is_some() {
                found.extend(self.rivals_of(rib, slot, prefix));
            }
        }
    }

    fn rivals_of<A: Address>(&self, rib: &Rib<A>, slot: u32, prefix: Prefix) -> Option<Rivals> {
        let rules = self.rules();
        let all: Vec<Candidate<'_>> = candidates(rib, rules, slot).collect();
        let count = all.len();
        let ranked = ranked(all, rules.always_compare_med, count);
        let [best, second, ..] = ranked.as_slice() else {
            return None;
        };
        let (_, step) = best.compare(second, rules.always_compare_med)?;
        let by_chance = matches!(
            step,
            Step::Metric
                | Step::RouterId
                | Step::ClusterListLength
                | Step::PeerAddress
                | Step::PathId
        );
        let next_hop = |candidate: &Candidate<'_>| {
            let path = &rib.paths[candidate.at as usize];
            self.attrs.decode(path.attrs).next_hop
        };
        let next_hops = [next_hop(best), next_hop(second)];
        (by_chance && next_hops[0] != next_hops[1]).then_some(Rivals { prefix, next_hops })
    }
}

fn is_host(prefix: Prefix) -> bool {
    let whole = if prefix.address().is_ipv4() { 32 } else { 128 };
    prefix.length() == whole
}
