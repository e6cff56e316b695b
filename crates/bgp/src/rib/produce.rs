//! Turns what changed into octets and route changes, a batch at a time, as fast as peers take them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::World;
use super::export::GroupKey;
use super::group::{Group, Told};
use super::member::{Behind, Marker};
use super::messages::{Batch, Saying};
use super::table::Rib;
use crate::attr::AttrId;
use crate::io::Output;
use crate::session::{Conn, PeerIx};
use crate::types::ConnId;
use crate::wire::encode;
use crate::wire::nlri::Address;
use crate::wire::refresh::{self, Refresh};

/// Slots in a batch.
const BATCH: u32 = 4096;
/// A group goes on while one member has less than this many octets queued; so does a member that catches up.
const LOW: usize = 256 * 1024;
/// A member that has this many octets queued goes on alone, so that it neither holds memory nor others.
pub(crate) const HIGH: usize = 4 * 1024 * 1024;

/// Where octets go.
pub(super) struct Sink<'a> {
    pub(super) conns: &'a mut BTreeMap<ConnId, Conn>,
    pub(super) outputs: &'a mut VecDeque<Output>,
    /// Connections that had nothing queued before.
    pub(super) touched: &'a mut Vec<ConnId>,
}

impl Sink<'_> {
    fn queued(&self, conn: ConnId) -> usize {
        self.conns.get(&conn).map_or(0, |to| to.queued)
    }

    fn send(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(to) = self.conns.get_mut(&conn) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        if to.queued == 0 {
            self.touched.push(conn);
        }
        to.queued += bytes.len();
        self.outputs.push_back(Output::Send { conn, bytes });
    }
}

/// What is to be said to one member because the path is its own now.
type Apart = Vec<(PeerIx, Saying)>;

impl<A: Address> Rib<A> {
    /// Goes on until something was put out or there is nothing to tell. The FIB comes first: a route should carry
    /// traffic before it attracts any.
    pub(super) fn produce(&mut self, world: &mut World<'_>, sink: &mut Sink<'_>) {
        while !self.fib.is_told() {
            let changes = self.route_changes(world);
            if !changes.is_empty() {
                sink.outputs.push_back(Output::Routes(changes));
                return;
            }
        }
        for at in 0..self.groups.len() {
            while self.groups[at].is_queued() && may_go_on(&self.groups[at], sink) {
                self.tell_group(world, sink, at);
                if !sink.outputs.is_empty() {
                    return;
                }
            }
            while self.catch_up(world, sink, at) {
                if !sink.outputs.is_empty() {
                    return;
                }
            }
        }
        self.bury();
    }

    /// One batch for all members that are told together.
    fn tell_group(&mut self, world: &mut World<'_>, sink: &mut Sink<'_>, at: usize) {
        // Out of its place while the table is read.
        let key = self.groups[at].key.clone();
        let mut batch = Batch::default();
        let mut apart = Apart::new();
        let mut touched = Vec::new();
        let mut gone = Vec::new();
        for _ in 0..BATCH {
            let Some(slot) = self.groups[at].pop() else {
                break;
            };
            let changed = if key.add_path.is_some() {
                self.change_several(world, at, &key, slot, &mut batch, &mut gone)
            } else {
                self.change_best(world, at, &key, slot, &mut batch, &mut apart)
            };
            if changed {
                touched.push(slot);
            }
        }
        if touched.is_empty() {
            return;
        }
        self.note_missed(sink, at, &touched, &gone);
        let together = |group: &Group| group.members.values().any(|m| m.behind.is_none());
        if !together(&self.groups[at]) {
            return;
        }
        let chunk = self.encode(world, &key, batch);
        for (ix, member) in &self.groups[at].members {
            if member.behind.is_none() {
                for piece in chunk.for_member(*ix) {
                    sink.send(member.conn, piece);
                }
            }
        }
        self.tell_apart(world, sink, at, &key, apart);
    }

