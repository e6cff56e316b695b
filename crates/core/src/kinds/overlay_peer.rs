//! `OverlayPeer`: the way to another site.

use std::net::Ipv4Addr;

use api::{Diagnostic, IfName};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{KERNEL_INTERFACE, OverlayAddress, Reference, ResourceName, Side, Text};
use crate::config::draft::{Delivery, Draft, OwnAddress, Path, Resource};
use crate::config::sink::Sink;

/// Another site, and the tunnel to it. `role` and `nodeID` describe this node, `remote` the other one.
///
/// Where the WireGuardInterface has several peers, the one that is meant is named like `remote.nodeID`, or like this
/// resource, or has `remote.address` in its allowed IPs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OverlayPeer {
    /// The side that this node stands on.
    role: Option<Side>,
    /// The name of this node in the overlay.
    #[serde(rename = "nodeID")]
    node_id: Option<Text<ResourceName>>,
    /// What carries the packets.
    underlay: Underlay,
    /// The node at the other site.
    remote: Option<Remote>,
    /// What happens to packets that do not fit.
    #[serde(rename = "pathMTU")]
    path_mtu: Option<PathMtu>,
}

/// What carries packets to another site.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Underlay {
    /// The kind of path.
    #[serde(rename = "type")]
    underlay: UnderlayType,
    /// The tunnel device: a WireGuardInterface, a TunnelInterface, or the kernel's name of an interface.
    #[schemars(extend("x-reference" = ["WireGuardInterface", "TunnelInterface", "Interface", KERNEL_INTERFACE]))]
    interface: Text<Reference>,
    /// The address of this node on that device, used as source of its own packets. On a tunnel of routerd's that does not
    /// hold it, routerd adds it as a `/32`.
    address: Option<Text<OverlayAddress>>,
}

/// A kind of path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum UnderlayType {
    /// A WireGuard tunnel: encrypted, and every packet's source is checked against the peer's allowed IPs.
    Wireguard,
    /// A TunnelInterface of mode ipip.
    Ipip,
    /// A TunnelInterface of mode gre.
    Gre,
    /// A TunnelInterface of mode fou.
    Fou,
    /// A TunnelInterface of mode gue.
    Gue,
    /// Plain routing to `remote.address`, over a network or a tunnel that exists without routerd.
    Route,
}

/// The node at the other site.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remote {
    /// Its name in the overlay; where an interface has several peers, the WireGuardPeer of this name is meant.
    #[serde(rename = "nodeID")]
    node_id: Option<Text<ResourceName>>,
    /// Its address in the overlay. With `wireguard` it is reachable through the tunnel; with `route` it is the gateway.
    address: Option<Text<OverlayAddress>>,
}

/// What happens to packets that do not fit through the tunnel.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PathMtu {
    /// Fragment IPv4 packets that do not fit, even if they forbid it: for senders that never hear of ICMP errors.
    #[serde(default, rename = "forceFragmentIPv4")]
    force_fragment: bool,
}

impl Kind for OverlayPeer {
    const NAME: &'static str = "OverlayPeer";
    const GROUP: &'static str = "hybrid.routerd.net";
    const EXAMPLE: &'static str = "\
role: cloud
nodeID: cloud-router
underlay:
  type: wireguard
  interface: wg-hybrid
remote:
  nodeID: onprem-router
  address: 10.255.0.2
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        self.check_names(resource, sink);
        let Some(device) = draft.device(&self.underlay.interface) else {
            draft.broken.insert(resource.id.clone());
            return;
        };
        let remote = self.remote.unwrap_or_default();
        let remote_address = remote.address.map(|address| address.0.0);
        let underlay = self.underlay.underlay;
        let is_tunnel = underlay != UnderlayType::Route;
        check_device(resource, underlay, &device, draft, sink);
        if underlay == UnderlayType::Route && !draft.is_tunnel(&device) && remote_address.is_none()
        {
            route_without_gateway(resource, &device, sink);
        }
        if self.path_mtu.is_some_and(|mtu| mtu.force_fragment) {
            draft.effective.force_fragment.insert(device.clone());
        }
        let source = self.underlay.address.map(|address| address.0.0);
        if draft.is_tunnel(&device) {
            join_overlay(resource, &device, source, remote_address, draft);
        }
        let own_name = resource.id.name.clone();
        let peer_names = remote
            .node_id
            .map(|name| name.0.0)
            .into_iter()
            .chain([own_name]);
        let path = Path {
            id: resource.id.clone(),
            mark: resource.mark,
            role: self.role,
            node: self.node_id.map(|name| name.0.0),
            device,
            is_tunnel,
            gateway: remote_address.filter(|_| !is_tunnel),
            source,
            peer_names: peer_names.collect(),
            remote_address,
        };
        draft.paths.insert(resource.id.name.clone(), path);
    }
}

