//! Which routes the kernel should have for the speaker's best paths, and which it has. No kernel in here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use linux::fib::{Change, Hop};

use super::entries::{Entries, Slot};

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
    /// Asked for last: routes come in runs that share a list.
    last: ListId,
}

impl<T: Clone + Eq + std::hash::Hash> Lists<T> {
    fn new() -> Self {
        Self {
            numbers: HashMap::from([(Vec::new(), NONE)]),
            lists: vec![Vec::new()],
            last: NONE,
        }
    }

    fn number(&mut self, list: &[T]) -> ListId {
        if self.list(self.last) == list {
            return self.last;
        }
        self.last = match self.numbers.get(list) {
            Some(number) => *number,
            None => {
                let number = self.lists.len() as ListId;
                self.lists.push(list.to_vec());
                self.numbers.insert(list.to_vec(), number);
                number
            }
        };
        self.last
    }

    fn list(&self, number: ListId) -> &[T] {
        self.lists.get(number as usize).map_or(&[], Vec::as_slice)
    }
}

/// What is known of one prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) prefix: Ipv4Net,
    /// Next hops of the best paths.
    wanted: ListId,
    /// What the kernel has of ours.
    standing: ListId,
    /// Whether the two may differ.
    dirty: bool,
}

impl Entry {
    pub(super) fn new(prefix: Ipv4Net) -> Self {
        Self {
            prefix,
            wanted: NONE,
            standing: NONE,
            dirty: false,
        }
    }
}

/// Dirty entries, in the order in which they became it, each once.
#[derive(Debug, Default)]
struct Dirty(Vec<Slot>);

impl Dirty {
    fn mark(&mut self, slot: Slot, entry: &mut Entry) {
        if !std::mem::replace(&mut entry.dirty, true) {
            self.0.push(slot);
        }
    }
}

/// A change that brings the kernel nearer to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Todo {
    pub(super) prefix: Ipv4Net,
    /// None: no route.
    hops: ListId,
    /// Whether a route of ours is replaced.
    standing: bool,
}

/// Wanted and standing routes.
#[derive(Debug)]
pub(super) struct RouteTable {
    routes: Entries,
    next_hops: Lists<Ipv4Addr>,
    hops: Lists<Hop>,
    /// Where the packets of each next hop leave; next hops without a way are not in it.
    ways: BTreeMap<Ipv4Addr, Hop>,
    /// Next hops whose ways changed since the last [`Self::take_todo`]: the table is searched for their routes once.
    moved: BTreeSet<Ipv4Addr>,
    /// Destinations that belong to somebody else.
    reserved: BTreeSet<Ipv4Net>,
    dirty: Dirty,
}

impl RouteTable {
    /// A table that begins with what the kernel has; it stays until [`Self::converged`].
    pub(super) fn new(standing: HashMap<Ipv4Net, Vec<Hop>>) -> Self {
        let mut table = Self {
            routes: Entries::default(),
            next_hops: Lists::new(),
            hops: Lists::new(),
            ways: BTreeMap::new(),
            moved: BTreeSet::new(),
            reserved: BTreeSet::new(),
            dirty: Dirty::default(),
        };
        table.stand(standing);
        table.dirty = Dirty::default();
        for (_, entry) in table.routes.iter_mut() {
            entry.wanted = UNTOLD;
            entry.dirty = false;
        }
        table
    }

    /// Best paths of a prefix changed.
    pub(super) fn want(&mut self, prefix: Ipv4Net, next_hops: &[Ipv4Addr]) {
        let wanted = self.next_hops.number(next_hops);
        let slot = self.routes.find_or_add(prefix);
        let entry = self.routes.get_mut(slot);
        entry.wanted = wanted;
        self.dirty.mark(slot, entry);
    }

    /// The way to a next hop, or that there is none any more. Returns whether that is news.
    pub(super) fn set_way(&mut self, next_hop: Ipv4Addr, hop: Option<Hop>) -> bool {
        let before = match hop {
            Some(hop) => self.ways.insert(next_hop, hop),
            None => self.ways.remove(&next_hop),
        };
        let news = before != hop;
        if news {
            self.moved.insert(next_hop);
        }
        news
    }

