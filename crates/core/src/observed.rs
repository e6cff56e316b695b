//! What the host looks like right now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use api::{IfName, MobileAddress};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::effective::{RouteKey, RouteTarget};
use crate::encapsulation::{Encapsulation, KernelTunnel, PlainTunnel};
use crate::key::PublicKey;
use crate::path_mtu::PathTarget;
use crate::sysctl::Sysctl;

/// What to look for beyond what is always observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Private and preshared key files whose public half is wanted.
    pub key_files: BTreeSet<PathBuf>,
    /// Destinations whose route is wanted (`ip route get`).
    pub lookups: BTreeSet<IpAddr>,
    /// Peers inside tunnels whose path MTU is wanted.
    pub paths: BTreeSet<PathTarget>,
    /// Endpoints of tunnels that let their packets be fragmented: the network is asked what it carries.
    pub endpoints: BTreeSet<SocketAddrV4>,
    /// Tunnel drivers that are wanted if the kernel has them. Asking loads a module, so only these are asked for.
    pub tunnels: BTreeSet<KernelTunnel>,
    /// Destinations for which the routes of BGP are wanted as well: there may be very many others.
    pub bgp: BTreeSet<Ipv4Net>,
    /// Whether to read the host firewall (all nft tables, legacy iptables); costs tens of milliseconds.
    pub firewall: bool,
    /// Whether to ask how the clock is kept.
    pub clock: bool,
}

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// What this kernel can do.
    pub features: Features,
    /// Interfaces by name.
    pub links: BTreeMap<IfName, Link>,
    /// Addresses, IPv4 and IPv6.
    pub addresses: BTreeSet<Address>,
    /// IPv4 unicast and blackhole routes of all tables; of those that BGP chose only what [`Query::bgp`] asks for.
    pub routes: Vec<Route>,
    /// Proxy neighbours, IPv4.
    pub proxy_neighbours: BTreeSet<ProxyNeighbour>,
    /// Settings, for `all`, `default` and every link.
    pub sysctls: BTreeMap<Sysctl, i32>,
    /// All nft tables, by name only.
    pub tables: Vec<NftTable>,
    /// The content of our MSS table if it stands exactly in the form that routerd writes; absent if it is
    /// missing or was altered.
    pub mss: Option<BTreeMap<IfName, MssClamp>>,
    /// WireGuard devices, kernel and user space.
    pub wireguard: BTreeMap<IfName, WireGuardDevice>,
    /// Plain tunnels, of the kernel and in user space.
    pub plain_tunnels: BTreeMap<IfName, PlainTunnelDevice>,
    /// UDP ports that the kernel feeds to tunnels.
    pub fou_ports: BTreeMap<u16, FouPort>,
    /// Answers for [`Query::key_files`].
    pub key_files: BTreeMap<PathBuf, KeyFile>,
    /// Answers for [`Query::lookups`]; absent where the kernel has no route.
    pub lookups: BTreeMap<IpAddr, Lookup>,
    /// The MTUs that tunnels must not exceed: more was found not to reach a peer.
    pub path_limits: BTreeMap<IfName, u32>,
    /// The largest packets that each peer has answered.
    pub path_mtus: BTreeMap<PathTarget, u32>,
    /// Answer for [`Query::firewall`].
    pub firewall: Option<Firewall>,
    /// Answer for [`Query::clock`].
    pub clock: Option<KernelClock>,
    /// Other stations that answer ARP for an address that we capture: the last one seen, by address.
    pub arp_conflicts: BTreeMap<MobileAddress, ArpConflict>,
}

/// How the kernel's clock is kept (`adjtimex(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// Somebody keeps it in step with a reference (NTP, PTP).
    pub synchronised: bool,
    /// The most that it may be off by, in milliseconds, as whoever keeps it says.
    pub max_error_ms: u64,
}

/// What the kernel offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// Links of type `wireguard`.
    pub kernel_wireguard: bool,
    /// Those of [`Query::tunnels`] that it has.
    pub kernel_tunnels: BTreeSet<KernelTunnel>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// `ifindex`.
    pub index: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Has a carrier.
    pub carrier: bool,
    /// `wireguard`, `tun`, `veth`, `bridge`, empty for hardware, `loopback` for `lo`.
    pub kind: String,
    /// Hardware address, where it has one.
    pub mac: Option<[u8; 6]>,
    /// `ip link … alias`; ours starts with [`crate::OWNER_MARK`].
    pub alias: Option<String>,
}

/// An address on an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Where.
    pub ifname: IfName,
    /// Address and prefix length.
    pub net: IpNet,
    /// The kernel's flag: another address of the same subnet came first.
    pub secondary: bool,
    /// Carries our protocol number.
    pub owned: bool,
}

/// An IPv4 route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Table, destination, metric.
    pub key: RouteKey,
    /// Where packets go. A multipath route shows its first next hop.
    pub target: RouteTarget,
    /// `src`.
    pub preferred_source: Option<Ipv4Addr>,
    /// Protocol number; ours is [`crate::OWNER_PROTOCOL`].
    pub protocol: u8,
}

/// A proxy neighbour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyNeighbour {
    /// Where it answers.
    pub ifname: IfName,
    /// For which address.
    pub address: Ipv4Addr,
    /// Carries our protocol number.
    pub owned: bool,
}

/// An nft table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NftTable {
    /// `inet`, `ip`, …
    pub family: String,
    /// Its name.
    pub name: String,
    /// Its comment; ours is [`crate::OWNER_MARK`].
    pub comment: Option<String>,
}

