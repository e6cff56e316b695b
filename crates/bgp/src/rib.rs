//! Routes: Adj-RIB-In, best paths, and what goes out of them to peers and to the FIB.
//!
//! A prefix is a slot in a slab, found by hash; its paths are a short list in another slab, the best path first, 24 octets each,
//! their attributes interned. Everything that follows changes — update groups, the FIB — keeps a queue of slots and a bit
//! per slot, and compares with what it last told when its turn comes: a slot that changed ten times meanwhile
//! is told once, and one that changed back is not told at all.

mod bits;
mod decision;
mod export;
mod fib;
mod group;
mod member;
mod messages;
mod path;
mod produce;
mod stale;
mod table;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::attr::{AttrId, AttrStore};
use crate::config::SpeakerConfig;
use crate::io::{NextHopState, Output};
use crate::session::{Conn, PeerIx};
use crate::types::{ConnId, Family, Prefix};
use crate::view::RejectReason;
use crate::wire::nlri::{Address, Net};

pub(crate) use decision::{Candidate, Step, candidates, ranked};
pub(crate) use export::{GroupKey, GroupKind, matches_communities, outbound, tells_own_next_hop};
pub(crate) use path::{Path, PathFlags};
pub(crate) use produce::HIGH as OUTBOUND_LIMIT;
pub(crate) use table::Rib;

/// What became of attributes that a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    /// As received.
    pub(crate) received: AttrId,
    /// After policy.
    pub(crate) accepted: Result<AttrId, RejectReason>,
}

impl Judged {
    /// For a prefix that may be refused on its own account.
    pub(crate) fn with(self, refused: Option<RejectReason>) -> Self {
        Self {
            accepted: refused.map_or(self.accepted, Err),
            ..self
        }
    }

    /// Gives back a reference to each set.
    pub(crate) fn release(self, attrs: &mut AttrStore) {
        attrs.release(self.received);
        if let Ok(accepted) = self.accepted {
            attrs.release(accepted);
        }
    }
}

/// Whom a path is from, as path selection and reflection see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) kind: SourceKind,
    pub(crate) router_id: u32,
    pub(crate) address: IpAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// Ourselves.
    Local,
    External,
    Internal,
    /// An internal peer that is our client as a reflector.
    Client,
}

/// What tables need beside themselves.
pub(crate) struct World<'a> {
    pub(crate) attrs: &'a mut AttrStore,
    pub(crate) sources: &'a [Source],
    pub(crate) always_compare_med: bool,
    pub(crate) rejected_kept: u32,
}

impl World<'_> {
    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            attrs: self.attrs,
            sources: self.sources,
            always_compare_med: self.always_compare_med,
        }
    }
}

/// What path selection looks at beside the paths.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) attrs: &'a AttrStore,
    pub(crate) sources: &'a [Source],
    pub(crate) always_compare_med: bool,
}

/// All tables.
#[derive(Debug)]
pub(crate) struct Ribs {
    pub(crate) attrs: AttrStore,
    sources: Vec<Source>,
    always_compare_med: bool,
    rejected_kept: u32,
    pub(crate) v4: Rib<u32>,
    pub(crate) v6: Rib<u128>,
}

/// Runs an expression on the table of a family, with the rest of the world.
macro_rules! on {
    ($ribs:expr, $family:expr, |$rib:ident, $world:ident| $do:expr) => {{
        #[allow(
            unused_mut,
            unused_variables,
            clippy::allow_attributes,
            reason = "not every use changes or looks at the world, so that `expect` would not hold for all"
        )]
        let mut $world = World {
            attrs: &mut $ribs.attrs,
            sources: &$ribs.sources,
            always_compare_med: $ribs.always_compare_med,
            rejected_kept: $ribs.rejected_kept,
        };
        match $family {
            Family::Ipv4Unicast => {
                let $rib = &mut $ribs.v4;
                $do
            }
            Family::Ipv6Unicast => {
                let $rib = &mut $ribs.v6;
                $do
            }
        }
    }};
}