    /// Destinations that are somebody else's from now on.
    pub(super) fn reserve(&mut self, reserved: BTreeSet<Ipv4Net>) {
        for prefix in self.reserved.symmetric_difference(&reserved) {
            if let Some(slot) = self.routes.find(*prefix) {
                self.dirty.mark(slot, self.routes.get_mut(slot));
            }
        }
        self.reserved = reserved;
    }

    /// What was not told of by now is kept no longer.
    pub(super) fn converged(&mut self) {
        for (slot, entry) in self.routes.iter_mut() {
            if entry.wanted == UNTOLD {
                entry.wanted = NONE;
                self.dirty.mark(slot, entry);
            }
        }
    }

    /// What the kernel has, all of it.
    pub(super) fn stand(&mut self, standing: HashMap<Ipv4Net, Vec<Hop>>) {
        for (slot, entry) in self.routes.iter_mut() {
            if entry.standing != NONE && !standing.contains_key(&entry.prefix) {
                entry.standing = NONE;
                self.dirty.mark(slot, entry);
            }
        }
        for (prefix, hops) in standing {
            let number = self.hops.number(&hops);
            let slot = self.routes.find_or_add(prefix);
            let entry = self.routes.get_mut(slot);
            if entry.standing != number {
                entry.standing = number;
                self.dirty.mark(slot, entry);
            }
        }
    }

    /// A route was removed, by us or by somebody else.
    pub(super) fn removed(&mut self, prefix: Ipv4Net) {
        if let Some(slot) = self.routes.find(prefix) {
            let entry = self.routes.get_mut(slot);
            entry.standing = NONE;
            self.dirty.mark(slot, entry);
        }
    }

    /// The changes that are to be made now. They count as made; [`Self::refused`] takes that back.
    pub(super) fn take_todo(&mut self) -> Vec<Todo> {
        self.find_moved();
        let dirty = std::mem::take(&mut self.dirty).0;
        let mut todo = Vec::with_capacity(dirty.len());
        // What each list of next hops comes to: thousands of routes have the same.
        let mut targets = BTreeMap::new();
        for slot in dirty {
            let entry = self.routes.get_mut(slot);
            let prefix = entry.prefix;
            let target = if self.reserved.contains(&prefix) {
                NONE
            } else if entry.wanted == UNTOLD {
                entry.standing
            } else {
                *targets.entry(entry.wanted).or_insert_with(|| {
                    let next_hops = self.next_hops.list(entry.wanted);
                    self.hops.number(&hops_of(next_hops, &self.ways))
                })
            };
            entry.dirty = false;
            let standing = std::mem::replace(&mut entry.standing, target);
            if target != standing {
                todo.push(Todo {
                    prefix,
                    hops: target,
                    standing: standing != NONE,
                });
            }
            if target == NONE && entry.wanted == NONE {
                self.routes.remove(slot);
            }
        }
        todo
    }

    /// Marks the routes over next hops whose ways changed.
    fn find_moved(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        if moved.is_empty() {
            return;
        }
        let uses = |list: &Vec<Ipv4Addr>| list.iter().any(|next_hop| moved.contains(next_hop));
        let affected: Vec<bool> = self.next_hops.lists.iter().map(uses).collect();
        for (slot, entry) in self.routes.iter_mut() {
            if affected.get(entry.wanted as usize) == Some(&true) {
                self.dirty.mark(slot, entry);
            }
        }
    }

    /// A change as the kernel is asked for it.
    pub(super) fn change(&self, todo: &Todo) -> Change<'_> {
        Change {
            prefix: todo.prefix,
            hops: self.hops.list(todo.hops),
            standing: todo.standing,
        }
    }

    /// The kernel did not take a change.
    pub(super) fn refused(&mut self, todo: &Todo) {
        if let Some(slot) = self.routes.find(todo.prefix) {
            self.routes.get_mut(slot).standing = NONE;
        }
    }

    /// Routes of ours in the kernel.
    pub(super) fn standing(&self) -> usize {
        self.routes
            .iter()
            .filter(|entry| entry.standing != NONE)
            .count()
    }
}

