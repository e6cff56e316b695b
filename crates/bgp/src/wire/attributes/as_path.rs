//! AS_PATH: its segments, and the passage from two-octet to four-octet numbers (RFC 6793, section 4.2.3).

use std::borrow::Cow;

use super::{AGGREGATOR, AS_PATH, AS4_AGGREGATOR, AS4_PATH, Entry};
use crate::types::Asn;

pub(crate) const SET: u8 = 1;
pub(crate) const SEQUENCE: u8 = 2;

/// Segments of a checked path of four-octet numbers: kind and numbers.
pub(crate) struct Segments<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [[u8; 4]]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[kind, count], rest) = self.0.split_first_chunk()?;
        let (numbers, rest) = rest.split_at_checked(usize::from(count) * 4)?;
        self.0 = rest;
        Some((kind, numbers.as_chunks().0))
    }
}

/// Whether a path consists of whole segments of known kind, none of them empty (RFC 7606, section 7.2). Confederation
/// segments do not belong on a session that is in none (RFC 5065, section 5.3); number 0 belongs nowhere (RFC 7607).
pub(crate) fn check(mut path: &[u8], four_octet: bool) -> bool {
    let size = if four_octet { 4 } else { 2 };
    while let Some((&[kind, count], rest)) = path.split_first_chunk() {
        let Some((numbers, rest)) = rest.split_at_checked(usize::from(count) * size) else {
            return false;
        };
        let zero = numbers
            .chunks_exact(size)
            .any(|number| number.iter().all(|octet| *octet == 0));
        if !matches!(kind, SET | SEQUENCE) || count == 0 || zero {
            return false;
        }
        path = rest;
    }
    path.is_empty()
}

/// Turns what a two-octet speaker sent into what a four-octet speaker would have sent.
pub(super) fn widen(entries: &mut Vec<Entry<'_>>) {
    let mut newer_path = None;
    let mut newer_aggregator = None;
    entries.retain_mut(|entry| {
        let value = std::mem::take(&mut entry.value);
        match entry.code {
            AS4_PATH => newer_path = Some(value.into_owned()),
            AS4_AGGREGATOR => newer_aggregator = Some(value.into_owned()),
            _ => {
                entry.value = value;
                return true;
            }
        }
        false
    });
    let mut ignore_newer = false;
    if let Some(entry) = entries.iter_mut().find(|e| e.code == AGGREGATOR) {
        let [high, low, address @ ..] = &*entry.value else {
            return;
        };
        // A number that fits says that whoever wrote the newer attributes was not the last to touch the path.
        ignore_newer = u16::from_be_bytes([*high, *low]) != Asn::TRANS;
        entry.value = match newer_aggregator {
            Some(newer) if !ignore_newer => Cow::Owned(newer),
            _ => Cow::Owned([&[0, 0, *high, *low], address].concat()),
        };
    }
    if let Some(entry) = entries.iter_mut().find(|e| e.code == AS_PATH) {
        let newer = newer_path.filter(|_| !ignore_newer);
        entry.value = Cow::Owned(merge(&entry.value, newer.as_deref()));
    }
}

/// The older path's leading part, then the newer path; the older one alone if it is the shorter.
fn merge(older: &[u8], newer: Option<&[u8]>) -> Vec<u8> {
    let wide = wide(older);
    let Some(newer) = newer else {
        return wide;
    };
    let Some(mut lead) = length(&wide).checked_sub(length(newer)) else {
        return wide;
    };
    let mut merged = Vec::with_capacity(wide.len());
    for (kind, numbers) in Segments(&wide) {
        let taken = match kind {
            SET if lead > 0 => numbers.len(),
            SET => 0,
            _ => numbers.len().min(lead),
        };
        if taken == 0 {
            break;
        }
        lead -= if kind == SET { 1 } else { taken };
        merged.extend_from_slice(&[kind, u8::try_from(taken).unwrap_or(u8::MAX)]);
        merged.extend_from_slice(numbers[..taken].as_flattened());
    }
    merged.extend_from_slice(newer);
    merged
}

fn wide(mut older: &[u8]) -> Vec<u8> {
    let mut wide = Vec::with_capacity(older.len() * 2);
    while let Some((&[kind, count], rest)) = older.split_first_chunk() {
        let Some((numbers, rest)) = rest.split_at_checked(usize::from(count) * 2) else {
            break;
        };
        wide.extend_from_slice(&[kind, count]);
        for number in numbers.as_chunks::<2>().0 {
            wide.extend_from_slice(&[0, 0, number[0], number[1]]);
        }
        older = rest;
    }
    wide
}

/// Length as in path selection: a set counts one (RFC 4271, section 9.1.2.2 a).
pub(crate) fn length(path: &[u8]) -> usize {
    Segments(path)
        .map(|(kind, numbers)| if kind == SET { 1 } else { numbers.len() })
        .sum()
}
