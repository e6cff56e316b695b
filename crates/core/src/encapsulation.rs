//! Plain tunnels, those without encryption of their own: what they put around a packet, and what that costs.

use std::fmt;
use std::net::Ipv4Addr;

use api::IfName;
use serde::{Deserialize, Serialize};

/// An IPv4 header without options.
const IPV4: u32 = 20;
/// A UDP header.
const UDP: u32 = 8;

/// What goes around a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// IPv4 in IPv4 (RFC 2003).
    Ipip,
    /// GRE (RFC 2784), with a key (RFC 2890) if there is one.
    Gre {
        /// Tells tunnels between the same two addresses apart.
        key: Option<u32>,
    },
    /// An IPv4 packet as the payload of UDP (Linux's "foo over UDP").
    Fou(UdpPorts),
    /// An IPv4 packet behind a four-byte header in UDP (draft-ietf-intarea-gue, variant 0).
    Gue(UdpPorts),
}

/// The UDP ports of an encapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UdpPorts {
    /// This end's: packets leave from it and arrive at it.
    pub source: u16,
    /// The other end's.
    pub destination: u16,
}

impl Encapsulation {
    /// Bytes around every packet, outer IPv4 header included.
    pub fn overhead(self) -> u32 {
        match self {
            Self::Ipip => IPV4,
            Self::Gre { key: None } => IPV4 + 4,
            Self::Gre { key: Some(_) } => IPV4 + 8,
            Self::Fou(_) => IPV4 + UDP,
            Self::Gue(_) => IPV4 + UDP + 4,
        }
    }

    /// `mode` as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gre { .. } => "gre",
            Self::Fou(_) => "fou",
            Self::Gue(_) => "gue",
        }
    }

    /// The ports, if it goes over UDP.
    pub fn ports(self) -> Option<UdpPorts> {
        match self {
            Self::Fou(ports) | Self::Gue(ports) => Some(ports),
            Self::Ipip | Self::Gre { .. } => None,
        }
    }

    /// The type of link that carries it in the kernel.
    pub fn link_kind(self) -> &'static str {
        match self {
            Self::Gre { .. } => "gre",
            Self::Ipip | Self::Fou(_) | Self::Gue(_) => "ipip",
        }
    }

    /// What the kernel must offer for it.
    pub fn needs(self) -> KernelTunnel {
        match self {
            Self::Ipip => KernelTunnel::Ipip,
            Self::Gre { .. } => KernelTunnel::Gre,
            Self::Fou(_) | Self::Gue(_) => KernelTunnel::Fou,
        }
    }
}

/// A tunnel driver that a kernel may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelTunnel {
    /// Links of type `ipip`.
    Ipip,
    /// Links of type `gre`.
    Gre,
    /// Links of type `ipip`, and UDP ports that feed them.
    Fou,
}

/// A plain tunnel as it is, or as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainTunnel {
    /// What goes around its packets.
    pub encapsulation: Encapsulation,
    /// Our end: packets leave from it, and only those for it are taken.
    pub local: Ipv4Addr,
    /// The other end: only packets from it are taken.
    pub remote: Ipv4Addr,
    /// The device that it is bound to. Packets that come by another one are not taken, and none leave by one.
    pub underlay: Option<IfName>,
    /// Time to live of the outer header.
    pub ttl: u8,
}

/// What the kernel tells its tunnels apart by: type of link, both ends, underlay, key of gre. Ports do not count.
pub(crate) type Ends<'a> = (
    &'static str,
    Ipv4Addr,
    Ipv4Addr,
    Option<&'a IfName>,
    Option<u32>,
);

impl PlainTunnel {
    pub(crate) fn ends(&self) -> Ends<'_> {
        let key = match self.encapsulation {
            Encapsulation::Gre { key } => key,
            Encapsulation::Ipip | Encapsulation::Fou(_) | Encapsulation::Gue(_) => None,
        };
        let kind = self.encapsulation.link_kind();
        (kind, self.local, self.remote, self.underlay.as_ref(), key)
    }
}

impl fmt::Display for PlainTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local {} remote {}", self.local, self.remote)?;
        if let Some(underlay) = &self.underlay {
            write!(f, " dev {underlay}")?;
        }
        write!(f, " ttl {}", self.ttl)?;
        if let Encapsulation::Gre { key: Some(key) } = self.encapsulation {
            write!(f, " key {key}")?;
        }
        match self.encapsulation.ports() {
            Some(ports) => write!(
                f,
                " encap {} encap-sport {} encap-dport {}",
                self.encapsulation.word(),
                ports.source,
                ports.destination
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overheads_are_those_of_the_headers() {
        let ports = UdpPorts {
            source: 5555,
            destination: 5555,
        };
        let all = [
            Encapsulation::Ipip,
            Encapsulation::Gre { key: None },
            Encapsulation::Gre { key: Some(7) },
            Encapsulation::Fou(ports),
            Encapsulation::Gue(ports),
        ];
        assert_eq!(all.map(Encapsulation::overhead), [20, 24, 28, 28, 32]);
    }

    #[test]
    fn a_tunnel_prints_as_ip_link_takes_it() {
        let mut tunnel = PlainTunnel {
            encapsulation: Encapsulation::Gre { key: Some(7) },
            local: [10, 255, 0, 1].into(),
            remote: [10, 255, 0, 2].into(),
            underlay: Some("wg0".parse().expect("name")),
            ttl: 64,
        };
        assert_eq!(
            tunnel.to_string(),
            "local 10.255.0.1 remote 10.255.0.2 dev wg0 ttl 64 key 7"
        );
        tunnel.underlay = None;
        tunnel.encapsulation = Encapsulation::Fou(UdpPorts {
            source: 5555,
            destination: 5556,
        });
        assert_eq!(
            tunnel.to_string(),
            "local 10.255.0.1 remote 10.255.0.2 ttl 64 encap fou encap-sport 5555 encap-dport 5556"
        );
    }
}