/// The clamp of one tunnel: TCP SYN forwarded into it or out of it, only ever downward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MssClamp {
    /// Path MTU less 40.
    pub v4: u16,
    /// Path MTU less 60.
    pub v6: u16,
    /// Whether IPv4 packets into the tunnel lose their don't-fragment flag.
    #[serde(default)]
    pub force_fragment: bool,
}

/// Who runs a tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The kernel's module.
    Kernel,
    /// Our own process with a TUN device.
    UserSpace,
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::UserSpace => "user-space",
        })
    }
}

/// A plain tunnel as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTunnelDevice {
    /// Who runs it.
    pub driver: Driver,
    /// What its process runs.
    pub build: Build,
    /// What it is.
    pub tunnel: PlainTunnel,
}

/// What the kernel makes of packets that arrive at a UDP port of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FouPort {
    /// The payload is an IPv4 packet.
    Ipv4,
    /// Generic UDP encapsulation.
    Gue,
    /// Something that routerd does not use.
    Other,
}

impl FouPort {
    /// What an encapsulation needs.
    pub(crate) fn of(encapsulation: Encapsulation) -> Option<(u16, Self)> {
        match encapsulation {
            Encapsulation::Fou(ports) => Some((ports.source, Self::Ipv4)),
            Encapsulation::Gue(ports) => Some((ports.source, Self::Gue)),
            Encapsulation::Ipip | Encapsulation::Gre { .. } => None,
        }
    }
}

impl std::fmt::Display for FouPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipproto 4",
            Self::Gue => "gue",
            Self::Other => "other",
        })
    }
}

/// A WireGuard device as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireGuardDevice {
    /// Who runs it.
    pub driver: Driver,
    /// What its process runs.
    pub build: Build,
    /// The public key, absent if no private key is set.
    pub public_key: Option<PublicKey>,
    /// UDP port; 0 if none.
    pub listen_port: u16,
    /// Peers by public key.
    pub peers: BTreeMap<PublicKey, PeerState>,
}

/// What the process of a user-space device runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Build {
    /// The program that would be started for it now; or there is no process of ours.
    #[default]
    Current,
    /// Another build of it, which can be taken over from.
    Other,
    /// Another build of it. Taking over from it failed for this reason, and is tried again in a while.
    Kept(String),
}

/// A peer as it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerState {
    /// What identifies the preshared key, if one is set: the public half that it would have as a private
    /// key. The secret itself does not leave the `linux` crate.
    pub preshared_key: Option<PublicKey>,
    /// Allowed IPs.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Where it was last heard or told to be.
    pub endpoint: Option<SocketAddr>,
    /// Seconds; 0 is off.
    pub persistent_keepalive: u16,
    /// Age of the latest handshake in seconds; absent if there was none.
    pub handshake_age: Option<u64>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// The state of a key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFile {
    /// Not there.
    Absent,
    /// A key with this public half.
    Present(PublicKey),
    /// There, but not readable or not a key; the fragment says which.
    Bad(String),
}

/// The kernel's answer to "where would a packet to this destination go".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The device.
    pub device: IfName,
    /// The gateway, if any.
    pub gateway: Option<IpAddr>,
    /// The source that would be used.
    pub source: Option<IpAddr>,
    /// Path MTU that the kernel knows for this destination, else the device's.
    pub mtu: u32,
    /// Destination is one of the host's own addresses.
    pub local: bool,
}

/// The parts of the host firewall that decide about forwarded and incoming packets, and those that translate
/// addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firewall {
    /// Base chains on the hooks of [`Hook`] in order of priority, with the rules of the chains that they jump
    /// to inlined where that is possible.
    pub chains: Vec<FirewallChain>,
    /// Why something could not be read, if so.
    pub unreadable: Option<String>,
}

/// A base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallChain {
    /// `inet`, `ip`, `ip6`.
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The hook.
    pub hook: Hook,
    /// Whether the policy is drop.
    pub policy_drop: bool,
    /// Rules in order.
    pub rules: Vec<FirewallRule>,
}

/// A netfilter hook that doctor looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Packets for this host.
    Input,
    /// Packets through this host.
    Forward,
    /// Before the route is chosen; only chains of type `nat`.
    Prerouting,
    /// Before packets leave; only chains of type `nat`.
    Postrouting,
}

/// A rule in the little that is needed to say whether it ends a packet's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallRule {
    /// `iifname` if the rule matches exactly one.
    pub iifname: Option<String>,
    /// `oifname` if the rule matches exactly one.
    pub oifname: Option<String>,
    /// Source prefix if matched exactly.
    pub source: Option<Ipv4Net>,
    /// Destination prefix if matched exactly.
    pub destination: Option<Ipv4Net>,
    /// `tcp`, `udp`, `icmp` … if the rule matches exactly one.
    pub protocol: Option<String>,
    /// Destination port if matched exactly.
    pub destination_port: Option<u16>,
    /// Conntrack states if the rule matches on them (`established,related`).
    pub ct_states: Vec<String>,
    /// Whether the rule matches on anything that is not in the fields above.
    pub other_matches: bool,
    /// What it does.
    pub verdict: Verdict,
    /// The rule in nft's syntax as far as it is known, for messages, with its handle.
    pub text: String,
}

/// What a rule does to a packet that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Ends this chain's say.
    Accept,
    /// Dropped or rejected.
    Drop,
    /// Its source or destination is rewritten, for the whole connection.
    Translate,
    /// Goes on.
    Continue,
}

/// Somebody else answers for an address that we capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArpConflict {
    /// Where it was heard.
    pub ifname: IfName,
    /// His hardware address.
    pub mac: [u8; 6],
    /// Seconds since it was last heard.
    pub age: u64,
}
