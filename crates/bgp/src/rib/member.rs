//! A peer in an update group: told with the others, or catching up on its own.

use super::bits::Bits;
use crate::types::ConnId;

/// What to say when everything has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Nothing,
    /// RFC 4724.
    EndOfRib,
    /// RFC 7313.
    EndOfRefresh,
}

/// A member that has not been told everything that the group has: it is new, asked for a refresh, or is slow. It
/// costs bits, not messages.
#[derive(Debug)]
pub(crate) struct Behind {
    /// Slots from here on have not been told at all.
    pub(crate) cursor: u32,
    /// Slots before this one were told in an earlier round.
    pub(crate) told_before: u32,
    /// Slots before the cursor that changed since they were told.
    pub(crate) missed: Bits,
    /// Slots after the cursor that the peer knows from the group it was in before.
    pub(crate) known: Bits,
    /// Path identifiers to be withdrawn, with their slots: from an earlier group or withdrawn meanwhile.
    pub(crate) gone: Vec<(u32, u32)>,
    pub(crate) marker: Marker,
}

impl Behind {
    /// Nothing has been told.
    pub(crate) fn new(marker: Marker) -> Self {
        Self {
            cursor: 0,
            told_before: 0,
            missed: Bits::default(),
            known: Bits::default(),
            gone: Vec::new(),
            marker,
        }
    }

    /// Notes a slot that changed, and what of it was withdrawn.
    pub(crate) fn note(&mut self, slot: u32) {
        if slot < self.cursor {
            self.missed.insert(slot);
        } else if slot < self.told_before {
            self.known.insert(slot);
        }
    }

    /// Whether the peer may know the slot.
    pub(crate) fn may_know(&self, slot: u32) -> bool {
        slot < self.cursor || slot < self.told_before
    }

    /// Whether all that is left is to tell everything from the cursor on: what members in step can share.
    pub(crate) fn is_plain(&self) -> bool {
        self.missed.is_empty() && self.known.is_empty() && self.gone.is_empty()
    }

    /// Everything has been told but what is noted from now on.
    pub(crate) fn slow() -> Self {
        Self {
            cursor: u32::MAX,
            ..Self::new(Marker::Nothing)
        }
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) conn: ConnId,
    /// Absent: told with the others.
    pub(crate) behind: Option<Behind>,
}
