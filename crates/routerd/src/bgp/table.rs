//! Which routes the kernel should have for the speaker's best paths, and which it has. No kernel in here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use linux::fib::{Change, Hop};

/// A number that stands for a list: routes share few lists.
type ListId = u32;

/// Nothing.
const NONE: ListId = 0;
/// A route from before our restart, of which the speaker has said nothing yet: it stays as it is.
const UNTOLD: ListId = ListId::MAX;

/// Lists that are stored once. The empty list is number [`NONE`].
#[derive(Debug)]
struct Lists<T> {
    numbers: HashMap<Vec<T>, ListId>,
    lists: Vec<Vec<T>>,
}

impl<T: Clone + Eq + std::hash::Hash> Lists<T> {
    fn new() -> Self {
        Self {
            numbers: HashMap::from([(Vec::new(), NONE)]),
            lists: vec![Vec::new()],
        }
    }

    fn number(&mut self, list: Vec<T>) -> ListId {
        if let Some(number) = self.numbers.get(&list) {
            return *number;
        }
        let number = self.lists.len() as ListId;
        self.lists.push(list.clone());
        self.numbers.insert(list, number);
        number
    }

    fn list(&self, number: ListId) -> &[T] {
        self.lists.get(number as usize).map_or(&[], Vec::as_slice)
    }
}

/// What is known of one prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    /// Next hops of the best paths.
    wanted: ListId,
    /// What the kernel has of ours.
    standing: ListId,
}

/// A change that brings the kernel nearer to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Todo {
    pub(super) prefix: Ipv4Net,
    /// None: no route.
    pub(super) hops: Vec<Hop>,
    /// Whether a route of ours is replaced.
    pub(super) standing: bool,
}

impl Todo {
    pub(super) fn change(&self) -> Change<'_> {
        Change {
            prefix: self.prefix,
            hops: &self.hops,
            standing: self.standing,
        }
    }
}

/// Wanted and standing routes.
#[derive(Debug)]
pub(super) struct RouteTable {
    routes: HashMap<Ipv4Net, Entry>,
    next_hops: Lists<Ipv4Addr>,
    hops: Lists<Hop>,
    /// Where the packets of each next hop leave; next hops without a way are not in it.
    ways: BTreeMap<Ipv4Addr, Hop>,
    /// Destinations that belong to somebody else.
    reserved: BTreeSet<Ipv4Net>,
    /// Where standing and wanted may differ.
    dirty: HashSet<Ipv4Net>,
}

impl RouteTable {
    /// A table that begins with what the kernel has; it stays until [`Self::converged`].
    pub(super) fn new(standing: HashMap<Ipv4Net, Vec<Hop>>) -> Self {
        let mut table = Self {
            routes: HashMap::with_capacity(standing.len()),
            next_hops: Lists::new(),
            hops: Lists::new(),
            ways: BTreeMap::new(),
            reserved: BTreeSet::new(),
            dirty: HashSet::new(),
        };
        table.stand(standing);
        table.dirty.clear();
        for entry in table.routes.values_mut() {
            entry.wanted = UNTOLD;
        }
        table
    }

    /// Best paths of a prefix changed.
    pub(super) fn want(&mut self, prefix: Ipv4Net, next_hops: Vec<Ipv4Addr>) {
        let wanted = self.next_hops.number(next_hops);
        self.routes.entry(prefix).or_default().wanted = wanted;
        self.dirty.insert(prefix);
    }

    /// The way to a next hop, or that there is none any more. Returns whether that is news.
    pub(super) fn set_way(&mut self, next_hop: Ipv4Addr, hop: Option<Hop>) -> bool {
        let before = match hop {
            Some(hop) => self.ways.insert(next_hop, hop),
            None => self.ways.remove(&next_hop),
        };
        if before == hop {
            return false;
        }
        let uses = |list: &[Ipv4Addr]| list.contains(&next_hop);
        let lists = self.next_hops.lists.iter();
        let affected: Vec<bool> = lists.map(|list| uses(list)).collect();
        let touched = |entry: &Entry| affected.get(entry.wanted as usize) == Some(&true);
        let routes = self.routes.iter().filter(|(_, entry)| touched(entry));
        self.dirty.extend(routes.map(|(prefix, _)| *prefix));
        true
    }

