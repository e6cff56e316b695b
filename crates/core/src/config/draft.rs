//! The configuration while it is compiled: what kinds leave for each other, beside [`Effective`].
//!
//! Kinds never import each other; a kind stands in [`crate::kinds::KINDS`] below those whose work it looks
//! up here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::{Diagnostic, IfName, ResourceId};
use ipnet::{IpNet, Ipv4Net};

use super::sink::Sink;
use super::tree::{Mark, Node};
use crate::Effective;
use crate::effective::{AddressIntent, PlainTunnelIntent, RouteIntent, RouteKey, RouteTarget};
use crate::encapsulation::Encapsulation;
use crate::key::PublicKey;
use crate::kinds::field::{Capability, Cloud, Reference, RouteTable, Side};

/// The kinds that declare interfaces.
pub(crate) const DEVICE_KINDS: [&str; 3] = ["Interface", "WireGuardInterface", "TunnelInterface"];

/// A resource whose form is right, on its way to be compiled.
#[derive(Debug)]
pub(crate) struct Resource<'t> {
    pub(crate) id: ResourceId,
    /// Where it begins.
    pub(crate) mark: Mark,
    /// Its specification.
    pub(crate) spec: &'t Node,
}

impl Resource<'_> {
    /// The place of a field of the specification, or of what should hold it.
    pub(crate) fn at(&self, path: &str) -> Mark {
        self.spec.locate(path)
    }

    /// Reports something about a field.
    pub(crate) fn report(&self, sink: &mut Sink<'_>, path: &str, diagnostic: Diagnostic) {
        sink.push(self.at(path), diagnostic.about(&self.id));
    }

    /// The number of a routing table; the kernel's own is refused.
    pub(crate) fn table(
        &self,
        table: Option<RouteTable>,
        path: &str,
        sink: &mut Sink<'_>,
    ) -> Option<u32> {
        let table = table.unwrap_or(RouteTable::MAIN);
        if table == RouteTable::LOCAL {
            let message = "table 255 (`local`) belongs to the kernel";
            let found = Diagnostic::error("bad-route-table", message)
                .hint("use `main` or a number of your own");
            self.report(sink, path, found);
            return None;
        }
        Some(table.0)
    }
}

/// What has been compiled so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The result.
    pub(crate) effective: Effective,
    /// Resources that exist but could not be read: what depends on them stays unsaid.
    pub(crate) broken: BTreeSet<ResourceId>,
    /// Interfaces by the resource that declares them.
    pub(crate) devices: BTreeMap<ResourceId, Device>,
    /// The peers of each WireGuard interface.
    pub(crate) peers: BTreeMap<IfName, Vec<Peer>>,
    /// WireGuard interfaces that are to be several.
    pub(crate) stripes: BTreeMap<IfName, Stripes>,
    /// Ways to other sites, by the name of their OverlayPeer.
    pub(crate) paths: BTreeMap<String, Path>,
    /// Plain tunnels; [`crate::Effective::plain_tunnels`] has those whose other end is known.
    pub(crate) plain_paths: Vec<PlainPath>,
    /// Mobility domains by name.
    pub(crate) domains: BTreeMap<String, Domain>,
    /// Cloud profiles by name.
    pub(crate) providers: BTreeMap<String, Provider>,
    /// Addresses that this configuration gives to interfaces, or expects on them, by interface.
    pub(crate) addresses: BTreeMap<IfName, Vec<OwnAddress>>,
    /// The resource behind each of these addresses.
    pub(crate) own_addresses: BTreeMap<IpAddr, ResourceId>,
    /// What is routed into tunnels.
    pub(crate) deliveries: Vec<Delivery>,
    /// Claims by address.
    pub(crate) claims: BTreeMap<Ipv4Addr, Claim>,
    /// Resources that are used without being named: the only OverlayPeer, the domain around an address.
    pub(crate) implied: BTreeSet<ResourceId>,
    /// The BGP speaker.
    pub(crate) speaker: Option<Speaker>,
    /// Where the resource behind each route stands.
    pub(crate) route_marks: BTreeMap<RouteKey, Mark>,
}

