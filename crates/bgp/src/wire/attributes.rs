//! The attribute section of an UPDATE, judged by RFC 7606, as canonical octets.
//!
//! Canonical octets hold every attribute that belongs to the path, sorted by type code, with four-octet numbers and
//! without NEXT_HOP and the multiprotocol attributes, which differ by family. Equal paths have equal octets.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::notification::Notification;
use super::update::{Reach, Unreach};

mod as_path;
mod check;

pub(crate) use as_path::{
    SEQUENCE, SET, Segments, check as check_as_path, length as as_path_length,
};

pub(crate) const ORIGIN: u8 = 1;
pub(crate) const AS_PATH: u8 = 2;
pub(crate) const NEXT_HOP: u8 = 3;
pub(crate) const MED: u8 = 4;
pub(crate) const LOCAL_PREF: u8 = 5;
pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
pub(crate) const AGGREGATOR: u8 = 7;
pub(crate) const COMMUNITIES: u8 = 8;
pub(crate) const ORIGINATOR_ID: u8 = 9;
pub(crate) const CLUSTER_LIST: u8 = 10;
pub(crate) const MP_REACH: u8 = 14;
pub(crate) const MP_UNREACH: u8 = 15;
pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
pub(crate) const AS4_PATH: u8 = 17;
pub(crate) const AS4_AGGREGATOR: u8 = 18;
pub(crate) const LARGE_COMMUNITIES: u8 = 32;

pub(crate) const OPTIONAL: u8 = 0x80;
pub(crate) const TRANSITIVE: u8 = 0x40;
pub(crate) const PARTIAL: u8 = 0x20;
pub(crate) const EXTENDED: u8 = 0x10;

/// What a section is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    /// Whether the session speaks four-octet numbers (RFC 6793).
    pub(crate) four_octet: bool,
    /// Whether the peer is internal.
    pub(crate) internal: bool,
    /// Whether prefixes follow in the NLRI field: then NEXT_HOP is mandatory.
    pub(crate) nlri: bool,
}

/// Something wrong that does not end the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// The attribute; 0: the section.
    pub(crate) code: u8,
    pub(crate) what: &'static str,
    pub(crate) handling: Handling,
}

/// What is done about a flaw (RFC 7606, section 2); the third answer is the error of [`decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    DiscardAttribute,
    TreatAsWithdraw,
}

impl std::fmt::Display for Handling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DiscardAttribute => "attribute discarded",
            Self::TreatAsWithdraw => "treated as withdraw",
        })
    }
}

/// What a section holds beside the canonical octets.
#[derive(Debug, Default)]
pub(crate) struct Decoded<'a> {
    pub(crate) next_hop: Option<Ipv4Addr>,
    pub(crate) reach: Option<Reach<'a>>,
    pub(crate) unreach: Option<Unreach<'a>>,
    pub(crate) flaws: Vec<Flaw>,
}

impl Decoded<'_> {
    pub(crate) fn treat_as_withdraw(&self) -> bool {
        self.flaws
            .iter()
            .any(|flaw| flaw.handling == Handling::TreatAsWithdraw)
    }

    fn flaw(&mut self, code: u8, what: &'static str, handling: Handling) {
        self.flaws.push(Flaw {
            code,
            what,
            handling,
        });
    }
}

/// One attribute that stays.
struct Entry<'a> {
    code: u8,
    flags: u8,
    value: Cow<'a, [u8]>,
}

/// Reads a section; `canonical` is overwritten. An error ends the session.
pub(crate) fn decode<'a>(
    section: &'a [u8],
    context: Context,
    canonical: &mut Vec<u8>,
) -> Result<Decoded<'a>, Notification> {
    let mut decoded = Decoded::default();
    let mut entries: Vec<Entry<'a>> = Vec::with_capacity(12);
    let mut seen = Seen::default();
    let mut rest = section;
    while !rest.is_empty() {
        let Some((flags, code, value, after)) = split(rest) else {
            let what = "an attribute is longer than the section";
            decoded.flaw(0, what, Handling::TreatAsWithdraw);
            break;
        };
        rest = after;
        if seen.again(code) {
            if matches!(code, MP_REACH | MP_UNREACH) {
                return Err(Notification::new(3, 1, Vec::new()));
            }
            decoded.flaw(code, "attribute twice", Handling::DiscardAttribute);
            continue;
        }
        one(&mut decoded, &mut entries, flags, code, value, context)?;
    }
    mandatory(&mut decoded, &seen, context);
    if !context.four_octet {
        as_path::widen(&mut entries);
    }
    entries.sort_unstable_by_key(|entry| entry.code);
    canonical.clear();
    for entry in &entries {
        put(canonical, entry.flags, entry.code, &entry.value);
    }
    Ok(decoded)
}

