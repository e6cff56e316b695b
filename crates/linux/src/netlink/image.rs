//! Routes and neighbours kept as the kernel tells them, to be put back exactly.

use std::collections::BTreeSet;

use super::{Attributes, Error, Message, Request, Socket, u16_at, u32_at};

/// `struct rtmsg` and `struct ndmsg` alike.
const FIXED: usize = 12;
/// `struct rtnexthop`.
const NEXT_HOP: usize = 8;
/// The flag that a next hop cannot be used.
const RTNH_F_DEAD: u8 = 1;
/// The flag of a next hop that is asked for; the others tell of its state.
const RTNH_F_ONLINK: u8 = 4;

/// An IPv4 route, neighbour or proxy neighbour, whatever it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// `RTM_NEWROUTE` or `RTM_NEWNEIGH`.
    kind: u16,
    /// At least the fixed header.
    payload: Vec<u8>,
}

impl Image {
    /// In which order they are put back: what is reachable directly has to be there before what is reachable through it.
    fn order(&self) -> u8 {
        match self.kind {
            libc::RTM_NEWROUTE => u8::MAX - self.payload[6],
            _ => 0,
        }
    }

    /// The request that makes it what it was.
    fn restore(&self) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        Request::new(self.kind, flags, &self.asked_for())
    }

    /// The request that removes what is left of a multipath route. The kernel would take a replacement for the same
    /// route, and its dead next hops with it.
    fn clear(&self) -> Option<Request> {
        let attributes = Attributes::new(self.payload.get(FIXED..)?);
        let multipath =
            self.kind == libc::RTM_NEWROUTE && attributes.find(libc::RTA_MULTIPATH).is_some();
        multipath.then(|| Request::new(libc::RTM_DELROUTE, 0, &self.asked_for()))
    }

    /// Without flags that tell of its state.
    fn asked_for(&self) -> Vec<u8> {
        let mut payload = self.payload.clone();
        if self.kind == libc::RTM_NEWROUTE {
            mask_flags(&mut payload, RTNH_F_ONLINK);
        }
        payload
    }
}

/// What stands on these devices and does not come back by itself: routes that the kernel did not make and that no
/// next hop object keeps, permanent neighbours, proxy neighbours.
pub(crate) fn dump(socket: &mut Socket, devices: &BTreeSet<u32>) -> Result<Vec<Image>, Error> {
    const NTF_PROXY: u8 = 1 << 3;
    let mut header = [0; FIXED];
    header[0] = libc::AF_INET as u8;
    let routes = Request::new(libc::RTM_GETROUTE, 0, &header);
    let neighbours = Request::new(libc::RTM_GETNEIGH, 0, &header);
    header[10] = NTF_PROXY;
    let proxies = Request::new(libc::RTM_GETNEIGH, 0, &header);
    let mut images = socket.dump(&routes, |message| route(message, devices))?;
    images.extend(socket.dump(&neighbours, |message| neighbour(message, devices))?);
    images.extend(socket.dump(&proxies, |message| neighbour(message, devices))?);
    Ok(images)
}

fn route(message: Message<'_>, devices: &BTreeSet<u32>) -> Option<Image> {
    const RTA_NH_ID: u16 = 30;
    let fixed = message.fixed::<FIXED>()?;
    let attributes = message.attributes(FIXED);
    let by_kernel = fixed[5] == libc::RTPROT_KERNEL;
    if by_kernel || attributes.find(RTA_NH_ID).is_some() || !leaves_through(attributes, devices) {
        return None;
    }
    let mut payload = message.payload.to_vec();
    // Whether a next hop is alive counts, whether its link has a carrier does not.
    mask_flags(&mut payload, RTNH_F_ONLINK | RTNH_F_DEAD);
    Some(Image {
        kind: libc::RTM_NEWROUTE,
        payload,
    })
}

fn neighbour(message: Message<'_>, devices: &BTreeSet<u32>) -> Option<Image> {
    const NUD_NONE: u16 = 0;
    const NUD_PERMANENT: u16 = 0x80;
    const NDA_CACHEINFO: u16 = 3;
    const NDA_PROBES: u16 = 4;
    let fixed = message.fixed::<FIXED>()?;
    let stays = matches!(u16_at(fixed, 8)?, NUD_NONE | NUD_PERMANENT);
    if !stays || !devices.contains(&u32_at(fixed, 4)?) {
        return None;
    }
    let mut payload = fixed.to_vec();
    for (kind, value) in message.attributes(FIXED) {
        if !matches!(kind, NDA_CACHEINFO | NDA_PROBES) {
            super::message::attribute(&mut payload, kind, value);
        }
    }
    Some(Image {
        kind: libc::RTM_NEWNEIGH,
        payload,
    })
}

fn leaves_through(attributes: Attributes<'_>, devices: &BTreeSet<u32>) -> bool {
    let device = attributes
        .find(libc::RTA_OIF)
        .and_then(|value| u32_at(value, 0));
    let hops = attributes.find(libc::RTA_MULTIPATH).unwrap_or_default();
    device
        .into_iter()
        .chain(next_hops(hops).filter_map(|at| u32_at(hops, at + 4)))
        .any(|index| devices.contains(&index))
}

/// Where each next hop of a multipath attribute begins.
fn next_hops(hops: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = at;
        let length = usize::from(u16_at(hops, here)?);
        at += length.max(NEXT_HOP).next_multiple_of(4);
        (here + NEXT_HOP <= hops.len()).then_some(here)
    })
}

/// Keeps only these flags of a route and its next hops.
fn mask_flags(payload: &mut [u8], kept: u8) {
    let Some((fixed, attributes)) = payload.split_first_chunk_mut::<FIXED>() else {
        return;
    };
    let flags = u32::from(fixed[8] & kept);
    fixed[8..].copy_from_slice(&flags.to_ne_bytes());
    let Some(hops) = Attributes::new(attributes).find(libc::RTA_MULTIPATH) else {
        return;
    };
    let start = hops.as_ptr().addr() - attributes.as_ptr().addr();
    let flags: Vec<usize> = next_hops(hops).map(|at| start + at + 2).collect();
    for at in flags {
        attributes[at] &= kept;
    }
}

/// Puts back those of `before` that are gone or dead now. If the kernel does not take one back, says so.
pub(crate) fn restore(
    socket: &mut Socket,
    devices: &BTreeSet<u32>,
    before: Vec<Image>,
) -> Result<(), Error> {
    let now = dump(socket, devices)?;
    let mut missing: Vec<Image> = before
        .into_iter()
        .filter(|image| !now.contains(image))
        .collect();
    missing.sort_by_key(Image::order);
    // All are cleared before the first is put back: routes with the same next hops share them in the kernel. Of those
    // that died altogether there is nothing left to clear.
    let leftovers: Vec<Request> = missing.iter().filter_map(Image::clear).collect();
    socket.batch(&leftovers)?;
    let requests: Vec<Request> = missing.iter().map(Image::restore).collect();
    match socket.batch(&requests)?.into_iter().next() {
        Some((_, refusal)) => Err(Error::Refused(refusal)),
        None => Ok(()),
    }
}
