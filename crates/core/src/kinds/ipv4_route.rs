//! `IPv4Route`: a route as the kernel has it.

use std::net::Ipv4Addr;

use api::{Diagnostic, IfName};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{KERNEL_INTERFACE, Reference, RouteTable, Text};
use crate::config::draft::{Delivery, Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::{RouteKey, RouteTarget};

/// A static IPv4 route.
///
/// A unicast route has a device, a gateway, or both; a blackhole route has neither. A destination that a claim or a
/// HybridRoute delivers cannot be routed here too, and two routes differ in table, destination or metric.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IPv4Route {
    /// Where packets are going.
    destination: Text<Ipv4Net>,
    /// What happens to them.
    #[serde(default, rename = "type")]
    route_type: RouteType,
    /// The device they leave by: an Interface, a WireGuardInterface, a TunnelInterface, or the kernel's name of one.
    #[schemars(extend("x-reference" = ["Interface", "WireGuardInterface", "TunnelInterface", KERNEL_INTERFACE]))]
    device: Option<Text<Reference>>,
    /// The resource whose interface is the device.
    device_from: Option<DeviceFrom>,
    /// The next router.
    gateway: Option<Text<Ipv4Addr>>,
    /// The source address of packets that this node itself sends there.
    preferred_source: Option<Text<Ipv4Addr>>,
    /// The metric; the smaller wins.
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    metric: u32,
    /// The routing table. Default: `main`.
    table: Option<RouteTable>,
}

/// What happens to packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RouteType {
    /// They are sent on.
    #[default]
    Unicast,
    /// They are dropped in silence.
    Blackhole,
}

/// A resource whose interface is meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeviceFrom {
    /// The resource.
    #[schemars(extend("x-reference" = ["Interface", "WireGuardInterface", "TunnelInterface"]))]
    resource: Text<Reference>,
}

impl Kind for IPv4Route {
    const NAME: &'static str = "IPv4Route";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
destination: 192.0.2.0/24
device: eth0
gateway: 10.77.60.1
metric: 50
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let Some(table) = resource.table(self.table, "table", sink) else {
            return;
        };
        let Some(target) = self.target(resource, draft, sink) else {
            return;
        };
        let destination = self.destination.0;
        let mut routes = draft.routes_to(table, destination);
        if let Some((_, route)) = routes.find(|(_, route)| route.owner.kind != Self::NAME) {
            let message = format!("{destination} is routed by {} already", route.owner);
            let found = Diagnostic::error("route-conflict", message)
                .hint("remove this route, or the claim; routerd never replaces a route of yours");
            resource.report(sink, "destination", found);
            return;
        }
        drop(routes);
        if let RouteTarget::Unicast {
            device: Some(device),
            gateway,
        } = &target
            && draft
                .device_of(device)
                .is_some_and(|device| device.wireguard || device.plain.is_some())
        {
            draft.carry(Delivery {
                owner: resource.id.clone(),
                mark: resource.at("destination"),
                device: device.clone(),
                destination,
                path: None,
                gateway: *gateway,
            });
        }
        let key = RouteKey {
            table,
            destination,
            metric: self.metric,
        };
        let source = self.preferred_source.map(|source| source.0);
        draft.add_route(resource, "destination", key, target, source, sink);
    }
}

impl IPv4Route {
    fn target(
        &self,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<RouteTarget> {
        if self.device.is_some() && self.device_from.is_some() {
            let found = Diagnostic::error(
                "conflicting-fields",
                "both `device` and `deviceFrom` are set",
            )
            .hint("keep one");
            resource.report(sink, "deviceFrom", found);
            return None;
        }
        let from = self.device_from.as_ref().map(|from| &from.resource);
        let written = self.device.as_ref().or(from);
        if self.route_type == RouteType::Blackhole {
            let useless = [
                ("device", self.device.is_some()),
                ("deviceFrom", self.device_from.is_some()),
                ("gateway", self.gateway.is_some()),
                ("preferredSource", self.preferred_source.is_some()),
            ];
            let set: Vec<_> = useless.iter().filter(|(_, set)| *set).collect();
            for (field, _) in &set {
                let message = format!("a blackhole route has no `{field}`");
                let found = Diagnostic::error("conflicting-fields", message)
                    .hint("remove it, or write `type: unicast`");
                resource.report(sink, field, found);
            }
            return set.is_empty().then_some(RouteTarget::Blackhole);
        }
        let gateway = self.gateway.as_ref().map(|gateway| gateway.0);
        if written.is_none() && gateway.is_none() {
            let message = "a route needs a `device`, a `gateway`, or both";
            let found = Diagnostic::error("missing-field", message)
                .hint("to drop packets write `type: blackhole`");
            resource.report(sink, "", found);
            return None;
        }
        let device: Option<IfName> = match written {
            Some(reference) => Some(draft.device(reference)?),
            None => None,
        };
        Some(RouteTarget::Unicast { device, gateway })
    }
}
