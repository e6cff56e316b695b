//! The speaker's routes in the kernel: written in batches, read back, and the way to next hops.
//!
//! All of them carry [`BGP_PROTOCOL`]; no other route is ever replaced or removed here.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use ipnet::Ipv4Net;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use routerd_core::BGP_PROTOCOL;
use routerd_core::bgp::{METRIC, TABLE};

use crate::netlink::{
    Attributes, Error, Listener, Message, Request, Socket, filter, ipv4, link, u16_at, u32_at,
};

/// `struct rtmsg`.
const FIXED: usize = 12;
/// `struct rtnexthop`.
const NEXT_HOP: usize = 8;
/// Answer with the entry that matches, not with the route that a packet would take.
const RTM_F_FIB_MATCH: u32 = 0x2000;

/// Where packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// `ifindex`.
    pub interface: u32,
    /// The next router; absent where the interface has no neighbours to choose from.
    pub gateway: Option<Ipv4Addr>,
}

/// The way to a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Where packets leave.
    pub hop: Hop,
    /// Whether the next hop is on the link itself.
    pub direct: bool,
    /// The metric of the route that leads there.
    pub metric: u32,
}

/// One change: what the route of a prefix is to be.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Where to.
    pub prefix: Ipv4Net,
    /// Where packets leave; nowhere: there is to be no route.
    pub hops: &'a [Hop],
    /// Whether a route of ours stands there: only that may be replaced.
    pub standing: bool,
}

/// What was heard of the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Ways to next hops may be others.
    pub ways: bool,
    /// Routes of ours may have gone without a word: with their link, or by somebody's hand.
    pub routes: bool,
}

/// The ways that the kernel knows.
#[derive(Debug)]
pub struct Ways {
    socket: Socket,
    /// Whether an interface has neighbours with hardware addresses.
    neighbours: HashMap<u32, bool>,
}

/// The kernel's routing table as far as it is the speaker's.
#[derive(Debug)]
pub struct Fib {
    ways: Ways,
    /// Does not hear what is written here.
    listener: Listener,
}

impl Ways {
    /// Opens them in the calling thread's network namespace. They are asked, and hear of nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        let mut ways = Self {
            socket: Socket::open(NETLINK_ROUTE)?,
            neighbours: HashMap::new(),
        };
        ways.look_at_links()?;
        Ok(ways)
    }

    fn look_at_links(&mut self) -> Result<(), Error> {
        let entries = link::dump(&mut self.socket)?.into_iter();
        self.neighbours = entries
            .map(|entry| (entry.link.index, entry.link.mac.is_some()))
            .collect();
        Ok(())
    }

    /// The way to a next hop; absent if there is none, or only one that the speaker itself chose.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn resolve(&mut self, next_hop: Ipv4Addr) -> Result<Option<Way>, Error> {
        let mut header = [0; FIXED];
        header[..2].copy_from_slice(&[libc::AF_INET as u8, 32]);
        header[8..].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
        let request =
            Request::new(libc::RTM_GETROUTE, 0, &header).with(libc::RTA_DST, &next_hop.octets());
        let neighbours = &self.neighbours;
        let parse = |message: Message<'_>| way(&message, next_hop, neighbours);
        match self.socket.request(&request, parse) {
            Err(Error::Refused(_)) => Ok(None),
            answer => answer,
        }
    }
}

impl Fib {
    /// Opens it in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
        ];
        let listener = Listener::open(NETLINK_ROUTE, &groups)?;
        let ways = Ways::open()?;
        listener.filter(&filter::but_of_port(ways.socket.port()?))?;
        Ok(Self { ways, listener })
    }

    /// Hears what has changed. `removed` is told each route of ours that somebody else removed or replaced.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drain(&mut self, mut removed: impl FnMut(Ipv4Net)) -> Result<Heard, Error> {
        let mut heard = Heard::default();
        let mut links = false;
        let lost = self.listener.drain(|message| match message.kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => links = true,
            libc::RTM_NEWADDR | libc::RTM_DELADDR => links = true,
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => match is_ours(&message) {
                None => heard.ways = true,
                Some(prefix) if message.kind == libc::RTM_DELROUTE => removed(prefix),
                Some(_) => {}
            },
            _ => {}
        })?;
        if links || lost {
            self.ways.look_at_links()?;
            heard.ways = true;
            heard.routes = true;
        }
        Ok(heard)
    }

    /// All routes of ours.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn dump(&mut self) -> Result<HashMap<Ipv4Net, Vec<Hop>>, Error> {
        let mut header = [0; FIXED];
        header[0] = libc::AF_INET as u8;
        header[5] = BGP_PROTOCOL;
        let request = Request::new(libc::RTM_GETROUTE, 0, &header).with_u32(libc::RTA_TABLE, TABLE);
        let ours =
            |message: Message<'_>| Some((is_ours(&message)?, hops(message.attributes(FIXED))));
        Ok(self.ways.socket.dump(&request, ours)?.into_iter().collect())
    }

    /// Makes changes in order and returns those that the kernel refused, by index.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn write(&mut self, changes: &[Change<'_>]) -> Result<Vec<(usize, Errno)>, Error> {
        /// Requests that are put together before they are sent: as many as stay in the caches.
        const AT_ONCE: usize = 512;
        let mut refused = Vec::new();
        for (run, changes) in changes.chunks(AT_ONCE).enumerate() {
            let requests: Vec<Request> = changes.iter().map(request).collect();
            let some = self.ways.socket.batch(&requests)?.into_iter();
            refused.extend(some.map(|(index, refusal)| (run * AT_ONCE + index, refusal)));
        }
        let gone = |(index, errno): &(usize, Errno)| {
            // What was to go had gone already.
            !(changes[*index].hops.is_empty() && matches!(errno, Errno::ESRCH | Errno::ENODEV))
        };
        let refused = refused.into_iter();
        let refused = refused.map(|(index, refusal)| (index, refusal.errno));
        Ok(refused.filter(gone).collect())
    }

    /// See [`Ways::resolve`].
    ///
    /// # Errors
    /// When the socket fails.
    pub fn resolve(&mut self, next_hop: Ipv4Addr) -> Result<Option<Way>, Error> {
        self.ways.resolve(next_hop)
    }
}