    /// Destinations that are somebody else's from now on.
    pub(super) fn reserve(&mut self, reserved: BTreeSet<Ipv4Net>) {
        let changed = self.reserved.symmetric_difference(&reserved);
        for prefix in changed {
            if self.routes.contains_key(prefix) {
                self.dirty.insert(*prefix);
            }
        }
        self.reserved = reserved;
    }

    /// What was not told of by now is kept no longer.
    pub(super) fn converged(&mut self) {
        for (prefix, entry) in &mut self.routes {
            if entry.wanted == UNTOLD {
                entry.wanted = NONE;
                self.dirty.insert(*prefix);
            }
        }
    }

    /// What the kernel has, all of it.
    pub(super) fn stand(&mut self, standing: HashMap<Ipv4Net, Vec<Hop>>) {
        for (prefix, entry) in &mut self.routes {
            if entry.standing != NONE && !standing.contains_key(prefix) {
                entry.standing = NONE;
                self.dirty.insert(*prefix);
            }
        }
        for (prefix, hops) in standing {
            let number = self.hops.number(hops);
            let entry = self.routes.entry(prefix).or_default();
            if entry.standing != number {
                entry.standing = number;
                self.dirty.insert(prefix);
            }
        }
    }

    /// A route was removed, by us or by somebody else.
    pub(super) fn removed(&mut self, prefix: Ipv4Net) {
        if let Some(entry) = self.routes.get_mut(&prefix) {
            entry.standing = NONE;
            self.dirty.insert(prefix);
        }
    }

