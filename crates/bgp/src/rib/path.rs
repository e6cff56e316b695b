//! A prefix and a path, as they lie in the slabs.

use super::table::NONE;
use crate::attr::AttrId;
use crate::session::PeerIx;
use crate::view::RejectReason;
use crate::wire::nlri::{Address, Net};

/// A prefix.
#[derive(Debug)]
pub(crate) struct Route<A> {
    pub(super) bits: A,
    pub(super) length: u8,
    /// First path.
    pub(super) head: u32,
    /// Whether the first path is the best one: it always is, unless none is eligible.
    pub(super) chosen: bool,
    /// Whether it is in the list of slots without paths.
    pub(super) ghost: bool,
}

impl<A: Address> Route<A> {
    pub(crate) fn net(&self) -> Net<A> {
        Net {
            bits: self.bits,
            length: self.length,
        }
    }

    /// Best path, or [`NONE`].
    pub(crate) fn best(&self) -> u32 {
        if self.chosen { self.head } else { NONE }
    }
}

/// Marks of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PathFlags(u8);

impl PathFlags {
    /// Kept by graceful restart.
    pub(crate) const STALE: Self = Self(1);
    /// Not yet told again since the refresh began.
    pub(crate) const AWAITING_REFRESH: Self = Self(2);

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }
}

/// What follows a path in the list of its prefix: another path, or after the last one the prefix itself, so that no
/// path has to say whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(u32);

impl Link {
    /// Marks a prefix; slabs have half as many places for it.
    const END: u32 = 1 << 31;

    pub(super) fn to(path: u32) -> Self {
        Self(path)
    }

    pub(super) fn end(slot: u32) -> Self {
        Self(slot | Self::END)
    }

    /// The next path; none after the last one.
    pub(super) fn path(self) -> Option<u32> {
        (self.0 & Self::END == 0).then_some(self.0)
    }

    /// Whose list it is, after the last path.
    pub(super) fn slot(self) -> u32 {
        self.0 & !Self::END
    }
}

/// A path, in the list of its prefix and in that of its peer. Its place in the slab is its identifier where several
/// paths of a prefix are sent (RFC 7911): it stays while the path does.
#[derive(Debug)]
pub(crate) struct Path {
    pub(super) next: Link,
    pub(super) peer_next: u32,
    pub(super) peer_previous: u32,
    /// As received.
    pub(crate) received: AttrId,
    /// After policy; none if refused.
    pub(crate) attrs: AttrId,
    pub(crate) source: PeerIx,
    pub(crate) flags: PathFlags,
    pub(crate) rejected: Option<RejectReason>,
}

// There are as many as the fabric has addresses, or more.
const _: () = assert!(size_of::<Route<u32>>() == 12 && size_of::<Path>() == 24);
