//! Addresses and prefixes.

use std::net::{IpAddr, Ipv4Addr};

use api::MobileAddress;
use ipnet::{IpNet, Ipv4Net};

use super::{Complaint, TextField};

/// Says so if a text is IPv6 where only IPv4 is carried, or plainly no address at all.
fn explain<T: TextField>(id: &'static str, text: &str) -> Complaint {
    let complaint = Complaint::not::<T>(id, text);
    let host = text.split('/').next().unwrap_or_default();
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        complaint.hint("IPv6 is not carried by this version of routerd")
    } else if host.parse::<Ipv4Addr>().is_err() && host.contains(|c: char| c.is_ascii_alphabetic())
    {
        complaint.hint("names are not resolved: write the address in digits")
    } else {
        complaint
    }
}

impl TextField for Ipv4Addr {
    const FORMAT: &'static str = "ipv4";
    const WHAT: &'static str = "an IPv4 address (A.B.C.D)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse().map_err(|_| match text.split_once('/') {
            Some((host, _)) if host.parse::<Ipv4Addr>().is_ok() => {
                Complaint::not::<Self>("bad-address", text)
                    .hint(format!("without a prefix length: `{host}`"))
            }
            _ => explain::<Self>("bad-address", text),
        })
    }
}

impl TextField for IpAddr {
    const FORMAT: &'static str = "ip";
    const WHAT: &'static str = "an IP address (A.B.C.D, or an IPv6 address)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse()
            .map_err(|_| Complaint::not::<Self>("bad-address", text))
    }
}

impl TextField for Ipv4Net {
    const FORMAT: &'static str = "ipv4-prefix";
    const WHAT: &'static str = "an IPv4 prefix (A.B.C.D/N)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let net: Self = text.parse().map_err(|_| {
            if text.parse::<Ipv4Addr>().is_ok() {
                Complaint::not::<Self>("bad-prefix", text)
                    .hint(format!("for this address alone write `{text}/32`"))
            } else {
                explain::<Self>("bad-prefix", text)
            }
        })?;
        if net.trunc() == net {
            return Ok(net);
        }
        let complaint = Complaint {
            id: "host-bits-set",
            message: format!("`{text}` has bits set behind its prefix length"),
            hint: None,
        };
        Err(complaint.hint(format!("write `{}`, or `{}/32`", net.trunc(), net.addr())))
    }
}

impl TextField for MobileAddress {
    const FORMAT: &'static str = "ipv4-host";
    const WHAT: &'static str = "an IPv4 host address (A.B.C.D or A.B.C.D/32)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse().map_err(|_| match text.parse::<Ipv4Net>() {
            Ok(_) => Complaint {
                id: "not-a-host-route",
                message: format!("`{text}` is a prefix, and only single addresses move"),
                hint: Some(
                    "write one address; each address that moves has a claim of its own".to_owned(),
                ),
            },
            Err(_) => explain::<Self>("bad-address", text),
        })
    }
}

/// The address of a node inside the overlay: a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverlayAddress(pub(crate) Ipv4Addr);

impl TextField for OverlayAddress {
    const FORMAT: &'static str = "overlay-address";
    const WHAT: &'static str = "an IPv4 host address (A.B.C.D or A.B.C.D/32)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let host = text.strip_suffix("/32").unwrap_or(text);
        let address: Ipv4Addr = host.parse().map_err(|_| match text.parse::<Ipv4Net>() {
            Ok(net) => Complaint::not::<Self>("bad-address", text)
                .hint(format!("write the node's address alone: `{}`", net.addr())),
            Err(_) => explain::<Self>("bad-address", text),
        })?;
        if unusable(address) {
            return Err(Complaint::not::<Self>("bad-address", text)
                .hint("a node's address is neither unspecified, loopback nor multicast"));
        }
        Ok(Self(address))
    }
}

/// An address of an interface with the length of its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InterfaceAddress(pub(crate) IpNet);

impl TextField for InterfaceAddress {
    const FORMAT: &'static str = "interface-address";
    const WHAT: &'static str = "an address with its prefix length (A.B.C.D/N)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let net: IpNet = text.parse().map_err(|_| match text.parse::<IpAddr>() {
            Ok(_) => Complaint::not::<Self>("bad-address", text)
                .hint("add the length of its subnet, for example `/24`, or `/32` for none"),
            Err(_) => Complaint::not::<Self>("bad-address", text),
        })?;
        let refuse = |why: &str| Complaint {
            id: "bad-address",
            message: format!("`{text}` cannot be an address of an interface"),
            hint: Some(why.to_owned()),
        };
        match net {
            IpNet::V4(v4) if unusable(v4.addr()) => {
                Err(refuse("it is unspecified, loopback or multicast"))
            }
            IpNet::V4(v4) if v4.prefix_len() < 31 && v4.addr() == v4.network() => {
                Err(refuse("it is the number of the subnet itself"))
            }
            IpNet::V4(v4) if v4.prefix_len() < 31 && v4.addr() == v4.broadcast() => {
                Err(refuse("it is the broadcast address of the subnet"))
            }
            IpNet::V6(v6) if v6.addr().is_unspecified() || v6.addr().is_multicast() => {
                Err(refuse("it is unspecified or multicast"))
            }
            _ => Ok(Self(net)),
        }
    }
}

/// A prefix of WireGuard's allowed IPs. Like `wg`, reads a bare address as a host and cuts host bits off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AllowedIp(pub(crate) IpNet);

impl TextField for AllowedIp {
    const FORMAT: &'static str = "allowed-ip";
    const WHAT: &'static str = "a prefix (A.B.C.D/N) or an address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let net = text.parse().or_else(|_| text.parse().map(IpAddr::into));
        let net: Result<IpNet, std::net::AddrParseError> = net;
        net.map(|net| Self(net.trunc()))
            .map_err(|_| Complaint::not::<Self>("bad-prefix", text))
    }
}

/// Whether no host can have this address.
fn unusable(address: Ipv4Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
}

/// Whether hosts can live in all of this prefix: neither 0/8, loopback, link-local, multicast nor reserved.
pub(crate) fn host_range(prefix: Ipv4Net) -> bool {
    const NEVER: [(Ipv4Addr, u8); 5] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    NEVER.iter().all(|&(network, length)| {
        let never = Ipv4Net::new_assert(network, length);
        !never.contains(&prefix) && !prefix.contains(&never)
    })
}
