//! UPDATEs: as few as the sizes allow.

use std::net::IpAddr;

use super::attributes::{
    self, AGGREGATOR, AS_PATH, AS4_AGGREGATOR, AS4_PATH, OPTIONAL, Segments, TRANSITIVE,
};
use super::nlri::{Address, Net};
use super::{HEADER, Kind, message};
use crate::types::{Asn, Family};

/// A prefix with its identifier, where identifiers are spoken.
pub(crate) type Item<A> = (Net<A>, Option<u32>);

/// Octets that an item takes.
fn size<A: Address>((net, id): Item<A>) -> usize {
    1 + usize::from(net.length.div_ceil(8)) + if id.is_some() { 4 } else { 0 }
}

/// Takes items from the front while they fit.
fn fit<A: Address>(items: &[Item<A>], room: usize) -> usize {
    let mut used = 0;
    let fits = |item: &&Item<A>| {
        used += size(**item);
        used <= room
    };
    items.iter().take_while(fits).count()
}

/// UPDATEs that announce `items` with one attribute section, which must not hold a next hop.
///
/// False: not one prefix fits beside the attributes, nothing was written.
pub(crate) fn announce<A: Address>(
    out: &mut Vec<u8>,
    section: &[u8],
    next_hop: IpAddr,
    mut items: &[Item<A>],
    max: usize,
) -> bool {
    while !items.is_empty() {
        let taken = match next_hop {
            IpAddr::V4(hop) if A::FAMILY == Family::Ipv4Unicast => {
                let room = max.saturating_sub(HEADER + 4 + section.len() + 7);
                let taken = fit(items, room);
                if taken > 0 {
                    classic(out, section, &hop.octets(), &items[..taken]);
                }
                taken
            }
            IpAddr::V4(hop) => multiprotocol(out, section, &hop.octets(), items, max),
            IpAddr::V6(hop) => multiprotocol(out, section, &hop.octets(), items, max),
        };
        if taken == 0 {
            return false;
        }
        items = &items[taken..];
    }
    true
}

/// IPv4 in its own fields; NEXT_HOP goes where its code belongs.
fn classic<A: Address>(out: &mut Vec<u8>, section: &[u8], next_hop: &[u8], items: &[Item<A>]) {
    message(out, Kind::Update, |out| {
        out.extend_from_slice(&[0, 0]);
        put_length(out, section.len() + 3 + next_hop.len());
        let mut rest = section;
        let mut head = 0;
        while let Some((_, code, _, after)) = attributes::split(rest)
            && code < attributes::NEXT_HOP
        {
            rest = after;
            head = section.len() - after.len();
        }
        out.extend_from_slice(&section[..head]);
        attributes::put(out, TRANSITIVE, attributes::NEXT_HOP, next_hop);
        out.extend_from_slice(&section[head..]);
        put_items(out, items);
    });
}

/// MP_REACH_NLRI first, so that it is found whatever follows (RFC 7606, section 5.1).
fn multiprotocol<A: Address>(
    out: &mut Vec<u8>,
    section: &[u8],
    next_hop: &[u8],
    items: &[Item<A>],
    max: usize,
) -> usize {
    let fixed = 5 + next_hop.len();
    let room = max.saturating_sub(HEADER + 4 + section.len() + 4 + fixed);
    let taken = fit(items, room);
    if taken == 0 {
        return 0;
    }
    let nlri: usize = items[..taken].iter().map(|item| size(*item)).sum();
    message(out, Kind::Update, |out| {
        out.extend_from_slice(&[0, 0]);
        put_length(out, section.len() + 4 + fixed + nlri);
        out.extend_from_slice(&[OPTIONAL | attributes::EXTENDED, attributes::MP_REACH]);
        put_length(out, fixed + nlri);
        let [afi_high, afi_low, _, safi] = A::FAMILY.wire();
        let hop_length = u8::try_from(next_hop.len()).unwrap_or(0);
        out.extend_from_slice(&[afi_high, afi_low, safi, hop_length]);
        out.extend_from_slice(next_hop);
        out.push(0);
        put_items(out, &items[..taken]);
        out.extend_from_slice(section);
    });
    taken
}

