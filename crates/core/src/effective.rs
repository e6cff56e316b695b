//! What the configuration asks for, with references resolved, before the host is looked at.
//!
//! Kinds never import each other; they meet here. Every intent carries its owner.

mod bgp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::plugin::Capability;
use api::{IfName, MobileAddress, Place, ResourceId};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::action::Policy;
use crate::dynamic::{Part, Policies};
use crate::encapsulation::Encapsulation;
use crate::federation::intent::Federation;
use crate::key::{KeySource, PublicKey};
use crate::observer::Source;

pub use self::bgp::{
    BfdIntent, BgpIntent, Hops, Monitoring, MrtArchive, Password, PasswordSource, Redistribute,
    Transport,
};

/// Everything that is asked for.
#[derive(Debug, Clone, Default)]
pub struct Effective {
    /// `metadata.name` of the Router; absent: the resources stand alone.
    pub node: Option<String>,
    /// Every resource, for `get` and `describe`.
    pub resources: BTreeMap<ResourceId, Declared>,
    /// Interfaces that somebody else made; at most one intent an interface.
    pub interfaces: BTreeMap<IfName, InterfaceIntent>,
    /// WireGuard interfaces that routerd makes.
    pub wireguard: BTreeMap<IfName, WireGuardIntent>,
    /// The further devices of WireGuard interfaces whose flows are spread over several; each is in `wireguard` too.
    pub stripes: BTreeMap<IfName, Vec<IfName>>,
    /// Tunnels without encryption of their own that routerd makes.
    pub plain_tunnels: BTreeMap<IfName, PlainTunnelIntent>,
    /// The peers inside each tunnel, and who names them.
    pub inside: BTreeMap<IfName, BTreeMap<Ipv4Addr, ResourceId>>,
    /// Tunnels whose packets are fragmented even where they forbid it.
    pub force_fragment: BTreeSet<IfName>,
    /// Addresses to hold.
    pub addresses: BTreeMap<(IfName, IpNet), AddressIntent>,
    /// Routes to hold: of users, hybrid routes and claims.
    pub routes: BTreeMap<RouteKey, RouteIntent>,
    /// Addresses to capture at this site.
    pub captures: BTreeMap<MobileAddress, CaptureIntent>,
    /// Tunnels that carry forwarded traffic: the owners of what is delivered, by tunnel.
    pub delivery: BTreeMap<IfName, BTreeSet<ResourceId>>,
    /// The BGP speaker.
    pub bgp: Option<BgpIntent>,
    /// What executors may change in clouds, by name.
    pub policies: BTreeMap<String, Policy>,
    /// Programs that observe, propose and execute, by name.
    pub plugins: BTreeMap<String, PluginIntent>,
    /// What is asked of event federation.
    pub federation: Federation,
    /// What dynamic sources may add and mask.
    pub permissions: Policies,
    /// Dynamic parts that a person wrote.
    pub parts: Vec<Arc<Part>>,
    /// Plugins that run by themselves to make dynamic parts, by name.
    pub sources: BTreeMap<String, SourceIntent>,
    /// Where clients are looked for, by name.
    pub observers: BTreeMap<String, ObserverIntent>,
    /// Hardware addresses of the fabric's routers: none of them is a client.
    pub router_macs: BTreeSet<[u8; 6]>,
}

impl Effective {
    /// Whether routerd makes this interface.
    pub fn makes(&self, ifname: &IfName) -> bool {
        self.wireguard.contains_key(ifname) || self.plain_tunnels.contains_key(ifname)
    }

    /// The interface that this one is a further stripe of.
    pub fn striped(&self, ifname: &IfName) -> Option<&IfName> {
        let mut stripes = self.stripes.iter();
        let found = stripes.find(|(_, stripes)| stripes.contains(ifname));
        found.map(|(first, _)| first)
    }
}

/// A resource as it was written.
#[derive(Debug, Clone)]
pub struct Declared {
    /// For example `hybrid.routerd.net/v1alpha1`.
    pub api_version: String,
    /// Words to select by.
    pub labels: BTreeMap<String, String>,
    /// Notes, and where a dynamic resource comes from.
    pub annotations: BTreeMap<String, String>,
    /// The specification with secrets removed.
    pub spec: serde_json::Value,
    /// Where it stands.
    pub place: Option<Place>,
}

/// An interface that exists without us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// Whether routerd may set its MTU and state; otherwise it is only observed.
    pub managed: bool,
    /// The MTU to set; only on a managed interface.
    pub mtu: Option<u32>,
}

/// A WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireGuardIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// Its private key.
    pub private_key: KeySource,
    /// The UDP port; absent: any.
    pub listen_port: Option<u16>,
    /// The MTU; absent: the underlay's path MTU less WireGuard's overhead.
    pub mtu: Option<u32>,
    /// Peers by public key.
    pub peers: BTreeMap<PublicKey, WireGuardPeerIntent>,
}

/// A WireGuard peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireGuardPeerIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// A file with the preshared key.
    pub preshared_key: Option<PathBuf>,
    /// Written by hand and derived from what is delivered through the peer.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Where the peer is; absent: it calls us.
    pub endpoint: Option<SocketAddr>,
    /// Keepalive interval in seconds.
    pub persistent_keepalive: Option<u16>,
}

