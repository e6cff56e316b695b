//! Batches of changes as octets that all members of a group share.

use bytes::Bytes;

use super::World;
use super::export::{GroupKey, outbound};
use super::group::Told;
use super::table::Rib;
use crate::attr::AttrId;
use crate::session::PeerIx;
use crate::wire::encode::{self, Item};
use crate::wire::nlri::Address;

/// Something to say of a slot. The source of a path is not told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saying {
    pub(super) slot: u32,
    pub(super) told: Told,
}

/// What a batch says.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) withdraw: Vec<Saying>,
    pub(super) announce: Vec<Saying>,
}

/// Octets for all members, and which of them are not for the source of what they say.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// In the order of the octets; a source has at most one part for what it withdrew and one for what it announced.
    parts: Vec<(PeerIx, usize, usize)>,
    /// Sorted, for a quick no.
    sources: Vec<PeerIx>,
}

impl Chunk {
    /// The octets that are for this member.
    pub(super) fn for_member(&self, ix: PeerIx) -> Vec<Bytes> {
        if self.sources.binary_search(&ix).is_err() {
            return vec![self.bytes.clone()];
        }
        let mut pieces = Vec::new();
        let mut from = 0;
        for (_, start, end) in self.parts.iter().filter(|(source, ..)| *source == ix) {
            pieces.push(self.bytes.slice(from..*start));
            from = *end;
        }
        pieces.push(self.bytes.slice(from..));
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

impl<A: Address> Rib<A> {
    /// Puts a batch into octets: withdrawals first, then one run per source and attributes.
    pub(super) fn encode(&self, world: &World<'_>, key: &GroupKey, mut batch: Batch) -> Chunk {
        let mut out = Vec::new();
        let mut parts = Vec::new();
        let mut items: Vec<Item<A>> = Vec::new();
        let mut unsayable = Vec::new();
        batch
            .announce
            .sort_unstable_by_key(|s| (s.told.source, s.told.attrs, s.slot, s.told.id));
        let mut announced = Vec::new();
        let mut section = Vec::new();
        for of_source in batch
            .announce
            .chunk_by(|a, b| a.told.source == b.told.source)
        {
            let source = of_source[0].told.source;
            let start = announced.len();
            for run in of_source.chunk_by(|a, b| a.told.attrs == b.told.attrs) {
                let id: AttrId = run[0].told.attrs;
                let from = &world.sources[source.at()];
                let next_hop = outbound(key, world.attrs, id, from, &mut section);
                self.items(key, run, &mut items);
                if !encode::announce(&mut announced, &section, next_hop, &items, key.max_message) {
                    unsayable.extend_from_slice(run);
                }
            }
            parts.push((source, start, announced.len()));
        }
        // A route whose attributes fill a message is not told; what was told of it before must not stay.
        batch.withdraw.extend(unsayable);
        batch
            .withdraw
            .sort_unstable_by_key(|s| (s.told.source, s.slot, s.told.id));
        let mut withdrawn = Vec::new();
        for run in batch
            .withdraw
            .chunk_by(|a, b| a.told.source == b.told.source)
        {
            let start = out.len();
            self.items(key, run, &mut items);
            encode::withdraw(&mut out, &items, key.max_message);
            withdrawn.push((run[0].told.source, start, out.len()));
        }
        let shift = out.len();
        out.extend_from_slice(&announced);
        withdrawn.extend(parts.iter().map(|(s, a, b)| (*s, a + shift, b + shift)));
        let mut sources: Vec<PeerIx> = withdrawn.iter().map(|(source, ..)| *source).collect();
        sources.sort_unstable();
        Chunk {
            bytes: Bytes::from(out),
            parts: withdrawn,
            sources,
        }
    }

    fn items(&self, key: &GroupKey, run: &[Saying], items: &mut Vec<Item<A>>) {
        items.clear();
        let identified = key.add_path.is_some();
        items.extend(run.iter().map(|saying| {
            let net = self.routes[saying.slot as usize].net();
            (net, identified.then_some(saying.told.id))
        }));
    }
}