impl AsFd for Fib {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// The prefix, if it is a route of ours.
fn is_ours(message: &Message<'_>) -> Option<Ipv4Net> {
    let &[family, length, _, _, table, protocol, ..] = message.fixed::<FIXED>()?;
    let attributes = message.attributes(FIXED);
    let number = |kind| attributes.find(kind).and_then(|value| u32_at(value, 0));
    let table = number(libc::RTA_TABLE).unwrap_or(table.into());
    let ours = i32::from(family) == libc::AF_INET
        && protocol == BGP_PROTOCOL
        && table == TABLE
        && number(libc::RTA_PRIORITY) == Some(METRIC);
    let destination = attributes.find(libc::RTA_DST).and_then(ipv4);
    let destination = destination.unwrap_or(Ipv4Addr::UNSPECIFIED);
    ours.then(|| Ipv4Net::new(destination, length).ok())
        .flatten()
}

fn hops(attributes: Attributes<'_>) -> Vec<Hop> {
    let Some(mut rest) = attributes.find(libc::RTA_MULTIPATH) else {
        return hop(attributes).into_iter().collect();
    };
    let mut hops = Vec::new();
    while let (Some(length), Some(interface)) = (u16_at(rest, 0), u32_at(rest, 4)) {
        let length = usize::from(length).clamp(NEXT_HOP, rest.len());
        let gateway = Attributes::new(&rest[NEXT_HOP..length]).find(libc::RTA_GATEWAY);
        hops.push(Hop {
            interface,
            gateway: gateway.and_then(ipv4),
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn hop(attributes: Attributes<'_>) -> Option<Hop> {
    Some(Hop {
        interface: u32_at(attributes.find(libc::RTA_OIF)?, 0)?,
        gateway: attributes.find(libc::RTA_GATEWAY).and_then(ipv4),
    })
}

fn way(message: &Message<'_>, next_hop: Ipv4Addr, neighbours: &HashMap<u32, bool>) -> Option<Way> {
    let fixed = message.fixed::<FIXED>()?;
    let (protocol, kind) = (fixed[5], fixed[7]);
    if kind != libc::RTN_UNICAST || protocol == BGP_PROTOCOL {
        return None;
    }
    let attributes = message.attributes(FIXED);
    let found = hops(attributes).into_iter().next()?;
    let by_neighbour = neighbours.get(&found.interface).copied().unwrap_or(true);
    let metric = attributes.find(libc::RTA_PRIORITY);
    Some(Way {
        hop: Hop {
            gateway: found.gateway.or(by_neighbour.then_some(next_hop)),
            ..found
        },
        direct: found.gateway.is_none(),
        metric: metric.and_then(|value| u32_at(value, 0)).unwrap_or(0),
    })
}

fn request(change: &Change<'_>) -> Request {
    let mut header = [0; FIXED];
    header[0] = libc::AF_INET as u8;
    header[1] = change.prefix.prefix_len();
    header[5] = BGP_PROTOCOL;
    let (kind, flags) = match change.hops {
        [] => {
            header[6] = libc::RT_SCOPE_NOWHERE;
            (libc::RTM_DELROUTE, 0)
        }
        hops => {
            let direct = hops.iter().all(|hop| hop.gateway.is_none());
            header[6] = if direct {
                libc::RT_SCOPE_LINK
            } else {
                libc::RT_SCOPE_UNIVERSE
            };
            header[7] = libc::RTN_UNICAST;
            let or = if change.standing {
                libc::NLM_F_REPLACE
            } else {
                libc::NLM_F_EXCL
            };
            (libc::RTM_NEWROUTE, libc::NLM_F_CREATE | or)
        }
    };
    let request = Request::new(kind, flags, &header)
        .with(libc::RTA_DST, &change.prefix.network().octets())
        .with_u32(libc::RTA_TABLE, TABLE)
        .with_u32(libc::RTA_PRIORITY, METRIC);
    match change.hops {
        [] => request,
        [hop] => {
            let request = request.with_u32(libc::RTA_OIF, hop.interface);
            match hop.gateway {
                Some(gateway) => request.with(libc::RTA_GATEWAY, &gateway.octets()),
                None => request,
            }
        }
        hops => request.with(libc::RTA_MULTIPATH, &multipath(hops)),
    }
}

fn multipath(hops: &[Hop]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(hops.len() * (NEXT_HOP + 8));
    for hop in hops {
        let start = bytes.len();
        bytes.extend([0; 4]);
        bytes.extend(hop.interface.to_ne_bytes());
        if let Some(gateway) = hop.gateway {
            crate::netlink::attribute(&mut bytes, libc::RTA_GATEWAY, &gateway.octets());
        }
        let length = (bytes.len() - start) as u16;
        bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
    bytes
}
