//! Proxy neighbours, marked as ours by their protocol number, and the neighbour settings of interfaces.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use routerd_core::OWNER_PROTOCOL;
use routerd_core::observed::ProxyNeighbour;

use super::link::Names;
use super::{Attributes, Error, Message, Request, Socket, ipv4, u16_at, u32_at};

/// `struct ndmsg`.
const FIXED: usize = 12;
const NTF_PROXY: u8 = 1 << 3;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_CACHEINFO: u16 = 3;
const NDA_PROTOCOL: u16 = 12;
const NDTA_PARMS: u16 = 6;
const NDTPA_IFINDEX: u16 = 1;
const NDTPA_PROXY_DELAY: u16 = 13;
/// Milliseconds in one unit of the kernel's times (USER_HZ is 100 on every architecture that matters).
const MILLISECONDS: u64 = 10;

/// How many requests to add a proxy neighbour this process has made.
static ADDED: AtomicU64 = AtomicU64::new(0);

/// How many proxy neighbours this process has set out to add so far. One that was added and is missing again
/// before anybody looked shows here and nowhere else.
pub(crate) fn added() -> u64 {
    ADDED.load(Ordering::Acquire)
}

/// All IPv4 proxy neighbours that stand on an interface.
///
/// # Errors
/// When the kernel refuses.
pub fn dump(socket: &mut Socket, names: &Names) -> Result<Vec<ProxyNeighbour>, Error> {
    socket.dump(&dump_request(), |message| {
        let (index, address) = key(message)?;
        let protocol = message.attributes(FIXED).find(NDA_PROTOCOL);
        Some(ProxyNeighbour {
            ifname: names.get(&index)?.clone(),
            address,
            owned: protocol.and_then(<[u8]>::first) == Some(&OWNER_PROTOCOL),
        })
    })
}

/// Interface and address of all IPv4 proxy neighbours, in the kernel's order.
pub(crate) fn dump_keys(socket: &mut Socket) -> Result<Vec<(u32, Ipv4Addr)>, Error> {
    socket.dump(&dump_request(), key)
}

fn dump_request() -> Request {
    Request::new(libc::RTM_GETNEIGH, 0, &fixed(0))
}

fn key(message: Message<'_>) -> Option<(u32, Ipv4Addr)> {
    let index = u32_at(message.fixed::<FIXED>()?, 4)?;
    let address = message.attributes(FIXED).find(NDA_DST)?;
    Some((index, ipv4(address)?))
}

/// IPv4 stations that the kernel knows to have been there within this time: interface, address and hardware address.
/// That it holds one for reachable says less: it does so for most of a minute after the last sign of life.
///
/// # Errors
/// When the kernel refuses.
pub fn reached(within: Duration) -> Result<Vec<(u32, Ipv4Addr, [u8; 6])>, Error> {
    let mut socket = Socket::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    let mut header = fixed(0);
    header[10] = 0;
    let request = Request::new(libc::RTM_GETNEIGH, 0, &header);
    socket.dump(&request, |message| {
        let state = u16_at(message.fixed::<FIXED>()?, 8)?;
        let mac = message.attributes(FIXED).find(NDA_LLADDR)?;
        let (index, address) = key(message)?;
        // `struct nda_cacheinfo`: first the time since the last confirmation.
        let ticks = u32_at(message.attributes(FIXED).find(NDA_CACHEINFO)?, 0)?;
        let fresh = u128::from(ticks) * u128::from(MILLISECONDS) <= within.as_millis();
        (fresh && state & libc::NUD_REACHABLE != 0).then_some((index, address, *mac.first_chunk()?))
    })
}

/// The request that adds a proxy neighbour as ours.
pub fn add(index: u32, address: Ipv4Addr) -> Request {
    ADDED.fetch_add(1, Ordering::AcqRel);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Request::new(libc::RTM_NEWNEIGH, flags, &fixed(index))
        .with(NDA_DST, &address.octets())
        .with(NDA_PROTOCOL, &[OWNER_PROTOCOL])
}

/// The request that removes a proxy neighbour, whosever it is.
pub fn remove(index: u32, address: Ipv4Addr) -> Request {
    Request::new(libc::RTM_DELNEIGH, 0, &fixed(index)).with(NDA_DST, &address.octets())
}

fn fixed(index: u32) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    bytes[0] = libc::AF_INET as u8;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[10] = NTF_PROXY;
    bytes
}

/// `net.ipv4.neigh.IF.proxy_delay` by `ifindex`; without one: that of `default`.
///
/// # Errors
/// When the kernel refuses.
pub fn proxy_delays(socket: &mut Socket) -> Result<Vec<(Option<u32>, i32)>, Error> {
    // `struct ndtmsg`: the family and padding.
    let header = [libc::AF_INET as u8, 0, 0, 0];
    let request = Request::new(libc::RTM_GETNEIGHTBL, 0, &header);
    socket.dump(&request, parse_delay)
}

fn parse_delay(message: Message<'_>) -> Option<(Option<u32>, i32)> {
    let parameters = Attributes::new(message.attributes(4).find(NDTA_PARMS)?);
    let index = parameters
        .find(NDTPA_IFINDEX)
        .and_then(|value| u32_at(value, 0));
    let milliseconds = u64::from_ne_bytes(*parameters.find(NDTPA_PROXY_DELAY)?.first_chunk()?);
    // The kernel keeps ticks, which need not be multiples of ten milliseconds.
    let units = (milliseconds + MILLISECONDS / 2) / MILLISECONDS;
    Some((index, i32::try_from(units).unwrap_or(i32::MAX)))
}