impl OverlayPeer {
    /// This node is not its own peer.
    fn check_names(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let remote = self
            .remote
            .as_ref()
            .and_then(|remote| remote.node_id.as_ref());
        if let (Some(own), Some(remote)) = (&self.node_id, remote)
            && own == remote
        {
            let message = format!("`{}` is both this node and the remote one", own.0.0);
            let found = Diagnostic::error("peer-is-self", message)
                .hint("`nodeID` names this node, `remote.nodeID` the other one");
            resource.report(sink, "remote.nodeID", found);
        }
    }
}

/// Gives the tunnel this node's overlay address, unless it has it, and lets the other one's through.
fn join_overlay(
    resource: &Resource<'_>,
    device: &IfName,
    source: Option<Ipv4Addr>,
    remote: Option<Ipv4Addr>,
    draft: &mut Draft,
) {
    if let Some(source) = source {
        let held = |own: &OwnAddress| own.net.addr() == source;
        if !draft.addresses_of(device).iter().any(held) {
            let net = Ipv4Net::from(source).into();
            draft.add_address(resource, "underlay.address", device, net, false);
            draft.hold_address(resource, device, net);
        }
    }
    if let Some(remote) = remote {
        let inside = draft.effective.inside.entry(device.clone()).or_default();
        inside.entry(remote).or_insert_with(|| resource.id.clone());
        draft.deliveries.push(Delivery {
            owner: resource.id.clone(),
            mark: resource.at("remote.address"),
            device: device.clone(),
            destination: remote.into(),
            path: Some(resource.id.name.clone()),
            gateway: None,
        });
    }
}

/// The device has to be what the type says.
fn check_device(
    resource: &Resource<'_>,
    underlay: UnderlayType,
    device: &IfName,
    draft: &Draft,
    sink: &mut Sink<'_>,
) {
    let is = match draft.encapsulation(device) {
        Some(encapsulation) => {
            let word = encapsulation.word();
            Some((word, format!("a TunnelInterface of mode {word}")))
        }
        None if draft.is_wireguard(device) => {
            Some(("wireguard", "a WireGuardInterface".to_owned()))
        }
        None => None,
    };
    match (is, underlay) {
        (None, UnderlayType::Route) => {}
        (None, UnderlayType::Wireguard) => undeclared_wireguard(resource, device, sink),
        (None, underlay) => undeclared_tunnel(resource, underlay.word(), device, sink),
        (Some((word, what)), underlay) if word != underlay.word() => {
            let said = underlay.word();
            let message = format!("{device} is {what}, and the type says `{said}`");
            let found = Diagnostic::error("underlay-mismatch", message);
            let found = found.hint(format!("write `type: {word}`"));
            resource.report(sink, "underlay.type", found);
        }
        _ => {}
    }
}

impl UnderlayType {
    /// As it is written.
    fn word(self) -> &'static str {
        match self {
            Self::Wireguard => "wireguard",
            Self::Ipip => "ipip",
            Self::Gre => "gre",
            Self::Fou => "fou",
            Self::Gue => "gue",
            Self::Route => "route",
        }
    }
}

fn undeclared_wireguard(resource: &Resource<'_>, device: &IfName, sink: &mut Sink<'_>) {
    let message = format!(
        "{device} is no WireGuardInterface of this configuration: its peers and allowed IPs are not checked"
    );
    let found = Diagnostic::warning("tunnel-not-declared", message)
        .hint("declare it as a WireGuardInterface, or see that its allowed IPs hold all that is delivered");
    resource.report(sink, "underlay.interface", found);
}

fn undeclared_tunnel(resource: &Resource<'_>, word: &str, device: &IfName, sink: &mut Sink<'_>) {
    let message =
        format!("{device} is no TunnelInterface of this configuration: it is taken as it is");
    let found = Diagnostic::warning("tunnel-not-declared", message)
        .hint(format!("declare it as a TunnelInterface of mode {word}"));
    resource.report(sink, "underlay.interface", found);
}

fn route_without_gateway(resource: &Resource<'_>, device: &IfName, sink: &mut Sink<'_>) {
    let message = format!("without a gateway {device} has to be a point-to-point device");
    let found = Diagnostic::warning("route-without-gateway", message)
        .hint("set `remote.address` to the router's address on that network");
    resource.report(sink, "underlay.interface", found);
}
