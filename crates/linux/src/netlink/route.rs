//! IPv4 routes, marked as ours by their protocol number, and route lookups.

use std::net::IpAddr;

use api::IfName;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use routerd_core::OWNER_PROTOCOL;
use routerd_core::effective::{RouteKey, RouteTarget};
use routerd_core::observed::{Lookup, Route};

use super::link::Names;
use super::{Attributes, Error, Message, Request, Socket, ipv4, ipv6, u32_at};

/// `struct rtmsg`.
const FIXED: usize = 12;
/// `struct rtnexthop`.
const NEXT_HOP: usize = 8;
const RTAX_MTU: u16 = 2;

/// IPv4 unicast and blackhole routes. What the kernel itself keeps in the table `local` is of neither type. `wanted` is
/// asked with protocol and destination: there may be very many that nobody looks at.
///
/// # Errors
/// When the kernel refuses.
pub fn dump(
    socket: &mut Socket,
    names: &Names,
    wanted: impl Fn(u8, Ipv4Net) -> bool,
) -> Result<Vec<Route>, Error> {
    let request = Request::new(libc::RTM_GETROUTE, 0, &fixed(0, 0, 0, 0));
    socket.dump(&request, |message| parse(message, names, &wanted))
}

/// Our routes of one table.
///
/// # Errors
/// When the kernel refuses.
pub fn dump_owned(socket: &mut Socket, names: &Names, table: u32) -> Result<Vec<Route>, Error> {
    let mut header = fixed(0, 0, 0, 0);
    header[5] = OWNER_PROTOCOL;
    let request = Request::new(libc::RTM_GETROUTE, 0, &header).with_u32(libc::RTA_TABLE, table);
    let ours = |protocol, _| protocol == OWNER_PROTOCOL;
    match socket.dump(&request, |message| parse(message, names, ours)) {
        // The table was never used.
        Err(error) if error.errno() == Errno::ENOENT => Ok(Vec::new()),
        routes => Ok(routes?
            .into_iter()
            .filter(|route| route.key.table == table)
            .collect()),
    }
}

fn parse(
    message: Message<'_>,
    names: &Names,
    wanted: impl Fn(u8, Ipv4Net) -> bool,
) -> Option<Route> {
    let &[family, prefix_length, _, _, table, protocol, _, kind, ..] = message.fixed::<FIXED>()?;
    let cached = u32_at(message.payload, 8)? & libc::RTM_F_CLONED != 0;
    if i32::from(family) != libc::AF_INET || cached {
        return None;
    }
    let attributes = message.attributes(FIXED);
    let number = |kind| attributes.find(kind).and_then(|value| u32_at(value, 0));
    let address = |kind| attributes.find(kind).and_then(ipv4);
    let destination = address(libc::RTA_DST).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
    let destination = Ipv4Net::new(destination, prefix_length).ok()?;
    if !wanted(protocol, destination) {
        return None;
    }
    let table = number(libc::RTA_TABLE).unwrap_or(table.into());
    let target = match kind {
        libc::RTN_UNICAST => unicast(attributes, names)?,
        libc::RTN_BLACKHOLE => RouteTarget::Blackhole,
        _ => return None,
    };
    Some(Route {
        key: RouteKey {
            table,
            destination,
            metric: number(libc::RTA_PRIORITY).unwrap_or(0),
        },
        target,
        preferred_source: address(libc::RTA_PREFSRC),
        protocol,
    })
}

fn unicast(attributes: Attributes<'_>, names: &Names) -> Option<RouteTarget> {
    if let Some(devices) = attributes
        .find(libc::RTA_MULTIPATH)
        .and_then(|hops| spread(hops, names))
    {
        return Some(RouteTarget::Spread { devices });
    }
    let (index, attributes) = match attributes.find(libc::RTA_MULTIPATH) {
        Some(hops) => {
            let length = usize::from(super::u16_at(hops, 0)?);
            let rest = hops.get(NEXT_HOP..length)?;
            (u32_at(hops, 4), Attributes::new(rest))
        }
        None => {
            let index = attributes
                .find(libc::RTA_OIF)
                .and_then(|value| u32_at(value, 0));
            (index, attributes)
        }
    };
    let device = index.and_then(|index| names.get(&index)).cloned();
    let gateway = attributes.find(libc::RTA_GATEWAY).and_then(ipv4);
    (device.is_some() || gateway.is_some()).then_some(RouteTarget::Unicast { device, gateway })
}

