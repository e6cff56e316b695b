//! The concrete kernel state that is wanted on this very host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use api::plan::Waiting;
use api::{IfName, MobileAddress, ResourceId};
use ipnet::IpNet;

use crate::effective::{PlainTunnelIntent, RouteKey, WireGuardIntent};
use crate::encapsulation::PlainTunnel;
use crate::key::{KeySource, PublicKey};
use crate::observed::{Driver, MssClamp, Route};
use crate::sysctl::Sysctl;

/// What the host should look like as far as routerd has a say, and what is wanted but not possible yet.
#[derive(Debug, Default)]
pub(crate) struct Desired<'a> {
    /// Links that routerd makes.
    pub(crate) tunnels: BTreeMap<&'a IfName, Tunnel<'a>>,
    /// Plain tunnels that routerd makes.
    pub(crate) plain: BTreeMap<&'a IfName, PlainWish<'a>>,
    /// Links that routerd would make if it could, and why it cannot. If they are there they stay.
    pub(crate) stalled: BTreeMap<&'a IfName, String>,
    /// Links of others that routerd may change.
    pub(crate) links: BTreeMap<&'a IfName, LinkWish<'a>>,
    pub(crate) addresses: BTreeMap<(&'a IfName, IpNet), &'a ResourceId>,
    /// Where each address is captured.
    pub(crate) captures: BTreeMap<MobileAddress, &'a IfName>,
    /// Captured addresses that an agent put on the OS.
    pub(crate) unwanted: BTreeMap<(&'a IfName, IpNet), &'a ResourceId>,
    pub(crate) routes: BTreeMap<&'a RouteKey, RouteWish<'a>>,
    pub(crate) proxies: BTreeMap<(&'a IfName, Ipv4Addr), &'a ResourceId>,
    pub(crate) settings: BTreeMap<Sysctl, SettingWish<'a>>,
    pub(crate) clamps: BTreeMap<&'a IfName, ClampWish<'a>>,
    pub(crate) waiting: Vec<Waiting>,
}

/// A WireGuard interface that can be there.
#[derive(Debug)]
pub(crate) struct Tunnel<'a> {
    pub(crate) intent: &'a WireGuardIntent,
    pub(crate) driver: Driver,
    /// The key to load; absent if the device already runs with it, or it cannot be had.
    pub(crate) load_key: Option<&'a KeySource>,
    /// The key file has to be made first.
    pub(crate) generate_key: bool,
    pub(crate) mtu: u32,
    /// The least path MTU inside the tunnel: its MTU, or less where the underlay carries less.
    pub(crate) path_mtu: u32,
    /// Peers whose configuration is complete.
    pub(crate) peers: BTreeMap<PublicKey, PeerWish>,
}

/// A plain tunnel that can be there.
#[derive(Debug)]
pub(crate) struct PlainWish<'a> {
    pub(crate) intent: &'a PlainTunnelIntent,
    pub(crate) driver: Driver,
    pub(crate) tunnel: PlainTunnel,
    pub(crate) mtu: u32,
    /// What really fits through it: its MTU, or less where the underlay carries less.
    pub(crate) path_mtu: u32,
    /// What the underlay carries, if that is known.
    pub(crate) carries: Option<u32>,
}

/// A peer as it should be.
#[derive(Debug)]
pub(crate) struct PeerWish {
    pub(crate) preshared_key: Option<(PathBuf, PublicKey)>,
    pub(crate) allowed_ips: BTreeSet<IpNet>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) persistent_keepalive: u16,
}

/// What should become of somebody else's link.
#[derive(Debug)]
pub(crate) struct LinkWish<'a> {
    pub(crate) owner: &'a ResourceId,
    pub(crate) mtu: Option<u32>,
}

/// A route and whose it is.
#[derive(Debug)]
pub(crate) struct RouteWish<'a> {
    pub(crate) owner: &'a ResourceId,
    pub(crate) route: Route,
}

/// A setting, its value, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SettingWish<'a> {
    pub(crate) owner: &'a ResourceId,
    pub(crate) value: i32,
}

/// A clamp and whose it is.
#[derive(Debug)]
pub(crate) struct ClampWish<'a> {
    pub(crate) owner: &'a ResourceId,
    pub(crate) clamp: MssClamp,
}

impl<'a> Desired<'a> {
    /// Notes that something has to wait.
    pub(crate) fn wait(&mut self, owner: &ResourceId, reason: impl Into<String>) {
        self.waiting.push(Waiting {
            owner: owner.clone(),
            reason: reason.into(),
        });
    }

    /// Wants a setting; the first who asks owns it.
    pub(crate) fn want_setting(&mut self, sysctl: Sysctl, owner: &'a ResourceId, value: i32) {
        let wish = SettingWish { owner, value };
        self.settings.entry(sysctl).or_insert(wish);
    }

    /// Whether anything that is wanted hangs on this link.
    pub(crate) fn uses(&self, ifname: &IfName) -> bool {
        let leaves_by = |wish: &RouteWish<'_>| wish.route.target.leaves_by(ifname);
        self.addresses.keys().any(|(name, _)| *name == ifname)
            || self.captures.values().any(|name| *name == ifname)
            || self.routes.values().any(leaves_by)
    }

    /// Whether this is a link for routerd to make and to keep.
    pub(crate) fn is_tunnel(&self, ifname: &IfName) -> bool {
        self.tunnels.contains_key(ifname)
            || self.plain.contains_key(ifname)
            || self.stalled.contains_key(ifname)
    }
}