/// An interface that a resource declares.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) ifname: IfName,
    pub(crate) mark: Mark,
    /// Whether packets through it are carried by WireGuard.
    pub(crate) wireguard: bool,
    /// What a plain tunnel puts around them.
    pub(crate) plain: Option<Encapsulation>,
    /// The MTU it is given, or said to have.
    pub(crate) mtu: Option<u32>,
    pub(crate) mtu_mark: Mark,
}

/// How many tunnels an interface is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stripes {
    pub(crate) count: u8,
    pub(crate) mark: Mark,
}

/// A WireGuard peer.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) id: ResourceId,
    pub(crate) mark: Mark,
    pub(crate) key: PublicKey,
    pub(crate) endpoint: Option<(SocketAddr, Mark)>,
    /// Allowed IPs as written, with their places.
    pub(crate) allowed_ips: Vec<(IpNet, Mark)>,
    /// Where the list of allowed IPs stands.
    pub(crate) list_mark: Mark,
    pub(crate) keepalive: Option<u16>,
}

/// A way to another site.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) id: ResourceId,
    pub(crate) mark: Mark,
    /// The side of this node.
    pub(crate) role: Option<Side>,
    /// The name of this node.
    pub(crate) node: Option<String>,
    /// The device that packets leave by.
    pub(crate) device: IfName,
    /// Whether that is a tunnel, where no machine of this site can be.
    pub(crate) is_tunnel: bool,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) source: Option<Ipv4Addr>,
    /// Names that the WireGuardPeer may have, best first.
    pub(crate) peer_names: Vec<String>,
    pub(crate) remote_address: Option<Ipv4Addr>,
}

/// A plain tunnel whose other end may still have to be found.
#[derive(Debug, Clone)]
pub(crate) struct PlainPath {
    pub(crate) ifname: IfName,
    pub(crate) mark: Mark,
    /// Where the other end stands.
    pub(crate) remote_mark: Mark,
    pub(crate) remote: RemoteEnd,
    /// Everything but the other end.
    pub(crate) intent: PlainTunnelIntent,
}

/// The address of the other end of a plain tunnel, or the OverlayPeer that knows it.
#[derive(Debug, Clone)]
pub(crate) enum RemoteEnd {
    Address(Ipv4Addr),
    Peer(Reference),
}

/// A mobility domain.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) id: ResourceId,
    pub(crate) mark: Mark,
    pub(crate) prefix: Ipv4Net,
    /// The OverlayPeer for claims that name none.
    pub(crate) peer: Option<Reference>,
}

/// A cloud profile.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) id: ResourceId,
    pub(crate) mark: Mark,
    pub(crate) cloud: Cloud,
    pub(crate) subscription: Option<String>,
    pub(crate) capabilities: BTreeSet<Capability>,
}

/// An address of this node.
#[derive(Debug, Clone)]
pub(crate) struct OwnAddress {
    pub(crate) id: ResourceId,
    pub(crate) mark: Mark,
    pub(crate) net: IpNet,
    /// Its subnet may be on other interfaces too.
    pub(crate) may_overlap: bool,
}

/// Something that is routed into a tunnel.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) owner: ResourceId,
    pub(crate) mark: Mark,
    pub(crate) device: IfName,
    pub(crate) destination: Ipv4Net,
    /// The OverlayPeer that it goes through, if it names one.
    pub(crate) path: Option<String>,
    /// The gateway, if the route has one.
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// The BGP speaker, with what holds for peers that do not say otherwise.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub(crate) id: ResourceId,
    pub(crate) mark: Mark,
    pub(crate) asn: bgp::Asn,
    pub(crate) import: bgp::Policy,
    pub(crate) export: bgp::Policy,
    pub(crate) communities: bgp::CommunityPolicy,
    pub(crate) timers: bgp::Timers,
    pub(crate) graceful_restart: bgp::GracefulRestart,
    /// Addresses by the BGPPeer that lists them.
    pub(crate) peers: BTreeMap<ResourceId, Vec<IpAddr>>,
}

