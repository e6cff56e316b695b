//! Links of type `ipip` and `gre`, with or without UDP around them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use api::IfName;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use routerd_core::OWNER_MARK;
use routerd_core::encapsulation::{Encapsulation, KernelTunnel, PlainTunnel, UdpPorts};
use routerd_core::observed::{Build, Driver, PlainTunnelDevice};

use super::{TunnelError, fou};
use crate::netlink::link::{self, Names};
use crate::netlink::{Attributes, Error, Message, Request, Socket, ipv4, text, u16_at, u32_at};

/// How the attributes of a type of link are numbered (`IFLA_IPTUN_…`, `IFLA_GRE_…`).
struct Numbers {
    link: u16,
    local: u16,
    remote: u16,
    ttl: u16,
    pmtudisc: u16,
    encap_type: u16,
    encap_flags: u16,
    encap_sport: u16,
    encap_dport: u16,
}

const IPIP: Numbers = Numbers {
    link: 1,
    local: 2,
    remote: 3,
    ttl: 4,
    pmtudisc: 10,
    encap_type: 15,
    encap_flags: 16,
    encap_sport: 17,
    encap_dport: 18,
};
const IPIP_PROTOCOL: u16 = 9;

const GRE: Numbers = Numbers {
    link: 1,
    local: 6,
    remote: 7,
    ttl: 8,
    pmtudisc: 10,
    encap_type: 14,
    encap_flags: 15,
    encap_sport: 16,
    encap_dport: 17,
};
const GRE_IFLAGS: u16 = 2;
const GRE_OFLAGS: u16 = 3;
const GRE_IKEY: u16 = 4;
const GRE_OKEY: u16 = 5;
/// In the first word of the GRE header (RFC 2890).
const GRE_KEY: u16 = 0x2000;
/// A version that no GRE has.
const GRE_VERSION: u16 = 0x0007;

const ENCAP_NONE: u16 = 0;
const ENCAP_FOU: u16 = 1;
const ENCAP_GUE: u16 = 2;

/// How long a kernel that has no such type is taken at its word: asking makes it run `modprobe`.
const RETRY: Duration = Duration::from_secs(60);

/// When a type of link was last found missing.
static MISSING: Mutex<BTreeMap<&'static str, Instant>> = Mutex::new(BTreeMap::new());

/// Whether the kernel has a driver; loads its module where there is one.
pub(super) fn offers(tunnel: KernelTunnel) -> bool {
    match tunnel {
        KernelTunnel::Ipip => knows("ipip"),
        KernelTunnel::Gre => knows("gre"),
        KernelTunnel::Fou => knows("ipip") && fou::available(),
    }
}

/// Asks for a link that the driver refuses before it makes one. A kernel without the driver refuses in other
/// words.
fn knows(kind: &'static str) -> bool {
    let mut missing = MISSING.lock().unwrap_or_else(|e| e.into_inner());
    if missing.get(kind).is_some_and(|when| when.elapsed() < RETRY) {
        return false;
    }
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let request = Request::new(libc::RTM_NEWLINK, flags, &link::fixed(0, 0, 0));
    let request = request.with_nested(libc::IFLA_LINKINFO, |info| {
        let info = info.with_text(libc::IFLA_INFO_KIND, kind);
        info.with_nested(libc::IFLA_INFO_DATA, |data| match kind {
            "gre" => data.with(GRE_IFLAGS, &GRE_VERSION.to_be_bytes()),
            _ => data.with(IPIP_PROTOCOL, &[libc::IPPROTO_UDP as u8]),
        })
    });
    let refused = Socket::open(NETLINK_ROUTE).and_then(|mut socket| socket.execute(&request));
    let known = matches!(refused, Err(error) if error.errno() == Errno::EINVAL);
    if known {
        missing.remove(kind);
    } else {
        missing.insert(kind, Instant::now());
    }
    known
}