    /// The changes that are to be made now. They count as made; [`Self::refused`] takes that back.
    pub(super) fn take_todo(&mut self) -> Vec<Todo> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut todo = Vec::with_capacity(dirty.len());
        for prefix in dirty {
            let Some(entry) = self.routes.get(&prefix).copied() else {
                continue;
            };
            let target = self.target(prefix, entry);
            if target != entry.standing {
                todo.push(Todo {
                    prefix,
                    hops: self.hops.list(target).to_vec(),
                    standing: entry.standing != NONE,
                });
            }
            if target == NONE && entry.wanted == NONE {
                self.routes.remove(&prefix);
            } else if let Some(entry) = self.routes.get_mut(&prefix) {
                entry.standing = target;
            }
        }
        todo
    }

    /// The kernel did not take a change.
    pub(super) fn refused(&mut self, todo: &Todo) {
        if let Some(entry) = self.routes.get_mut(&todo.prefix) {
            entry.standing = NONE;
        }
    }

    fn target(&mut self, prefix: Ipv4Net, entry: Entry) -> ListId {
        if self.reserved.contains(&prefix) {
            return NONE;
        }
        if entry.wanted == UNTOLD {
            return entry.standing;
        }
        let wanted = self.next_hops.list(entry.wanted).iter();
        let mut hops: Vec<Hop> = wanted.filter_map(|n| self.ways.get(n)).copied().collect();
        hops.sort_unstable();
        hops.dedup();
        self.hops.number(hops)
    }

    /// Routes of ours in the kernel.
    pub(super) fn standing(&self) -> usize {
        let routes = self.routes.values();
        routes.filter(|entry| entry.standing != NONE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn hop(interface: u32) -> Hop {
        Hop {
            interface,
            gateway: None,
        }
    }

    fn prefix(last: u8) -> Ipv4Net {
        Ipv4Addr::new(10, 77, 60, last).into()
    }

    fn empty() -> RouteTable {
        let mut table = RouteTable::new(HashMap::new());
        table.set_way(A, Some(hop(1)));
        table.set_way(B, Some(hop(2)));
        table
    }

    fn todo(table: &mut RouteTable) -> Vec<(Ipv4Net, Vec<u32>, bool)> {
        let mut todo: Vec<_> = table
            .take_todo()
            .into_iter()
            .map(|t| {
                (
                    t.prefix,
                    t.hops.iter().map(|h| h.interface).collect(),
                    t.standing,
                )
            })
            .collect();
        todo.sort();
        todo
    }

    #[test]
    fn a_route_comes_changes_and_goes() {
        let mut table = empty();
        table.want(prefix(1), vec![A]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![1], false)]);
        assert_eq!(todo(&mut table), []);
        table.want(prefix(1), vec![B]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![2], true)]);
        table.want(prefix(1), vec![B, A]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![1, 2], true)]);
        table.want(prefix(1), vec![]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![], true)]);
        assert_eq!(table.standing(), 0);
    }

    #[test]
    fn what_changes_back_at_once_is_not_written() {
        let mut table = empty();
        table.want(prefix(1), vec![A]);
        table.take_todo();
        table.want(prefix(1), vec![B]);
        table.want(prefix(1), vec![A]);
        assert_eq!(todo(&mut table), []);
    }

    #[test]
    fn next_hops_take_their_routes_along() {
        let mut table = empty();
        table.want(prefix(1), vec![A]);
        table.want(prefix(2), vec![B]);
        table.take_todo();
        assert!(table.set_way(A, Some(hop(3))));
        assert_eq!(todo(&mut table), [(prefix(1), vec![3], true)]);
        assert!(table.set_way(A, None));
        assert!(!table.set_way(A, None));
        assert_eq!(todo(&mut table), [(prefix(1), vec![], true)]);
        table.set_way(A, Some(hop(1)));
        assert_eq!(todo(&mut table), [(prefix(1), vec![1], false)]);
    }

    #[test]
    fn routes_from_before_stay_until_all_is_told() {
        let standing = [1, 2, 3].map(|last| (prefix(last), vec![hop(1)]));
        let mut table = RouteTable::new(HashMap::from(standing));
        table.set_way(A, Some(hop(1)));
        table.set_way(B, Some(hop(2)));
        assert_eq!(todo(&mut table), []);
        table.want(prefix(1), vec![A]);
        table.want(prefix(2), vec![B]);
        // The first is as it was: the kernel is left alone.
        assert_eq!(todo(&mut table), [(prefix(2), vec![2], true)]);
        // What was told and taken back goes at once.
        table.want(prefix(1), vec![]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![], true)]);
        table.converged();
        assert_eq!(todo(&mut table), [(prefix(3), vec![], true)]);
        assert_eq!(table.standing(), 1);
    }

    #[test]
    fn a_reserved_destination_is_left_to_its_owner() {
        let mut table = empty();
        table.want(prefix(1), vec![A]);
        table.take_todo();
        table.reserve(BTreeSet::from([prefix(1)]));
        // If the owner's route replaced ours meanwhile, there is nothing to remove, which is no failure.
        assert_eq!(todo(&mut table), [(prefix(1), vec![], true)]);
        table.reserve(BTreeSet::new());
        assert_eq!(todo(&mut table), [(prefix(1), vec![1], false)]);
    }

    #[test]
    fn what_somebody_removed_is_put_back() {
        let mut table = empty();
        table.want(prefix(1), vec![A]);
        table.want(prefix(2), vec![A]);
        table.take_todo();
        table.removed(prefix(1));
        assert_eq!(todo(&mut table), [(prefix(1), vec![1], false)]);
        table.stand(HashMap::from([(prefix(1), vec![hop(1)])]));
        assert_eq!(todo(&mut table), [(prefix(2), vec![1], false)]);
        // Its own removals are heard as well.
        table.want(prefix(1), vec![]);
        table.take_todo();
        table.removed(prefix(1));
        assert_eq!(todo(&mut table), []);
    }
}
