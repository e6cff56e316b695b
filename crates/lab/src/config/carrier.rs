//! What carries the packets between the sites, and its part of the configuration.

use std::fmt;
use std::net::Ipv4Addr;

use super::{TUNNEL, overlay_address, resource};
use crate::fabric::header::protocol;
use crate::topology::{Site, TwoSite};

/// The plain tunnel of both routers, where there is one.
pub const PLAIN_TUNNEL: &str = "t-hybrid";

/// The port of fou at both ends.
const FOU_PORT: u16 = 5555;

/// A tunnel that encrypts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// IP in IP (RFC 2003).
    Ipip,
    /// GRE with a key (RFC 2890).
    Gre,
    /// IP in UDP.
    Fou,
}

/// What carries the packets between the sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// WireGuard alone.
    Wireguard,
    /// A plain tunnel inside WireGuard.
    Inside(Mode),
    /// A plain tunnel over a network that is trusted.
    Clear(Mode),
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gre => "gre",
            Self::Fou => "fou",
        }
    }

    /// Bytes around a packet: the IP header, and GRE's with a key or UDP's.
    const fn overhead(self) -> u32 {
        match self {
            Self::Ipip => 20,
            Self::Gre | Self::Fou => 28,
        }
    }
}

impl Carrier {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Wireguard,
        Self::Inside(Mode::Ipip),
        Self::Inside(Mode::Gre),
        Self::Inside(Mode::Fou),
        Self::Clear(Mode::Ipip),
        Self::Clear(Mode::Gre),
        Self::Clear(Mode::Fou),
    ];

    /// Bytes around a packet on the underlay; WireGuard's are 60 over IPv4.
    pub const fn overhead(self) -> u32 {
        match self {
            Self::Wireguard => 60,
            Self::Inside(mode) => 60 + mode.overhead(),
            Self::Clear(mode) => mode.overhead(),
        }
    }

    /// Whether there is a WireGuard interface.
    pub const fn is_encrypted(self) -> bool {
        !matches!(self, Self::Clear(_))
    }

    /// The kind and the name of the resource that packets for the other site leave by.
    pub const fn device(self) -> (&'static str, &'static str) {
        match self {
            Self::Wireguard => ("WireGuardInterface", TUNNEL),
            Self::Inside(_) | Self::Clear(_) => ("TunnelInterface", PLAIN_TUNNEL),
        }
    }

    /// The IP protocol and the ports that a cloud's rules have to let through beside WireGuard's.
    pub const fn needs(self) -> Option<(u8, Option<(u16, u16)>)> {
        match self {
            Self::Clear(Mode::Ipip) => Some((protocol::IPIP, None)),
            Self::Clear(Mode::Gre) => Some((protocol::GRE, None)),
            Self::Clear(Mode::Fou) => Some((protocol::UDP, Some((FOU_PORT, FOU_PORT)))),
            Self::Wireguard | Self::Inside(_) => None,
        }
    }

    /// `underlay.type` of an OverlayPeer.
    pub(super) const fn underlay_type(self) -> &'static str {
        match self {
            Self::Wireguard => "wireguard",
            Self::Inside(mode) | Self::Clear(mode) => mode.word(),
        }
    }

    /// The routers' own addresses inside.
    pub(super) fn address(self, site: Site) -> Ipv4Addr {
        match (self, site) {
            (Self::Wireguard, _) => overlay_address(site),
            (_, Site::Cloud) => Ipv4Addr::new(10, 255, 61, 1),
            (_, Site::Onprem) => Ipv4Addr::new(10, 255, 61, 2),
        }
    }

    /// The TunnelInterface, if one is needed.
    pub(super) fn tunnel(self, two_site: &TwoSite, site: Site) -> Option<String> {
        let (mode, ends) = match self {
            Self::Wireguard => return None,
            Self::Inside(mode) => {
                let remote = overlay_address(site.other());
                let ends = format!("underlayInterface: {TUNNEL}\nremote: {remote}\n");
                (mode, ends)
            }
            Self::Clear(mode) => {
                let local = two_site.underlay_address(site);
                let remote = two_site.public_address(site.other());
                let ends = format!("local: {local}\nremote: {remote}\ntrustedUnderlay: true\n");
                (mode, ends)
            }
        };
        let more = match mode {
            Mode::Ipip => String::new(),
            Mode::Gre => "key: 7\n".to_owned(),
            Mode::Fou => format!("encapSport: {FOU_PORT}\nencapDport: {FOU_PORT}\n"),
        };
        let address = self.address(site);
        let spec = format!("mode: {}\naddress: {address}/30\n{ends}{more}", mode.word());
        Some(resource("net", "TunnelInterface", PLAIN_TUNNEL, &spec))
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wireguard => f.write_str("wireguard"),
            Self::Inside(mode) => write!(f, "{}-in-wireguard", mode.word()),
            Self::Clear(mode) => write!(f, "{}-in-clear", mode.word()),
        }
    }
}