/// The table of an address type.
pub(crate) trait Tables<A> {
    fn split(&mut self) -> (&mut Rib<A>, World<'_>);
}

/// Implements [`Tables`] for one family.
macro_rules! tables {
    ($address:ty, $table:ident) => {
        impl Tables<$address> for Ribs {
            fn split(&mut self) -> (&mut Rib<$address>, World<'_>) {
                let world = World {
                    attrs: &mut self.attrs,
                    sources: &self.sources,
                    always_compare_med: self.always_compare_med,
                    rejected_kept: self.rejected_kept,
                };
                (&mut self.$table, world)
            }
        }
    };
}
tables!(u32, v4);
tables!(u128, v6);

impl Ribs {
    pub(crate) fn new(config: &SpeakerConfig, seed: u64, assume: bool) -> Self {
        let local = Source {
            kind: SourceKind::Local,
            router_id: config.router_id.get(),
            address: IpAddr::V4(config.router_id.into()),
        };
        Self {
            attrs: AttrStore::new(seed, assume),
            sources: vec![local],
            always_compare_med: config.always_compare_med,
            rejected_kept: config.rejected_kept,
            v4: Rib::new(seed, config),
            v6: Rib::new(seed, config),
        }
    }

    pub(crate) fn configure(&mut self, config: &SpeakerConfig) {
        self.always_compare_med = config.always_compare_med;
        self.rejected_kept = config.rejected_kept;
        self.sources[0].router_id = config.router_id.get();
        self.v4.configure_fib(config);
        self.v6.configure_fib(config);
    }

    /// Says who a peer is, before its first route.
    pub(crate) fn set_source(&mut self, ix: PeerIx, source: Source) {
        if self.sources.len() <= ix.at() {
            let local = self.sources[0];
            self.sources.resize(ix.at() + 1, local);
        }
        self.sources[ix.at()] = source;
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            attrs: &self.attrs,
            sources: &self.sources,
            always_compare_med: self.always_compare_med,
        }
    }

    pub(crate) fn source(&self, ix: PeerIx) -> Source {
        self.sources[ix.at()]
    }

    pub(crate) fn learn<A: Address>(
        &mut self,
        ix: PeerIx,
        net: Net<A>,
        path_id: u32,
        judged: Judged,
    ) where
        Self: Tables<A>,
    {
        let (rib, mut world) = self.split();
        rib.learn(&mut world, ix, net, path_id, judged);
    }

    pub(crate) fn forget<A: Address>(&mut self, ix: PeerIx, net: Net<A>, path_id: u32)
    where
        Self: Tables<A>,
    {
        let (rib, mut world) = self.split();
        rib.forget(&mut world, ix, net, path_id);
    }

    pub(crate) fn learn_prefix(
        &mut self,
        ix: PeerIx,
        prefix: Prefix,
        path_id: u32,
        judged: Judged,
    ) {
        on!(
            self,
            prefix.family(),
            |rib, world| if let Some(net) = Net::from_prefix(prefix) {
                rib.learn(&mut world, ix, net, path_id, judged);
            }
        );
    }

    pub(crate) fn learn_local(&mut self, prefix: Prefix, attrs: AttrId) {
        let judged = Judged {
            received: attrs,
            accepted: Ok(attrs),
        };
        self.learn_prefix(PeerIx::LOCAL, prefix, 0, judged);
    }

    pub(crate) fn forget_local(&mut self, prefix: Prefix) {
        on!(
            self,
            prefix.family(),
            |rib, world| if let Some(net) = Net::from_prefix(prefix) {
                rib.forget(&mut world, PeerIx::LOCAL, net, 0);
            }
        );
    }

    /// Paths of a peer, refused ones that were kept included.
    pub(crate) fn paths(&self, ix: PeerIx, family: Family) -> u32 {
        match family {
            Family::Ipv4Unicast => self.v4.peer(ix).paths,
            Family::Ipv6Unicast => self.v6.peer(ix).paths,
        }
    }

    /// Whether refused routes of a peer were only counted, so that nobody knows them any more.
    pub(crate) fn has_forgotten(&self, ix: PeerIx) -> bool {
        self.v4.peer(ix).forgotten || self.v6.peer(ix).forgotten
    }

