//! Update groups: peers that are told the same, and what they were told.

use std::collections::{BTreeMap, VecDeque};

use super::World;
use super::bits::Bits;
use super::decision;
use super::export::GroupKey;
use super::member::{Behind, Marker, Member};
use super::table::{NONE, Rib};
use crate::attr::{AttrId, AttrStore};
use crate::session::PeerIx;
use crate::types::ConnId;
use crate::wire::nlri::Address;

/// A path as it was told: its attributes (a reference is held) and whom it is from, who is not told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) attrs: AttrId,
    pub(crate) source: PeerIx,
    /// Path identifier; 0 where none are spoken.
    pub(crate) id: u32,
}

/// One path of a prefix per slot: six octets, since every prefix has one in every group.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(2))]
struct Single {
    attrs: AttrId,
    source: PeerIx,
}

const UNTOLD: Single = Single {
    attrs: AttrId::NONE,
    source: PeerIx::LOCAL,
};

/// What all members have been told.
#[derive(Debug)]
enum Sent {
    Best(Vec<Single>),
    Several(BTreeMap<u32, Vec<Told>>),
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    pub(crate) members: BTreeMap<PeerIx, Member>,
    sent: Sent,
    queue: VecDeque<u32>,
    queued: Bits,
}

impl Group {
    fn new(key: GroupKey, slots: usize) -> Self {
        let sent = match key.add_path {
            None => Sent::Best(Vec::new()),
            Some(_) => Sent::Several(BTreeMap::new()),
        };
        let mut group = Self {
            key,
            members: BTreeMap::new(),
            sent,
            queue: VecDeque::new(),
            queued: Bits::default(),
        };
        for slot in 0..u32::try_from(slots).unwrap_or(NONE) {
            group.mark(slot, true);
        }
        group
    }

    /// Notes a slot; `best`: whether its best path is another.
    pub(super) fn mark(&mut self, slot: u32, best: bool) {
        if (best || self.key.add_path.is_some()) && self.queued.insert(slot) {
            self.queue.push_back(slot);
        }
    }

    /// Takes the next slot that may have changed.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let slot = self.queue.pop_front()?;
        self.queued.remove(slot);
        if self.queue.is_empty() {
            // A takeover of everything should not hold memory for ever.
            self.queue = VecDeque::new();
        }
        Some(slot)
    }

    pub(super) fn is_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether somebody is still to be told something.
    pub(super) fn has_work(&self) -> bool {
        self.is_queued() || self.members.values().any(|m| m.behind.is_some())
    }

    /// What has been told of a slot.
    pub(crate) fn told(&self, slot: u32) -> Vec<Told> {
        match &self.sent {
            Sent::Best(slots) => match slots.get(slot as usize) {
                Some(single) if { single.attrs } != AttrId::NONE => vec![Told {
                    attrs: single.attrs,
                    source: single.source,
                    id: 0,
                }],
                _ => Vec::new(),
            },
            Sent::Several(slots) => slots.get(&slot).cloned().unwrap_or_default(),
        }
    }

    /// What has been told of a slot, where one path is.
    pub(super) fn told_best(&self, slot: u32) -> Option<Told> {
        let Sent::Best(slots) = &self.sent else {
            return None;
        };
        let single = slots.get(slot as usize)?;
        ({ single.attrs } != AttrId::NONE).then_some(Told {
            attrs: single.attrs,
            source: single.source,
            id: 0,
        })
    }

    /// Replaces what has been told of a slot, where one path is.
    pub(super) fn tell_best(&mut self, attrs: &mut AttrStore, slot: u32, now: Option<Told>) {
        let Sent::Best(slots) = &mut self.sent else {
            return;
        };
        if slots.len() <= slot as usize {
            slots.resize(slot as usize + 1, UNTOLD);
        }
        let now = now.map_or(UNTOLD, |told| Single {
            attrs: told.attrs,
            source: told.source,
        });
        attrs.hold(now.attrs);
        let before = std::mem::replace(&mut slots[slot as usize], now);
        attrs.release(before.attrs);
    }

    /// Replaces what has been told of a slot, where several paths are.
    pub(super) fn tell_several(&mut self, attrs: &mut AttrStore, slot: u32, now: Vec<Told>) {
        let Sent::Several(slots) = &mut self.sent else {
            return;
        };
        for told in &now {
            attrs.hold(told.attrs);
        }
        let before = if now.is_empty() {
            slots.remove(&slot)
        } else {
            slots.insert(slot, now)
        };
        for told in before.into_iter().flatten() {
            attrs.release(told.attrs);
        }
    }

    fn forget_all(&mut self, attrs: &mut AttrStore) {
        match std::mem::replace(&mut self.sent, Sent::Best(Vec::new())) {
            Sent::Best(slots) => slots.iter().for_each(|single| attrs.release(single.attrs)),
            Sent::Several(slots) => {
                for told in slots.values().flatten() {
                    attrs.release(told.attrs);
                }
            }
        }
    }

    /// What a member that leaves for another group knows.
    fn known_to(&self, ix: PeerIx, behind: &mut Behind) {
        match &self.sent {
            Sent::Best(slots) => {
                for (slot, single) in (0..).zip(slots) {
                    if { single.attrs } != AttrId::NONE && { single.source } != ix {
                        behind.known.insert(slot);
                    }
                }
            }
            Sent::Several(slots) => {
                let ids = |(slot, told): (&u32, &Vec<Told>)| -> Vec<(u32, u32)> {
                    told.iter().map(|t| (*slot, t.id)).collect()
                };
                behind.gone.extend(slots.iter().flat_map(ids));
            }
        }
    }
}