/// The devices of several next hops without a gateway. One whose device is gone or down is no next hop any more.
fn spread(mut hops: &[u8], names: &Names) -> Option<Vec<IfName>> {
    const RTNH_F_DEAD: u8 = 1;
    let mut devices = Vec::new();
    while let Some(length) = super::u16_at(hops, 0) {
        let length = usize::from(length);
        let attributes = Attributes::new(hops.get(NEXT_HOP..length)?);
        if attributes.find(libc::RTA_GATEWAY).is_some() {
            return None;
        }
        let index = u32_at(hops, 4)?;
        let dead = hops[2] & RTNH_F_DEAD != 0;
        devices.extend(names.get(&index).filter(|_| !dead).cloned());
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(devices)
}

/// The request that adds a route as ours, unless there is any with this table, destination and metric; `indices` are
/// those of the target's devices.
pub fn add(route: &Route, indices: &[u32]) -> Request {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(libc::RTM_NEWROUTE, flags, route, indices)
}

/// The request that puts a route in the place of the one with this table, destination and metric, in one step.
pub fn replace(route: &Route, indices: &[u32]) -> Request {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    request(libc::RTM_NEWROUTE, flags, route, indices)
}

/// The request that removes a route of ours; the same route of somebody else does not match.
pub fn remove(route: &Route, indices: &[u32]) -> Request {
    request(libc::RTM_DELROUTE, 0, route, indices)
}

fn request(kind: u16, flags: i32, route: &Route, indices: &[u32]) -> Request {
    let (gateway, route_type) = match &route.target {
        RouteTarget::Unicast { .. } | RouteTarget::Spread { .. } => {
            (route.target.gateway(), libc::RTN_UNICAST)
        }
        RouteTarget::Blackhole => (None, libc::RTN_BLACKHOLE),
    };
    let scope = match (&route.target, gateway) {
        // Matches any.
        _ if kind == libc::RTM_DELROUTE => libc::RT_SCOPE_NOWHERE,
        (RouteTarget::Unicast { .. } | RouteTarget::Spread { .. }, None) => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let header = fixed(
        route.key.destination.prefix_len(),
        OWNER_PROTOCOL,
        scope,
        route_type,
    );
    let mut request = Request::new(kind, flags, &header)
        .with(libc::RTA_DST, &route.key.destination.network().octets())
        .with_u32(libc::RTA_TABLE, route.key.table)
        .with_u32(libc::RTA_PRIORITY, route.key.metric);
    match indices {
        [] => {}
        [index] => request = request.with_u32(libc::RTA_OIF, *index),
        several => request = request.with(libc::RTA_MULTIPATH, &next_hops(several)),
    }
    if let Some(gateway) = gateway {
        request = request.with(libc::RTA_GATEWAY, &gateway.octets());
    }
    if let Some(source) = route.preferred_source {
        request = request.with(libc::RTA_PREFSRC, &source.octets());
    }
    request
}

/// A `struct rtnexthop` for each device, of equal weight.
fn next_hops(indices: &[u32]) -> Vec<u8> {
    let hop = |index: &u32| {
        let length = (NEXT_HOP as u16).to_ne_bytes();
        let index = index.to_ne_bytes();
        [&length[..], &[0, 0], &index].concat()
    };
    indices.iter().flat_map(hop).collect()
}

fn fixed(prefix_length: u8, protocol: u8, scope: u8, kind: u8) -> [u8; FIXED] {
    let family = libc::AF_INET as u8;
    [
        family,
        prefix_length,
        0,
        0,
        0,
        protocol,
        scope,
        kind,
        0,
        0,
        0,
        0,
    ]
}

/// Where a packet of this host to `destination` would go; absent if nowhere. `mtu` gives that of a device.
///
/// # Errors
/// When the socket fails.
pub fn lookup(
    socket: &mut Socket,
    names: &Names,
    mtu: impl Fn(u32) -> Option<u32>,
    destination: IpAddr,
) -> Result<Option<Lookup>, Error> {
    let mut header = [0; FIXED];
    let request = match destination {
        IpAddr::V4(address) => {
            header[..2].copy_from_slice(&[libc::AF_INET as u8, 32]);
            Request::new(libc::RTM_GETROUTE, 0, &header).with(libc::RTA_DST, &address.octets())
        }
        IpAddr::V6(address) => {
            header[..2].copy_from_slice(&[libc::AF_INET6 as u8, 128]);
            Request::new(libc::RTM_GETROUTE, 0, &header).with(libc::RTA_DST, &address.octets())
        }
    };
    match socket.request(&request, |message| parse_lookup(message, names, &mtu)) {
        // Unreachable, prohibited, blackhole: no route, said in different ways.
        Err(Error::Refused(_)) => Ok(None),
        answer => answer,
    }
}

fn parse_lookup(
    message: Message<'_>,
    names: &Names,
    mtu: impl Fn(u32) -> Option<u32>,
) -> Option<Lookup> {
    let &[family, _, _, _, _, _, _, kind, ..] = message.fixed::<FIXED>()?;
    if kind != libc::RTN_UNICAST && kind != libc::RTN_LOCAL {
        return None;
    }
    let attributes = message.attributes(FIXED);
    let address = |kind| {
        let value = attributes.find(kind)?;
        Some(match i32::from(family) {
            libc::AF_INET => IpAddr::V4(ipv4(value)?),
            _ => IpAddr::V6(ipv6(value)?),
        })
    };
    let index = u32_at(attributes.find(libc::RTA_OIF)?, 0)?;
    let path_mtu = attributes
        .find(libc::RTA_METRICS)
        .and_then(|metrics| Attributes::new(metrics).find(RTAX_MTU))
        .and_then(|value| u32_at(value, 0));
    Some(Lookup {
        device: names.get(&index)?.clone(),
        gateway: address(libc::RTA_GATEWAY).or_else(|| via(attributes)),
        source: address(libc::RTA_PREFSRC),
        mtu: path_mtu.or_else(|| mtu(index))?,
        local: kind == libc::RTN_LOCAL,
    })
}

/// A gateway of the other address family.
fn via(attributes: Attributes<'_>) -> Option<IpAddr> {
    let value = attributes.find(libc::RTA_VIA)?;
    match i32::from(super::u16_at(value, 0)?) {
        libc::AF_INET => ipv4(&value[2..]).map(IpAddr::V4),
        libc::AF_INET6 => ipv6(&value[2..]).map(IpAddr::V6),
        _ => None,
    }
}