/// A claim.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) id: ResourceId,
    pub(crate) mark: Mark,
    /// The NIC of a provider's secondary address.
    pub(crate) nic: Option<(Cloud, String)>,
}

impl Draft {
    /// The device that a reference means: a declared one, else the kernel's of that name. Nothing if the
    /// resource it names was refused.
    pub(crate) fn device(&self, reference: &Reference) -> Option<IfName> {
        if let Some(device) = self.declared(reference) {
            return Some(device.ifname.clone());
        }
        let refused = |kind: &str| {
            self.broken
                .contains(&ResourceId::new(kind, &reference.name))
        };
        if reference.kind.is_some() || DEVICE_KINDS.iter().any(|kind| refused(kind)) {
            return None;
        }
        reference.name.parse().ok()
    }

    /// The declared device that a reference means, by the name of its resource or of its interface.
    pub(crate) fn declared(&self, reference: &Reference) -> Option<&Device> {
        let by_resource = self.devices.iter().find(|(id, _)| reference.names(id));
        by_resource.map(|(_, device)| device).or_else(|| {
            let bare = reference.kind.is_none();
            let mut devices = self.devices.values();
            devices.find(|device| bare && device.ifname.as_str() == reference.name)
        })
    }

    /// The declared device of an interface.
    pub(crate) fn device_of(&self, ifname: &IfName) -> Option<&Device> {
        self.devices
            .values()
            .find(|device| device.ifname == *ifname)
    }

    /// Whether an interface is a WireGuardInterface of this configuration.
    pub(crate) fn is_wireguard(&self, ifname: &IfName) -> bool {
        self.device_of(ifname)
            .is_some_and(|device| device.wireguard)
    }

    /// Whether routerd makes an interface: packets into it go to another site.
    pub(crate) fn is_tunnel(&self, ifname: &IfName) -> bool {
        self.is_wireguard(ifname) || self.encapsulation(ifname).is_some()
    }

    /// What a TunnelInterface of this configuration puts around packets.
    pub(crate) fn encapsulation(&self, ifname: &IfName) -> Option<Encapsulation> {
        self.device_of(ifname).and_then(|device| device.plain)
    }

    /// The resource that gives this node an address, if the configuration knows it.
    pub(crate) fn owner_of(&self, address: impl Into<IpAddr>) -> Option<&ResourceId> {
        self.own_addresses.get(&address.into())
    }