    /// Compares one slot with what was told of it, where one path is told.
    fn change_best(
        &mut self,
        world: &mut World<'_>,
        at: usize,
        key: &GroupKey,
        slot: u32,
        batch: &mut Batch,
        apart: &mut Apart,
    ) -> bool {
        let now = self.best_for(world, key, slot);
        let before = self.groups[at].told_best(slot);
        if now == before {
            return false;
        }
        match (before, now) {
            (Some(told), None) => batch.withdraw.push(Saying { slot, told }),
            (before, Some(told)) => {
                batch.announce.push(Saying { slot, told });
                // Its new source was told the old path and is not told its own.
                if let Some(told_before) = before.filter(|b| b.source != told.source) {
                    let saying = Saying {
                        slot,
                        told: told_before,
                    };
                    apart.push((told.source, saying));
                }
            }
            (None, None) => {}
        }
        self.groups[at].tell_best(world.attrs, slot, now);
        true
    }

    /// The same where several paths are told: each by its identifier.
    fn change_several(
        &mut self,
        world: &mut World<'_>,
        at: usize,
        key: &GroupKey,
        slot: u32,
        batch: &mut Batch,
        gone: &mut Vec<(u32, u32)>,
    ) -> bool {
        let now = self.several_for(world, key, slot);
        let before = self.groups[at].told(slot);
        for told in &before {
            let same = now.iter().find(|n| n.id == told.id);
            // An identifier that passed to another source is withdrawn, and announced to all but that one.
            if same.is_none_or(|n| n.source != told.source) {
                batch.withdraw.push(Saying { slot, told: *told });
                gone.push((slot, told.id));
            }
        }
        let news = now.iter().filter(|told| !before.contains(told));
        batch
            .announce
            .extend(news.map(|told| Saying { slot, told: *told }));
        let changed = now != before;
        if changed {
            self.groups[at].tell_several(world.attrs, slot, now);
        }
        changed
    }

    /// Members that are behind note what they will have to be told; those that are too slow fall behind.
    fn note_missed(&mut self, sink: &Sink<'_>, at: usize, touched: &[u32], gone: &[(u32, u32)]) {
        for member in self.groups[at].members.values_mut() {
            if member.behind.is_none() && sink.queued(member.conn) > HIGH {
                member.behind = Some(Behind::slow());
            }
            let Some(behind) = &mut member.behind else {
                continue;
            };
            touched.iter().for_each(|slot| behind.note(*slot));
            for (slot, id) in gone {
                if behind.may_know(*slot) {
                    behind.gone.push((*slot, *id));
                }
            }
        }
    }

    fn tell_apart(
        &self,
        world: &World<'_>,
        sink: &mut Sink<'_>,
        at: usize,
        key: &GroupKey,
        mut apart: Apart,
    ) {
        apart.sort_unstable_by_key(|(ix, saying)| (*ix, saying.slot));
        for sayings in apart.chunk_by(|a, b| a.0 == b.0) {
            let ix = sayings[0].0;
            let member = self.groups[at].members.get(&ix);
            let Some(member) = member.filter(|m| m.behind.is_none()) else {
                continue;
            };
            let batch = Batch {
                withdraw: sayings.iter().map(|(_, saying)| *saying).collect(),
                announce: Vec::new(),
            };
            sink.send(member.conn, self.encode(world, key, batch).bytes);
        }
    }

    /// One batch for every member that is behind and takes octets. Whether there was one.
    fn catch_up(&mut self, world: &mut World<'_>, sink: &mut Sink<'_>, at: usize) -> bool {
        let mut in_step: BTreeMap<u32, Vec<PeerIx>> = BTreeMap::new();
        let mut alone = Vec::new();
        for (ix, member) in &self.groups[at].members {
            match &member.behind {
                Some(_) if sink.queued(member.conn) >= LOW => {}
                Some(behind) if behind.is_plain() => {
                    in_step.entry(behind.cursor).or_default().push(*ix);
                }
                Some(_) => alone.push(*ix),
                None => {}
            }
        }
        for (cursor, members) in &in_step {
            self.catch_up_together(world, sink, at, *cursor, members);
        }
        for ix in &alone {
            self.catch_up_member(world, sink, at, *ix);
        }
        !in_step.is_empty() || !alone.is_empty()
    }