    /// Everything that a peer announced: prefix, path identifier, attributes as received.
    pub(crate) fn received(&mut self, ix: PeerIx, family: Family) -> Vec<(Prefix, u32, AttrId)> {
        on!(self, family, |rib, world| rib.received(ix))
    }

    pub(crate) fn remove_all(&mut self, ix: PeerIx, family: Family) {
        on!(self, family, |rib, world| rib.remove_all(&mut world, ix));
    }

    pub(crate) fn mark_stale(&mut self, ix: PeerIx, family: Family) -> u32 {
        on!(self, family, |rib, world| rib.mark_stale(ix))
    }

    pub(crate) fn remove_stale(&mut self, ix: PeerIx, family: Family) -> u32 {
        on!(self, family, |rib, world| rib.remove_marked(
            &mut world,
            ix,
            PathFlags::STALE
        ))
    }

    pub(crate) fn make_long_lived(&mut self, ix: PeerIx, family: Family) -> u32 {
        on!(self, family, |rib, world| rib
            .make_long_lived(&mut world, ix))
    }

    pub(crate) fn begin_refresh(&mut self, ix: PeerIx, family: Family) {
        on!(self, family, |rib, world| rib.begin_refresh(ix));
    }

    pub(crate) fn end_refresh(&mut self, ix: PeerIx, family: Family) -> u32 {
        on!(self, family, |rib, world| rib.remove_marked(
            &mut world,
            ix,
            PathFlags::AWAITING_REFRESH
        ))
    }

    pub(crate) fn set_next_hops(&mut self, states: &[(IpAddr, NextHopState)]) {
        let mut changed = Vec::new();
        for (address, state) in states {
            let metric = match state {
                NextHopState::Reachable(metric) => Some(*metric),
                NextHopState::Unreachable => None,
            };
            changed.extend(self.attrs.set_next_hop(*address, metric));
        }
        if changed.is_empty() {
            return;
        }
        changed.sort_unstable();
        for family in Family::ALL {
            on!(self, family, |rib, world| rib
                .next_hops_changed(&mut world, &changed));
        }
    }

    /// Selects anew everywhere, after the rules changed.
    pub(crate) fn select_all(&mut self) {
        for family in Family::ALL {
            on!(self, family, |rib, world| rib.select_all(&mut world));
        }
    }

    /// Makes a peer a member of the group that is told the same as it. `again`: it was in another before and has to be
    /// told the difference.
    pub(crate) fn join(
        &mut self,
        family: Family,
        ix: PeerIx,
        conn: ConnId,
        key: GroupKey,
        again: bool,
    ) {
        on!(self, family, |rib, world| rib
            .join(&mut world, ix, conn, key, again));
    }

    pub(crate) fn leave(&mut self, ix: PeerIx) {
        for family in Family::ALL {
            on!(self, family, |rib, world| {
                rib.leave(&mut world, ix);
            });
        }
    }

    /// Tells a member everything once more; its connection, if the beginning is to be marked (RFC 7313).
    pub(crate) fn resend(&mut self, ix: PeerIx, family: Family, bordered: bool) -> Option<ConnId> {
        on!(self, family, |rib, world| rib.resend(ix, bordered))
    }

    /// Puts together updates or route changes until there are outputs or nothing more to tell. Connections that had
    /// nothing queued before are returned.
    pub(crate) fn produce(
        &mut self,
        conns: &mut BTreeMap<ConnId, Conn>,
        outputs: &mut VecDeque<Output>,
    ) -> Vec<ConnId> {
        let mut touched = Vec::new();
        for family in Family::ALL {
            let mut sink = produce::Sink {
                conns,
                outputs,
                touched: &mut touched,
            };
            on!(self, family, |rib, world| rib
                .produce(&mut world, &mut sink));
            if !sink.outputs.is_empty() {
                break;
            }
        }
        touched
    }

    /// Whether the FIB knows everything.
    pub(crate) fn fib_is_told(&self) -> bool {
        self.v4.fib_is_told() && self.v6.fib_is_told()
    }
}
