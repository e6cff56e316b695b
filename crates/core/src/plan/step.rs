//! The steps that a plan is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use api::{IfName, ResourceId};
use ipnet::IpNet;

use crate::encapsulation::PlainTunnel;
use crate::key::{KeySource, PublicKey};
use crate::observed::{Driver, FouPort, MssClamp, Route};
use crate::sysctl::Sysctl;

/// One change of the host and the resource on whose behalf it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Whose.
    pub owner: ResourceId,
    /// What.
    pub action: Action,
}

/// A change of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Writes a new private key, mode 0600 in a directory of mode 0700; never overwrites.
    GenerateKey {
        /// The file.
        path: PathBuf,
    },
    /// Makes a WireGuard interface and marks it as ours; what of this is already so is left: the process is
    /// started for a link that outlived it, the mark is set on a link that lost it.
    CreateWireGuard {
        /// Its name.
        ifname: IfName,
        /// Who runs it.
        driver: Driver,
    },
    /// Configures a WireGuard interface.
    SetWireGuard {
        /// Its name.
        ifname: IfName,
        /// What changes; the rest stays.
        change: WireGuardChange,
    },
    /// Has a process of this build take a WireGuard device over from one of another build; no packet is lost by that.
    /// Where it fails the old process goes on, which fails no plan: what is observed next says so.
    TakeOverWireGuard {
        /// Its name.
        ifname: IfName,
    },
    /// Makes a plain tunnel and marks it as ours; what of this is already so is left.
    CreateTunnel {
        /// Its name.
        ifname: IfName,
        /// Who runs it.
        driver: Driver,
        /// What it is.
        tunnel: PlainTunnel,
    },
    /// Makes a plain tunnel another one: its link stays, with all that hangs on it.
    ChangeTunnel {
        /// Its name.
        ifname: IfName,
        /// Who runs it.
        driver: Driver,
        /// What it becomes.
        tunnel: PlainTunnel,
    },
    /// The same as [`Action::TakeOverWireGuard`] for a plain tunnel.
    TakeOverTunnel {
        /// Its name.
        ifname: IfName,
        /// What it is, and stays.
        tunnel: PlainTunnel,
    },
    /// Has the kernel feed what arrives at a UDP port to tunnels.
    AddFouPort {
        /// The port.
        port: u16,
        /// What to.
        feeds: FouPort,
    },
    /// Gives such a port back.
    RemoveFouPort {
        /// The port.
        port: u16,
    },
    /// Removes an interface that routerd made, and the process behind it.
    DeleteLink {
        /// Its name.
        ifname: IfName,
    },
    /// Sets the MTU or the state of an interface.
    SetLink {
        /// Its name.
        ifname: IfName,
        /// New MTU, if it changes.
        mtu: Option<u32>,
        /// New state, if it changes.
        up: Option<bool>,
    },
    /// Adds an address with our protocol number.
    AddAddress {
        /// Where.
        ifname: IfName,
        /// Which.
        net: IpNet,
    },
    /// Removes an address: ours, or a captured one that an agent put on the OS.
    RemoveAddress {
        /// Where.
        ifname: IfName,
        /// Which.
        net: IpNet,
    },
    /// Adds a route where there is none with its key (`NLM_F_EXCL`: one that somebody else added meanwhile is
    /// not touched).
    AddRoute(Route),
    /// Puts a route in the place of the one with its key, without a gap.
    ReplaceRoute(Route),
    /// Removes a route of ours.
    RemoveRoute(Route),
    /// Adds a proxy neighbour with our protocol number.
    AddProxyNeighbour {
        /// Where.
        ifname: IfName,
        /// For which address.
        address: Ipv4Addr,
    },
    /// Removes a proxy neighbour.
    RemoveProxyNeighbour {
        /// Where.
        ifname: IfName,
        /// For which address.
        address: Ipv4Addr,
    },
    /// Sets a kernel setting.
    SetSysctl {
        /// Which.
        sysctl: Sysctl,
        /// To what.
        value: i32,
        /// What it is now.
        from: i32,
    },
    /// Writes the whole MSS table in one transaction.
    SetMssTable {
        /// The clamp of each tunnel.
        clamps: BTreeMap<IfName, MssClamp>,
    },
    /// Removes an nft table of ours.
    RemoveTable {
        /// `inet`.
        family: String,
        /// Its name.
        name: String,
    },
}

/// What changes about a WireGuard interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WireGuardChange {
    /// Load this private key.
    pub private_key: Option<KeySource>,
    /// Listen here.
    pub listen_port: Option<u16>,
    /// Peers that appear, change or go. To be done in three passes, so that no prefix is without an owner
    /// in between: everything of [`PeerChange::Set`] with the prefixes to add (WireGuard takes a prefix from
    /// its old peer in the same moment), then the prefixes to remove, then [`PeerChange::Remove`].
    pub peers: BTreeMap<PublicKey, PeerChange>,
}

/// What changes about a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerChange {
    /// It appears, or these values of it change.
    Set {
        /// What happens to the preshared key, if anything.
        preshared_key: Option<PresharedKeyChange>,
        /// What happens to the allowed IPs, if anything.
        allowed_ips: Option<AllowedIpsChange>,
        /// New endpoint, if it changes.
        endpoint: Option<SocketAddr>,
        /// New keepalive in seconds (0 is off), if it changes.
        persistent_keepalive: Option<u16>,
    },
    /// It goes.
    Remove,
}

/// What happens to a preshared key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresharedKeyChange {
    /// Load it from this file.
    Load(PathBuf),
    /// Use none any more.
    Clear,
}

/// How the allowed IPs of a peer change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedIpsChange {
    /// The whole new list.
    pub all: BTreeSet<IpNet>,
    /// Those of it that are new to this peer; some may be another peer's until then.
    pub add: BTreeSet<IpNet>,
    /// Those that no peer has any more. A prefix that moves to another peer is only in that one's `add`.
    pub remove: BTreeSet<IpNet>,
}
