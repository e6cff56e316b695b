//! Every attribute's own rule: its flags, its length, and what follows from breaking it (RFC 7606, section 7).

use super::{
    AGGREGATOR, AS_PATH, AS4_AGGREGATOR, AS4_PATH, ATOMIC_AGGREGATE, CLUSTER_LIST, COMMUNITIES,
    Context, EXTENDED_COMMUNITIES, Handling, LARGE_COMMUNITIES, LOCAL_PREF, MED, MP_REACH,
    MP_UNREACH, NEXT_HOP, OPTIONAL, ORIGIN, ORIGINATOR_ID, PARTIAL, TRANSITIVE, check_as_path,
};

/// What becomes of one attribute.
pub(super) enum Verdict {
    /// Stays, with these flags.
    Keep(u8),
    /// Not for us, and nothing wrong with it.
    Ignore,
    Flaw(&'static str, Handling),
}

/// The optional and transitive bits that an attribute must have; `None` for those that we do not know.
pub(super) fn flags(code: u8) -> Option<u8> {
    match code {
        ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE => Some(TRANSITIVE),
        MED | ORIGINATOR_ID | CLUSTER_LIST | MP_REACH | MP_UNREACH => Some(OPTIONAL),
        AGGREGATOR | COMMUNITIES | EXTENDED_COMMUNITIES | AS4_PATH | AS4_AGGREGATOR
        | LARGE_COMMUNITIES => Some(OPTIONAL | TRANSITIVE),
        _ => None,
    }
}

pub(super) fn value(code: u8, flags: u8, value: &[u8], context: Context) -> Verdict {
    let length = value.len();
    match code {
        ORIGIN => withdraw_unless(matches!(value, [0..=2]), flags, "value"),
        AS_PATH => withdraw_unless(check_as_path(value, context.four_octet), flags, "segments"),
        MED => withdraw_unless(length == 4, flags, "length"),
        LOCAL_PREF | ORIGINATOR_ID | CLUSTER_LIST if !context.internal => {
            Verdict::Flaw("not for external peers", Handling::DiscardAttribute)
        }
        LOCAL_PREF | ORIGINATOR_ID => withdraw_unless(length == 4, flags, "length"),
        CLUSTER_LIST | COMMUNITIES => withdraw_unless(units(length, 4), flags, "length"),
        EXTENDED_COMMUNITIES => withdraw_unless(units(length, 8), flags, "length"),
        LARGE_COMMUNITIES => withdraw_unless(units(length, 12), flags, "length"),
        ATOMIC_AGGREGATE => discard_unless(length == 0, flags),
        AGGREGATOR if context.four_octet => discard_unless(length == 8, flags),
        AGGREGATOR => discard_unless(length == 6, flags),
        // Between speakers of four-octet numbers they mean nothing (RFC 6793, section 4.1).
        AS4_PATH | AS4_AGGREGATOR if context.four_octet => Verdict::Ignore,
        AS4_PATH => discard_unless(check_as_path(value, true), flags),
        AS4_AGGREGATOR => discard_unless(length == 8, flags),
        _ => unknown(flags),
    }
}

/// Passed on if transitive, marked as not understood by all (RFC 4271, section 5).
fn unknown(flags: u8) -> Verdict {
    if flags & OPTIONAL == 0 {
        return Verdict::Flaw("unknown but not optional", Handling::TreatAsWithdraw);
    }
    if flags & TRANSITIVE == 0 {
        return Verdict::Ignore;
    }
    Verdict::Keep(OPTIONAL | TRANSITIVE | PARTIAL)
}

/// Whether a list of units of this size is whole and not empty.
fn units(length: usize, size: usize) -> bool {
    length != 0 && length.is_multiple_of(size)
}

fn keep(flags: u8) -> Verdict {
    Verdict::Keep(flags & (OPTIONAL | TRANSITIVE | PARTIAL))
}

fn withdraw_unless(right: bool, flags: u8, what: &'static str) -> Verdict {
    if right {
        keep(flags)
    } else {
        Verdict::Flaw(what, Handling::TreatAsWithdraw)
    }
}

fn discard_unless(right: bool, flags: u8) -> Verdict {
    if right {
        keep(flags)
    } else {
        Verdict::Flaw("length or segments", Handling::DiscardAttribute)
    }
}