/// All such links that say both their ends. The kernel's own fallback devices (`tunl0`, `gre0`) do not.
pub(super) fn observe(names: &Names) -> Result<HashMap<IfName, PlainTunnelDevice>, Error> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let request = Request::new(libc::RTM_GETLINK, 0, &link::fixed(0, 0, 0));
    let found = socket.dump(&request, |message| parse(message, names))?;
    Ok(found.into_iter().collect())
}

fn parse(message: Message<'_>, names: &Names) -> Option<(IfName, PlainTunnelDevice)> {
    let attributes = message.attributes(link::FIXED);
    let ifname: IfName = text(attributes.find(libc::IFLA_IFNAME)?)?.parse().ok()?;
    let info = Attributes::new(attributes.find(libc::IFLA_LINKINFO)?);
    let kind = text(info.find(libc::IFLA_INFO_KIND)?)?;
    let data = Attributes::new(info.find(libc::IFLA_INFO_DATA)?);
    let numbers = match kind.as_str() {
        "ipip" => &IPIP,
        "gre" => &GRE,
        _ => return None,
    };
    let address = |kind| data.find(kind).and_then(ipv4);
    let local = address(numbers.local).filter(|a| *a != Ipv4Addr::UNSPECIFIED)?;
    let remote = address(numbers.remote).filter(|a| *a != Ipv4Addr::UNSPECIFIED)?;
    let index = data.find(numbers.link).and_then(|value| u32_at(value, 0));
    let tunnel = PlainTunnel {
        encapsulation: encapsulation(&kind, data, numbers)?,
        local,
        remote,
        underlay: index.and_then(|index| names.get(&index)).cloned(),
        ttl: data
            .find(numbers.ttl)
            .and_then(|value| value.first())
            .copied()?,
    };
    let device = PlainTunnelDevice {
        driver: Driver::Kernel,
        build: Build::Current,
        tunnel,
    };
    Some((ifname, device))
}

fn encapsulation(kind: &str, data: Attributes<'_>, numbers: &Numbers) -> Option<Encapsulation> {
    let port = |kind| {
        let value = data.find(kind).and_then(|value| value.first_chunk::<2>());
        value.map_or(0, |bytes| u16::from_be_bytes(*bytes))
    };
    let ports = UdpPorts {
        source: port(numbers.encap_sport),
        destination: port(numbers.encap_dport),
    };
    let encap = data
        .find(numbers.encap_type)
        .and_then(|value| u16_at(value, 0));
    Some(match (kind, encap.unwrap_or(ENCAP_NONE)) {
        ("ipip", ENCAP_NONE) => Encapsulation::Ipip,
        ("ipip", ENCAP_FOU) => Encapsulation::Fou(ports),
        ("ipip", ENCAP_GUE) => Encapsulation::Gue(ports),
        ("gre", ENCAP_NONE) => {
            let keyed = port(GRE_OFLAGS) & GRE_KEY != 0;
            let key = data
                .find(GRE_OKEY)
                .and_then(|value| value.first_chunk::<4>());
            let key = key.map(|bytes| u32::from_be_bytes(*bytes));
            Encapsulation::Gre {
                key: key.filter(|_| keyed),
            }
        }
        // Nothing that routerd makes.
        _ => return None,
    })
}

/// Makes a link that carries our mark; one that does already is changed to what it should be.
pub(super) fn create(ifname: &IfName, tunnel: &PlainTunnel) -> Result<(), TunnelError> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let request = request(flags, ifname, tunnel)?;
    match execute(&request) {
        Ok(()) => mark(ifname),
        Err(exists) if exists.errno() == Errno::EEXIST && is_ours(ifname) => change(ifname, tunnel),
        Err(source) => Err(failed("create tunnel link", ifname, source)),
    }
}

/// Changes ends and encapsulation of a link.
pub(super) fn change(ifname: &IfName, tunnel: &PlainTunnel) -> Result<(), TunnelError> {
    let request = request(0, ifname, tunnel)?;
    execute(&request).map_err(|source| failed("change tunnel link", ifname, source))
}