    /// Members that start at the same time, as all do after a restart, are told everything in the same octets.
    fn catch_up_together(
        &mut self,
        world: &World<'_>,
        sink: &mut Sink<'_>,
        at: usize,
        cursor: u32,
        members: &[PeerIx],
    ) {
        let end = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        let until = end.min(cursor.saturating_add(BATCH)).max(cursor);
        let group = &self.groups[at];
        let mut batch = Batch::default();
        for slot in cursor..until {
            say_all(group, None, slot, false, &mut batch);
        }
        let chunk = self.encode(world, &group.key, batch);
        for ix in members {
            let Some(member) = self.groups[at].members.get_mut(ix) else {
                continue;
            };
            for piece in chunk.for_member(*ix) {
                sink.send(member.conn, piece);
            }
            if let Some(behind) = &mut member.behind {
                behind.cursor = until;
                if until >= end {
                    let tail = tail::<A>(behind.marker);
                    sink.send(member.conn, tail);
                    member.behind = None;
                }
            }
        }
    }

    fn catch_up_member(&mut self, world: &World<'_>, sink: &mut Sink<'_>, at: usize, ix: PeerIx) {
        let Some(member) = self.groups[at].members.get_mut(&ix) else {
            return;
        };
        let conn = member.conn;
        let Some(mut behind) = member.behind.take() else {
            return;
        };
        let end = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        let group = &self.groups[at];
        let mut batch = Batch::default();
        for (slot, id) in std::mem::take(&mut behind.gone) {
            if group.told(slot).iter().all(|told| told.id != id) {
                batch.withdraw.push(withdrawal(slot, id));
            }
        }
        for _ in 0..BATCH {
            let (slot, known) = match behind.missed.pop() {
                Some(slot) => (slot, true),
                None if behind.cursor < end => {
                    let slot = behind.cursor;
                    behind.cursor += 1;
                    (slot, behind.known.remove(slot))
                }
                None => break,
            };
            say_all(group, Some(ix), slot, known, &mut batch);
        }
        let done = behind.missed.is_empty() && behind.cursor >= end;
        let key = &self.groups[at].key;
        sink.send(conn, self.encode(world, key, batch).bytes);
        if done {
            sink.send(conn, tail::<A>(behind.marker));
        } else if let Some(member) = self.groups[at].members.get_mut(&ix) {
            member.behind = Some(behind);
        }
    }
}

/// What ends a round.
fn tail<A: Address>(marker: Marker) -> Bytes {
    let mut out = Vec::new();
    match marker {
        Marker::Nothing => {}
        Marker::EndOfRib => encode::end_of_rib(&mut out, A::FAMILY),
        Marker::EndOfRefresh => refresh::encode(&mut out, A::FAMILY, Refresh::End),
    }
    Bytes::from(out)
}

/// What one member (or all that are in step) is told of a slot.
fn say_all(group: &Group, ix: Option<PeerIx>, slot: u32, known: bool, batch: &mut Batch) {
    let told = match group.key.add_path {
        None => group.told_best(slot).into_iter().collect(),
        Some(_) => group.told(slot),
    };
    let own = |t: &Told| Some(t.source) == ix;
    let single = group.key.add_path.is_none();
    if single && known && told.iter().all(own) {
        batch.withdraw.push(withdrawal(slot, 0));
    }
    batch.announce.extend(
        told.into_iter()
            .filter(|t| !own(t))
            .map(|told| Saying { slot, told }),
    );
}

fn withdrawal(slot: u32, id: u32) -> Saying {
    let told = Told {
        attrs: AttrId::NONE,
        source: PeerIx::LOCAL,
        id,
    };
    Saying { slot, told }
}

/// Whether some member takes octets; a group whose members are all behind only keeps its own account.
fn may_go_on(group: &Group, sink: &Sink<'_>) -> bool {
    let mut together = group
        .members
        .values()
        .filter(|m| m.behind.is_none())
        .peekable();
    together.peek().is_none() || together.any(|m| sink.queued(m.conn) < LOW)
}