/// Splits off one attribute: flags, code, value and what follows.
pub(crate) fn split(section: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let (&[flags, code], rest) = section.split_first_chunk()?;
    let (length, rest) = if flags & EXTENDED != 0 {
        let (length, rest) = rest.split_first_chunk()?;
        (usize::from(u16::from_be_bytes(*length)), rest)
    } else {
        let (&length, rest) = rest.split_first()?;
        (usize::from(length), rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((flags, code, value, rest))
}

/// Walks canonical octets: flags, code, value.
pub(crate) fn walk(mut section: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let (flags, code, value, rest) = split(section)?;
        section = rest;
        Some((flags, code, value))
    })
}

/// Appends an attribute.
pub(crate) fn put(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    put_header(out, flags, code, value.len());
    out.extend_from_slice(value);
}

/// Appends flags, code and length; the value has to follow.
pub(crate) fn put_header(out: &mut Vec<u8>, flags: u8, code: u8, length: usize) {
    match u8::try_from(length) {
        Ok(short) => out.extend_from_slice(&[flags & !EXTENDED, code, short]),
        Err(_) => {
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            out.extend_from_slice(&[flags | EXTENDED, code, high, low]);
        }
    }
}

/// Codes that were there.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    /// Notes a code; whether it was there before.
    fn again(&mut self, code: u8) -> bool {
        let (word, bit) = (usize::from(code >> 6), 1 << (code & 63));
        let before = self.0[word] & bit != 0;
        self.0[word] |= bit;
        before
    }

    fn has(&self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & 1 << (code & 63) != 0
    }
}

fn one<'a>(
    decoded: &mut Decoded<'a>,
    entries: &mut Vec<Entry<'a>>,
    flags: u8,
    code: u8,
    value: &'a [u8],
    context: Context,
) -> Result<(), Notification> {
    if let Some(expected) = check::flags(code)
        && flags & (OPTIONAL | TRANSITIVE) != expected
    {
        decoded.flaw(code, "attribute flags", Handling::TreatAsWithdraw);
        // The prefixes inside are still what is withdrawn.
        if !matches!(code, MP_REACH | MP_UNREACH) {
            return Ok(());
        }
    }
    match code {
        MP_REACH => decoded.reach = Reach::decode(value)?,
        MP_UNREACH => decoded.unreach = Unreach::decode(value)?,
        NEXT_HOP => match <[u8; 4]>::try_from(value) {
            Ok(octets) => decoded.next_hop = Some(octets.into()),
            Err(_) => decoded.flaw(code, "length", Handling::TreatAsWithdraw),
        },
        _ => match check::value(code, flags, value, context) {
            check::Verdict::Keep(flags) => entries.push(Entry {
                code,
                flags,
                value: Cow::Borrowed(value),
            }),
            check::Verdict::Ignore => {}
            check::Verdict::Flaw(what, handling) => decoded.flaw(code, what, handling),
        },
    }
    Ok(())
}

/// Well-known mandatory attributes (RFC 7606, section 3 d), asked for only where there is a route to carry them.
fn mandatory(decoded: &mut Decoded<'_>, seen: &Seen, context: Context) {
    let multiprotocol = decoded.reach.is_some_and(|reach| !reach.nlri.is_empty());
    if !context.nlri && !multiprotocol {
        return;
    }
    let wanted = [
        (ORIGIN, true),
        (AS_PATH, true),
        (NEXT_HOP, context.nlri),
        (LOCAL_PREF, context.internal),
    ];
    for (code, _) in wanted
        .into_iter()
        .filter(|(code, w)| *w && !seen.has(*code))
    {
        decoded.flaw(code, "missing", Handling::TreatAsWithdraw);
    }
}