/// A tunnel without encryption of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTunnelIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// What goes around its packets.
    pub encapsulation: Encapsulation,
    /// This end.
    pub local: LocalEnd,
    /// The other end.
    pub remote: Ipv4Addr,
    /// The device that it is bound to; absent: what the kernel routes `remote` to.
    pub underlay: Option<IfName>,
    /// The MTU; absent: what the underlay carries less the overhead.
    pub mtu: Option<u32>,
    /// Time to live of the outer header.
    pub ttl: u8,
}

/// The address of this end of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalEnd {
    /// This one.
    Address(Ipv4Addr),
    /// The first one of this interface.
    Of(IfName),
}

/// An address to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressIntent {
    /// Who asks.
    pub owner: ResourceId,
}

/// What makes a route one of its kind for the kernel: `ip route add` of a second one is an error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteKey {
    /// Routing table; 254 is main.
    pub table: u32,
    /// Destination.
    pub destination: Ipv4Net,
    /// Metric.
    pub metric: u32,
}

/// A route to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// Where packets go.
    pub target: RouteTarget,
    /// `src` of the route.
    pub preferred_source: Option<Ipv4Addr>,
}

/// Where packets of a route go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteTarget {
    /// Out of a device, through a gateway, or both. At least one is there.
    Unicast {
        /// `dev`.
        device: Option<IfName>,
        /// `via`.
        gateway: Option<Ipv4Addr>,
    },
    /// Out of several devices, each flow by one of them (`nexthop dev …`).
    Spread {
        /// In the order of their numbers.
        devices: Vec<IfName>,
    },
    /// Dropped.
    Blackhole,
}

impl RouteTarget {
    /// `via`.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Unicast { gateway, .. } => *gateway,
            Self::Spread { .. } | Self::Blackhole => None,
        }
    }

    /// `dev`, as many as there are.
    pub fn devices(&self) -> impl Iterator<Item = &IfName> {
        let (one, several) = match self {
            Self::Unicast { device, .. } => (device.as_ref(), &[][..]),
            Self::Spread { devices } => (None, &devices[..]),
            Self::Blackhole => (None, &[][..]),
        };
        one.into_iter().chain(several)
    }

    /// Whether packets may leave by this device.
    pub fn leaves_by(&self, ifname: &IfName) -> bool {
        self.devices().any(|device| device == ifname)
    }
}

/// An address to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The mobility domain's prefix: the interface with an address in it is the capture interface when none
    /// is named.
    pub domain: Ipv4Net,
    /// The capture interface; absent: found on the host.
    pub interface: Option<IfName>,
    /// The device that delivers it.
    pub tunnel: IfName,
    /// What chooses the way.
    pub delivery: DeliveryIntent,
    /// How packets for it get here.
    pub method: CaptureMethod,
}

/// What chooses the way to a captured address's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryIntent {
    /// The configuration, by a route of its own.
    Route,
    /// BGP: nothing is captured before there is a path.
    Bgp {
        /// A route that goes the same way, ahead of the kernel's own entry for an address that a guest agent may put
        /// on this host.
        outrank: Option<RouteKey>,
    },
}

/// How packets for a captured address get to this router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureMethod {
    /// A proxy neighbour on the LAN.
    ProxyArp {
        /// Announce it when the capture becomes active.
        gratuitous: bool,
    },
    /// A secondary private IP of the router's NIC; the address must stay off the guest OS.
    ProviderSecondaryIp {
        /// The profile, for provider actions.
        provider: Option<ResourceId>,
        /// The NIC in the provider's own form; absent: found through the metadata service.
        nic_ref: Option<String>,
    },
    /// An entry of the provider's route table.
    RouteTable {
        /// The profile, for provider actions.
        provider: Option<ResourceId>,
    },
}

/// A program that routerd starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The program.
    pub executable: PathBuf,
    /// After this it is killed.
    pub timeout: Duration,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// What it may do.
    pub capabilities: BTreeSet<Capability>,
    /// The resources that it is given.
    pub context: BTreeSet<ResourceKey>,
    /// Its user; absent: nobody.
    pub user: Option<String>,
    /// Whether it is kept away from everything that it does not need.
    pub sandbox: bool,
}

/// A plugin that runs by itself; what it says becomes a dynamic part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceIntent {
    /// Who asks, and the source of the parts.
    pub owner: ResourceId,
    /// The plugin's name.
    pub plugin: String,
    /// The longest that a part counts; absent: as long as the plugin says.
    pub ttl: Option<Duration>,
    /// How often it runs; absent: not by time.
    pub every: Option<Duration>,
    /// The types of events that it runs for.
    pub topics: BTreeSet<String>,
}

/// Where clients are looked for, and whom they are told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The group that is told.
    pub group: String,
    /// The name of this node in the group.
    pub node: String,
    /// Where clients have their addresses.
    pub prefix: Ipv4Net,
    /// The mobility domain, as the other nodes know it.
    pub domain: String,
    /// The side that clients live on: `onprem` or `cloud`.
    pub side: String,
    /// What is believed.
    pub sources: BTreeSet<Source>,
    /// How often tables and files are read.
    pub scan_interval: Duration,
    /// After so long without a sign of life a client is gone.
    pub ttl: Duration,
}

/// A resource with its whole name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceKey {
    /// For example `hybrid.routerd.net/v1alpha1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}