/// Where the packets for these next hops leave.
fn hops_of(next_hops: &[Ipv4Addr], ways: &BTreeMap<Ipv4Addr, Hop>) -> Vec<Hop> {
    let mut hops: Vec<Hop> = next_hops
        .iter()
        .filter_map(|n| ways.get(n))
        .copied()
        .collect();
    hops.sort_unstable();
    hops.dedup();
    hops
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
        let todo = table.take_todo();
        let shown = |todo: &Todo| {
            let Change {
                prefix,
                hops,
                standing,
            } = table.change(todo);
            let interfaces = hops.iter().map(|hop| hop.interface).collect();
            (prefix, interfaces, standing)
        };
        let mut todo: Vec<_> = todo.iter().map(shown).collect();
        todo.sort();
        todo
    }

    #[test]
    fn a_route_comes_changes_and_goes() {
        let mut table = empty();
        table.want(prefix(1), &[A]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![1], false)]);
        assert_eq!(todo(&mut table), []);
        table.want(prefix(1), &[B]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![2], true)]);
        table.want(prefix(1), &[B, A]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![1, 2], true)]);
        table.want(prefix(1), &[]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![], true)]);
        assert_eq!(table.standing(), 0);
    }

    #[test]
    fn what_changes_back_at_once_is_not_written() {
        let mut table = empty();
        table.want(prefix(1), &[A]);
        table.take_todo();
        table.want(prefix(1), &[B]);
        table.want(prefix(1), &[A]);
        assert_eq!(todo(&mut table), []);
    }

    #[test]
    fn next_hops_take_their_routes_along() {
        let mut table = empty();
        table.want(prefix(1), &[A]);
        table.want(prefix(2), &[B]);
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
    fn next_hops_that_move_together_are_one_batch() {
        let mut table = empty();
        table.want(prefix(1), &[A]);
        table.want(prefix(2), &[B]);
        table.want(prefix(3), &[A, B]);
        table.take_todo();
        table.set_way(A, None);
        table.set_way(B, Some(hop(4)));
        table.set_way(A, Some(hop(3)));
        let all = [
            (prefix(1), vec![3], true),
            (prefix(2), vec![4], true),
            (prefix(3), vec![3, 4], true),
        ];
        assert_eq!(todo(&mut table), all);
        // There and back before anybody looks: the kernel is left alone.
        table.set_way(A, None);
        table.set_way(A, Some(hop(3)));
        assert_eq!(todo(&mut table), []);
    }

    #[test]
    fn routes_from_before_stay_until_all_is_told() {
        let standing = [1, 2, 3].map(|last| (prefix(last), vec![hop(1)]));
        let mut table = RouteTable::new(HashMap::from(standing));
        table.set_way(A, Some(hop(1)));
        table.set_way(B, Some(hop(2)));
        assert_eq!(todo(&mut table), []);
        table.want(prefix(1), &[A]);
        table.want(prefix(2), &[B]);
        // The first is as it was: the kernel is left alone.
        assert_eq!(todo(&mut table), [(prefix(2), vec![2], true)]);
        // What was told and taken back goes at once.
        table.want(prefix(1), &[]);
        assert_eq!(todo(&mut table), [(prefix(1), vec![], true)]);
        table.converged();
        assert_eq!(todo(&mut table), [(prefix(3), vec![], true)]);
        assert_eq!(table.standing(), 1);
    }

    #[test]
    fn a_reserved_destination_is_left_to_its_owner() {
        let mut table = empty();
        table.want(prefix(1), &[A]);
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
        table.want(prefix(1), &[A]);
        table.want(prefix(2), &[A]);
        table.take_todo();
        table.removed(prefix(1));
        assert_eq!(todo(&mut table), [(prefix(1), vec![1], false)]);
        table.stand(HashMap::from([(prefix(1), vec![hop(1)])]));
        assert_eq!(todo(&mut table), [(prefix(2), vec![1], false)]);
        // Its own removals are heard as well.
        table.want(prefix(1), &[]);
        table.take_todo();
        table.removed(prefix(1));
        assert_eq!(todo(&mut table), []);
    }
}