impl<A: Address> Rib<A> {
    pub(super) fn join(
        &mut self,
        world: &mut World<'_>,
        ix: PeerIx,
        conn: ConnId,
        key: GroupKey,
        again: bool,
    ) {
        let marker = if again {
            Marker::Nothing
        } else {
            Marker::EndOfRib
        };
        let mut behind = Behind::new(marker);
        if again && let Some(group) = self.group_of(ix) {
            group.known_to(ix, &mut behind);
            // What it missed and was never told is no loss: withdrawing it is harmless.
            let before = group.members.get(&ix).and_then(|m| m.behind.as_ref());
            if let Some(before) = before {
                behind.marker = before.marker;
                behind.gone.extend_from_slice(&before.gone);
                let mut missed = before.missed.clone();
                while let Some(slot) = missed.pop() {
                    behind.known.insert(slot);
                }
            }
        }
        self.leave(world, ix);
        let slots = self.routes.len();
        let at = self.groups.iter().position(|group| group.key == key);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group::new(key, slots));
            self.groups.len() - 1
        });
        let behind = Some(behind);
        self.groups[at].members.insert(ix, Member { conn, behind });
    }

    pub(super) fn leave(&mut self, world: &mut World<'_>, ix: PeerIx) {
        let Some(at) = self.groups.iter().position(|g| g.members.contains_key(&ix)) else {
            return;
        };
        self.groups[at].members.remove(&ix);
        if self.groups[at].members.is_empty() {
            self.groups.swap_remove(at).forget_all(world.attrs);
        }
    }

    pub(crate) fn group_of(&self, ix: PeerIx) -> Option<&Group> {
        self.groups.iter().find(|g| g.members.contains_key(&ix))
    }

    /// Starts a member over; its connection, if the beginning is to be marked.
    pub(super) fn resend(&mut self, ix: PeerIx, bordered: bool) -> Option<ConnId> {
        let group = self
            .groups
            .iter_mut()
            .find(|g| g.members.contains_key(&ix))?;
        let member = group.members.get_mut(&ix)?;
        let mut fresh = Behind::new(if bordered {
            Marker::EndOfRefresh
        } else {
            Marker::Nothing
        });
        fresh.told_before = u32::MAX;
        if let Some(before) = member.behind.take() {
            fresh.told_before = before.cursor.max(before.told_before);
            // What it knows but has not been told the end of is still to be withdrawn when its turn comes.
            fresh.known = before.known;
            let mut missed = before.missed;
            while let Some(slot) = missed.pop() {
                fresh.known.insert(slot);
            }
            fresh.gone = before.gone;
            if before.marker == Marker::EndOfRib {
                fresh.marker = Marker::EndOfRib;
            }
        }
        let begins = fresh.marker == Marker::EndOfRefresh;
        member.behind = Some(fresh);
        begins.then_some(member.conn)
    }

    /// What a group is to be told of a slot now, where one path is.
    pub(super) fn best_for(&self, world: &World<'_>, key: &GroupKey, slot: u32) -> Option<Told> {
        let route = &self.routes[slot as usize];
        let path = self.paths.get(route.best() as usize)?;
        let prefix = route.net().prefix();
        key.exports(world.attrs, world.sources, prefix, path)
            .then_some(Told {
                attrs: path.attrs,
                source: path.source,
                id: 0,
            })
    }

    /// What a group is to be told of a slot now, where several paths are: the best ones.
    pub(super) fn several_for(&self, world: &World<'_>, key: &GroupKey, slot: u32) -> Vec<Told> {
        let prefix = self.routes[slot as usize].net().prefix();
        let exported =
            |at: u32| key.exports(world.attrs, world.sources, prefix, &self.paths[at as usize]);
        let all = decision::candidates(self, world.rules(), slot).filter(|c| exported(c.at));
        let limit = usize::from(key.add_path.unwrap_or(1));
        let ranked = decision::ranked(all.collect(), world.always_compare_med, limit);
        ranked
            .into_iter()
            .map(|candidate| {
                let path = &self.paths[candidate.at as usize];
                Told {
                    attrs: path.attrs,
                    source: path.source,
                    // 0 stays free.
                    id: candidate.at + 1,
                }
            })
            .collect()
    }
}