/// UPDATEs that withdraw.
pub(crate) fn withdraw<A: Address>(out: &mut Vec<u8>, mut items: &[Item<A>], max: usize) {
    let classic = A::FAMILY == Family::Ipv4Unicast;
    let around = if classic { 4 } else { 4 + 4 + 3 };
    while !items.is_empty() {
        // The smallest maximum holds hundreds of prefixes.
        let taken = fit(items, max - HEADER - around).max(1);
        let (now, later) = items.split_at(taken);
        let nlri: usize = now.iter().map(|item| size(*item)).sum();
        message(out, Kind::Update, |out| {
            if classic {
                put_length(out, nlri);
                put_items(out, now);
                out.extend_from_slice(&[0, 0]);
            } else {
                out.extend_from_slice(&[0, 0]);
                put_length(out, 4 + 3 + nlri);
                unreach(out, A::FAMILY, nlri);
                put_items(out, now);
            }
        });
        items = later;
    }
}

/// Says that everything has been told (RFC 4724, section 2).
pub(crate) fn end_of_rib(out: &mut Vec<u8>, family: Family) {
    message(out, Kind::Update, |out| match family {
        Family::Ipv4Unicast => out.extend_from_slice(&[0; 4]),
        Family::Ipv6Unicast => {
            out.extend_from_slice(&[0, 0]);
            put_length(out, 7);
            unreach(out, family, 0);
        }
    });
}

fn unreach(out: &mut Vec<u8>, family: Family, nlri: usize) {
    out.extend_from_slice(&[OPTIONAL | attributes::EXTENDED, attributes::MP_UNREACH]);
    put_length(out, 3 + nlri);
    let [afi_high, afi_low, _, safi] = family.wire();
    out.extend_from_slice(&[afi_high, afi_low, safi]);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
}

fn put_items<A: Address>(out: &mut Vec<u8>, items: &[Item<A>]) {
    for (net, id) in items {
        net.put(*id, out);
    }
}

/// Attributes for a speaker of two-octet numbers: what does not fit goes beside (RFC 6793, section 4.2.2).
pub(crate) fn narrow(section: &[u8], out: &mut Vec<u8>) {
    let both = OPTIONAL | TRANSITIVE;
    let mut beside: Vec<(u8, &[u8])> = Vec::new();
    for (flags, code, value) in attributes::walk(section) {
        match code {
            AS_PATH => {
                let mut path = Vec::with_capacity(value.len());
                let mut wide = false;
                for (kind, numbers) in Segments(value) {
                    path.extend_from_slice(&[kind, u8::try_from(numbers.len()).unwrap_or(0)]);
                    for number in numbers {
                        let (short, fits) = short(*number);
                        wide |= !fits;
                        path.extend_from_slice(&short.to_be_bytes());
                    }
                }
                attributes::put(out, flags, code, &path);
                beside.extend(wide.then_some((AS4_PATH, value)));
            }
            AGGREGATOR => {
                let Some((number, address)) = value.split_first_chunk::<4>() else {
                    continue;
                };
                let (short, fits) = short(*number);
                let value_short = [&short.to_be_bytes(), address].concat();
                attributes::put(out, flags, code, &value_short);
                beside.extend((!fits).then_some((AS4_AGGREGATOR, value)));
            }
            _ => attributes::put(out, flags, code, value),
        }
    }
    for (code, value) in beside {
        attributes::put(out, both, code, value);
    }
}

/// A number in two octets, and whether it fits.
fn short(number: [u8; 4]) -> (u16, bool) {
    match u16::try_from(u32::from_be_bytes(number)) {
        Ok(short) => (short, true),
        Err(_) => (Asn::TRANS, false),
    }
}
