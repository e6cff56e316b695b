//! The entries of the table, found by prefix.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use ipnet::Ipv4Net;

use super::table::Entry;

/// The place of an entry.
pub(super) type Slot = u32;

/// Entries in the order in which they came. Who goes through all of them gives the kernel its routes in that order,
/// too, which its caches like better than that of a hash.
#[derive(Debug, Default)]
pub(super) struct Entries {
    index: HashTable<Slot>,
    hasher: RandomState,
    all: Vec<Entry>,
    /// Places of entries that are gone; nothing is wanted or stands there.
    free: Vec<Slot>,
}

impl Entries {
    pub(super) fn find(&self, prefix: Ipv4Net) -> Option<Slot> {
        let same = |slot: &Slot| self.all[*slot as usize].prefix == prefix;
        self.index.find(self.hasher.hash_one(prefix), same).copied()
    }

    /// The entry of a prefix, a new one if there is none.
    pub(super) fn find_or_add(&mut self, prefix: Ipv4Net) -> Slot {
        if let Some(slot) = self.find(prefix) {
            return slot;
        }
        let entry = Entry::new(prefix);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.all[slot as usize] = entry;
                slot
            }
            None => {
                self.all.push(entry);
                (self.all.len() - 1) as Slot
            }
        };
        let (all, hasher) = (&self.all, &self.hasher);
        let again = |slot: &Slot| hasher.hash_one(all[*slot as usize].prefix);
        self.index
            .insert_unique(hasher.hash_one(prefix), slot, again);
        slot
    }

    /// Removes an entry of which nothing is wanted and nothing stands.
    pub(super) fn remove(&mut self, slot: Slot) {
        let hash = self.hasher.hash_one(self.all[slot as usize].prefix);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == slot) {
            found.remove();
            self.free.push(slot);
        }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Entry {
        &mut self.all[slot as usize]
    }

    /// All entries, and places where none is: nothing is wanted or stands there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.all.iter()
    }

    /// The same with their places.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut Entry)> {
        (0..).zip(&mut self.all)
    }
}