/// Marks a link as ours.
pub(super) fn mark(ifname: &IfName) -> Result<(), TunnelError> {
    let request = Request::new(libc::RTM_SETLINK, 0, &link::fixed(0, 0, 0))
        .with_text(libc::IFLA_IFNAME, ifname.as_str())
        .with_text(libc::IFLA_IFALIAS, OWNER_MARK);
    execute(&request).map_err(|source| failed("mark link", ifname, source))
}

fn is_ours(ifname: &IfName) -> bool {
    let links = Socket::open(NETLINK_ROUTE).and_then(|mut socket| link::dump(&mut socket));
    links.is_ok_and(|links| {
        links.iter().any(|entry| {
            let alias = entry.link.alias.as_deref().unwrap_or_default();
            &entry.name == ifname && alias.starts_with(OWNER_MARK)
        })
    })
}

fn request(flags: i32, ifname: &IfName, tunnel: &PlainTunnel) -> Result<Request, TunnelError> {
    let index = match &tunnel.underlay {
        None => 0,
        Some(underlay) => if_nametoindex(underlay.as_str()).map_err(|_| TunnelError::Underlay {
            ifname: ifname.clone(),
            underlay: underlay.clone(),
        })?,
    };
    let request = Request::new(libc::RTM_NEWLINK, flags, &link::fixed(0, 0, 0))
        .with_text(libc::IFLA_IFNAME, ifname.as_str());
    Ok(request.with_nested(libc::IFLA_LINKINFO, |info| {
        info.with_text(libc::IFLA_INFO_KIND, tunnel.encapsulation.link_kind())
            .with_nested(libc::IFLA_INFO_DATA, |data| fill(data, index, tunnel))
    }))
}

fn fill(data: Request, index: u32, tunnel: &PlainTunnel) -> Request {
    let (numbers, data) = match tunnel.encapsulation {
        Encapsulation::Gre { key } => {
            let flags = if key.is_some() { GRE_KEY } else { 0 };
            let key = key.unwrap_or(0).to_be_bytes();
            let data = data
                .with(GRE_IFLAGS, &flags.to_be_bytes())
                .with(GRE_OFLAGS, &flags.to_be_bytes())
                .with(GRE_IKEY, &key)
                .with(GRE_OKEY, &key);
            (&GRE, data)
        }
        _ => (&IPIP, data.with(IPIP_PROTOCOL, &[libc::IPPROTO_IPIP as u8])),
    };
    let kind = match tunnel.encapsulation {
        Encapsulation::Fou(_) => ENCAP_FOU,
        Encapsulation::Gue(_) => ENCAP_GUE,
        Encapsulation::Ipip | Encapsulation::Gre { .. } => ENCAP_NONE,
    };
    let ports = tunnel.encapsulation.ports();
    let port = |pick: fn(UdpPorts) -> u16| ports.map_or(0, pick).to_be_bytes();
    data.with_u32(numbers.link, index)
        .with(numbers.local, &tunnel.local.octets())
        .with(numbers.remote, &tunnel.remote.octets())
        .with(numbers.ttl, &[tunnel.ttl])
        .with(numbers.pmtudisc, &[1])
        .with(numbers.encap_type, &kind.to_ne_bytes())
        .with(numbers.encap_flags, &0_u16.to_ne_bytes())
        .with(numbers.encap_sport, &port(|ports| ports.source))
        .with(numbers.encap_dport, &port(|ports| ports.destination))
}

fn execute(request: &Request) -> Result<(), Error> {
    Socket::open(NETLINK_ROUTE)?.execute(request)
}

fn failed(operation: &'static str, ifname: &IfName, source: Error) -> TunnelError {
    TunnelError::Kernel {
        operation,
        ifname: ifname.clone(),
        source,
    }
}