    /// What is known of the addresses of an interface.
    pub(crate) fn addresses_of(&self, ifname: &IfName) -> &[OwnAddress] {
        self.addresses
            .get(ifname)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Whether a resource of this kind was refused, so that one may be missing here.
    pub(crate) fn lacks(&self, kind: &str) -> bool {
        let first = ResourceId::new(kind, "");
        let next = self.broken.range(first..).next();
        next.is_some_and(|id| id.kind == kind)
    }

    /// Takes an interface; a second one of the same name is refused.
    pub(crate) fn add_device(
        &mut self,
        resource: &Resource<'_>,
        device: Device,
        sink: &mut Sink<'_>,
    ) -> bool {
        let first = self.devices.iter().find(|(_, d)| d.ifname == device.ifname);
        if let Some((id, first)) = first {
            let message = format!("interface {} is already declared by {id}", device.ifname);
            let hint = format!("it stands at {}; keep one of them", sink.refer(first.mark));
            let found = Diagnostic::error("duplicate-interface", message).hint(hint);
            resource.report(sink, "ifname", found);
            return false;
        }
        self.devices.insert(resource.id.clone(), device);
        true
    }

    /// Takes an address of this node.
    pub(crate) fn add_address(
        &mut self,
        resource: &Resource<'_>,
        path: &str,
        ifname: &IfName,
        net: IpNet,
        may_overlap: bool,
    ) {
        self.own_addresses
            .entry(net.addr())
            .or_insert_with(|| resource.id.clone());
        let known = self.addresses.entry(ifname.clone()).or_default();
        known.push(OwnAddress {
            id: resource.id.clone(),
            mark: resource.at(path),
            net,
            may_overlap,
        });
    }

    /// Has an address held on an interface; one that is held already stays with its first owner.
    pub(crate) fn hold_address(&mut self, resource: &Resource<'_>, ifname: &IfName, net: IpNet) {
        let owner = resource.id.clone();
        let held = self.effective.addresses.entry((ifname.clone(), net));
        held.or_insert(AddressIntent { owner });
    }

    /// The routes of a table to exactly this destination.
    pub(crate) fn routes_to(
        &self,
        table: u32,
        destination: Ipv4Net,
    ) -> impl Iterator<Item = (&RouteKey, &RouteIntent)> {
        let key = |metric| RouteKey {
            table,
            destination,
            metric,
        };
        self.effective.routes.range(key(0)..=key(u32::MAX))
    }

    /// Takes a route. One of the same table, destination and metric is refused, as the kernel would.
    pub(crate) fn add_route(
        &mut self,
        resource: &Resource<'_>,
        path: &str,
        key: RouteKey,
        target: RouteTarget,
        preferred_source: Option<Ipv4Addr>,
        sink: &mut Sink<'_>,
    ) {
        if let Some(first) = self.effective.routes.get(&key) {
            let message = format!(
                "{} already has a route to {} with metric {}",
                first.owner, key.destination, key.metric
            );
            let found = Diagnostic::error("duplicate-route", message);
            let place = self.route_marks.get(&key).map(|mark| sink.refer(*mark));
            let hint = place
                .map(|place| format!("it stands at {place}; remove one or give it another metric"));
            resource.report(sink, path, found.hint(hint.unwrap_or_default()));
            return;
        }
        self.route_marks.insert(key.clone(), resource.at(path));
        let owner = resource.id.clone();
        let intent = RouteIntent {
            owner,
            target,
            preferred_source,
        };
        self.effective.routes.insert(key, intent);
    }

    /// Routes a destination into the tunnel behind an OverlayPeer.
    pub(crate) fn deliver(
        &mut self,
        resource: &Resource<'_>,
        field: &str,
        destination: Ipv4Net,
        over: Over<'_>,
        sink: &mut Sink<'_>,
    ) {
        let key = RouteKey {
            table: over.table,
            destination,
            metric: over.metric,
        };
        let target = RouteTarget::Unicast {
            device: Some(over.device.clone()),
            gateway: over.path.and_then(|path| path.gateway),
        };
        let source = over.path.and_then(|path| path.source);
        self.add_route(resource, field, key, target, source, sink);
        self.carry(Delivery {
            owner: resource.id.clone(),
            mark: resource.at(field),
            device: over.device,
            destination,
            path: over.path.map(|path| path.id.name.clone()),
            gateway: over.path.and_then(|path| path.gateway),
        });
    }

    /// Notes what a tunnel carries for others: forwarded traffic, whose MSS is clamped.
    pub(crate) fn carry(&mut self, delivery: Delivery) {
        let owners = self.effective.delivery.entry(delivery.device.clone());
        owners.or_default().insert(delivery.owner.clone());
        self.deliveries.push(delivery);
    }
}

/// How something is delivered.
#[derive(Debug)]
pub(crate) struct Over<'p> {
    pub(crate) path: Option<&'p Path>,
    pub(crate) device: IfName,
    pub(crate) table: u32,
    pub(crate) metric: u32,
}
