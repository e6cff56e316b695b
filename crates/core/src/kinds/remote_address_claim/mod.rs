//! `RemoteAddressClaim`: an address of another site that works at this one.

mod capture;
mod nic;

use api::{Diagnostic, IfName, MobileAddress};
use schemars::JsonSchema;
use serde::Deserialize;

use self::capture::Capture;
use super::Kind;
use super::field::{KERNEL_INTERFACE, Reference, RouteTable, Side, Text};
use crate::config::draft::{Claim, Domain, Draft, Over, Path, Resource};
use crate::config::sink::Sink;
use crate::effective::{CaptureIntent, CaptureMethod, DeliveryIntent, RouteKey, RouteTarget};

/// One address whose machine lives at another site. This router captures packets for it here and delivers them there, with source and
/// destination unchanged.
///
/// It becomes one route, `ADDRESS/32 dev TUNNEL metric 120`, and the capture. An address is claimed once, lies inside its
/// domain, and is none of this router's own. `delivery.peerRef` goes before the domain's `peerRef`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RemoteAddressClaim {
    /// The domain that the address belongs to. Absent: the one whose prefix holds it.
    #[schemars(extend("x-reference" = ["AddressMobilityDomain"]))]
    domain_ref: Option<Text<Reference>>,
    /// The address, as A.B.C.D or A.B.C.D/32.
    address: Text<MobileAddress>,
    /// The side that the machine with this address lives on: not this one.
    owner_side: Option<Side>,
    /// How packets for the address get to this router.
    capture: Capture,
    /// How they get from here to the other site.
    #[serde(default)]
    delivery: Delivery,
}

/// How packets get to the other site.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Delivery {
    /// The OverlayPeer that they go through. Absent: the domain's `peerRef`, else the only OverlayPeer there is.
    #[schemars(extend("x-reference" = ["OverlayPeer"]))]
    peer_ref: Option<Text<Reference>>,
    /// How the way is found.
    #[serde(default)]
    mode: DeliveryMode,
    /// Another tunnel device than the one of the OverlayPeer.
    #[schemars(extend("x-reference" = ["WireGuardInterface", "TunnelInterface", "Interface", KERNEL_INTERFACE]))]
    tunnel_interface: Option<Text<Reference>>,
}

/// How the way to the other site is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum DeliveryMode {
    /// By a static route: `ADDRESS/32 dev TUNNEL metric 120`.
    #[default]
    Route,
    /// By the best path that the BGPRouter knows. While there is none, nothing is captured.
    Bgp,
}

impl Kind for RemoteAddressClaim {
    const NAME: &'static str = "RemoteAddressClaim";
    const GROUP: &'static str = "hybrid.routerd.net";
    const EXAMPLE: &'static str = "\
domainRef: cloudedge-same-subnet
address: 10.77.60.7/32
ownerSide: cloud
capture:
  type: proxy-arp
  interface: ens21
  gratuitousARP: true
delivery:
  peerRef: onprem-main
  mode: route
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        if !self.take_address(resource, draft, sink) {
            return;
        }
        self.capture.check_form(resource, sink);
        let Some(domain) = self.domain(resource, draft, sink) else {
            return;
        };
        let Some(way) = self.way(&domain, resource, draft, sink) else {
            return;
        };
        draft.implied.insert(domain.id.clone());
        if let Some(path) = &way.path {
            draft.implied.insert(path.id.clone());
            self.check_sides(path, resource, sink);
        }
        let interface = self.capture.interface(&way, &domain, resource, draft, sink);
        let intent = CaptureIntent {
            owner: resource.id.clone(),
            domain: domain.prefix,
            interface,
            tunnel: way.device.clone(),
            delivery: self.delivery_intent(),
            method: self
                .capture
                .method(self.address.0, &domain, resource, draft, sink),
        };
        let may_appear_here = matches!(intent.method, CaptureMethod::ProviderSecondaryIp { .. });
        draft.effective.captures.insert(self.address.0, intent);
        if self.delivery.mode == DeliveryMode::Bgp {
            return self.leave_to_bgp(way, resource, draft, sink);
        }
        if may_appear_here {
            self.outrank_own_address(&way, resource, draft, sink);
        }
        let over = Over {
            path: way.path.as_ref(),
            device: way.device,
            table: RouteTable::MAIN.0,
            metric: super::OVERLAY_METRIC,
        };
        draft.deliver(resource, "address", self.address.host_route(), over, sink);
    }
}

/// The routing table that the kernel looks into first, for the host's own addresses.
const LOCAL_TABLE: u32 = 255;

/// How packets leave for the other site.
struct Way {
    path: Option<Path>,
    device: IfName,
}

impl Way {
    /// Whether they leave by a tunnel, where no machine of this site can be.
    fn is_tunnel(&self, draft: &Draft) -> bool {
        let path = self.path.as_ref();
        path.is_some_and(|path| path.is_tunnel && path.device == self.device)
            || draft.is_tunnel(&self.device)
    }
}

impl RemoteAddressClaim {
    /// A guest agent may put the address on the OS at any moment, even while the daemon is down. The kernel
    /// appends the address's own entry to the table `local`, so a route that stands there first wins: packets
    /// are delivered all the time, and none is answered by this host with a reset.
    fn outrank_own_address(
        &self,
        way: &Way,
        resource: &Resource<'_>,
        draft: &mut Draft,
        sink: &mut Sink<'_>,
    ) {
        let key = self.local_key();
        let target = RouteTarget::Unicast {
            device: Some(way.device.clone()),
            gateway: way.path.as_ref().and_then(|path| path.gateway),
        };
        draft.add_route(resource, "address", key, target, None, sink);
    }

    fn delivery_intent(&self) -> DeliveryIntent {
        match self.delivery.mode {
            DeliveryMode::Route => DeliveryIntent::Route,
            DeliveryMode::Bgp => DeliveryIntent::Bgp {
                outrank: self.capture.may_appear_here().then(|| self.local_key()),
            },
        }
    }

    fn local_key(&self) -> RouteKey {
        RouteKey {
            table: LOCAL_TABLE,
            destination: self.address.host_route(),
            metric: 0,
        }
    }

    /// The speaker makes the route; what the tunnel carries is known all the same.
    fn leave_to_bgp(
        &self,
        way: Way,
        resource: &Resource<'_>,
        draft: &mut Draft,
        sink: &mut Sink<'_>,
    ) {
        if draft.effective.bgp.is_none() && !draft.lacks("BGPRouter") {
            let found = Diagnostic::error("no-bgp-router", "there is no BGPRouter to find the way")
                .hint("declare one, or write `mode: route`");
            resource.report(sink, "delivery.mode", found);
        }
        let path = way.path.as_ref();
        draft.carry(crate::config::draft::Delivery {
            owner: resource.id.clone(),
            mark: resource.at("address"),
            device: way.device,
            destination: self.address.host_route(),
            path: path.map(|path| path.id.name.clone()),
            gateway: path.and_then(|path| path.gateway),
        });
    }

    /// Enters the claim; an address that is claimed already or is our own is refused.
    fn take_address(
        &self,
        resource: &Resource<'_>,
        draft: &mut Draft,
        sink: &mut Sink<'_>,
    ) -> bool {
        let address = self.address.addr();
        if let Some(first) = draft.claims.get(&address) {
            let message = format!("{} claims {address} already", first.id);
            let hint = format!("it stands at {}; keep one", sink.refer(first.mark));
            resource.report(
                sink,
                "address",
                Diagnostic::error("duplicate-claim", message).hint(hint),
            );
            return false;
        }
        let claim = Claim {
            id: resource.id.clone(),
            mark: resource.at("address"),
            nic: None,
        };
        draft.claims.insert(address, claim);
        if let Some(own) = draft.owner_of(address) {
            let message = format!("{address} is an address of this router ({own})");
            let found = Diagnostic::error("claim-of-own-address", message)
                .hint("claim the address of the machine at the other site");
            resource.report(sink, "address", found);
            return false;
        }
        true
    }

    /// The domain, if the address may be claimed in it.
    fn domain(
        &self,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<Domain> {
        let address = self.address.addr();
        let domain = match &self.domain_ref {
            Some(reference) => draft.domains.get(&reference.name)?,
            None => self.domain_around(resource, draft, sink)?,
        };
        let prefix = domain.prefix;
        let edge = [prefix.network(), prefix.broadcast()];
        let found = if !prefix.contains(&address) {
            let message = format!("{address} is outside {prefix} of {}", domain.id);
            Diagnostic::error("address-outside-domain", message)
                .hint("widen the domain's `prefix`, or name the domain that holds the address")
        } else if prefix.prefix_len() < 31 && edge.contains(&address) {
            let message = format!("no host can have the first or last address of {prefix}");
            Diagnostic::error("address-not-for-hosts", message)
                .hint("claim the address of a machine")
        } else {
            return Some(domain.clone());
        };
        resource.report(sink, "address", found);
        None
    }

    /// The smallest domain that holds the address.
    fn domain_around<'d>(
        &self,
        resource: &Resource<'_>,
        draft: &'d Draft,
        sink: &mut Sink<'_>,
    ) -> Option<&'d Domain> {
        let address = self.address.addr();
        let domains = draft.domains.values();
        let domain = domains
            .filter(|domain| domain.prefix.contains(&address))
            .max_by_key(|domain| domain.prefix.prefix_len());
        if domain.is_none() && !draft.lacks("AddressMobilityDomain") {
            let message = format!("no AddressMobilityDomain holds {address}");
            let found = Diagnostic::error("address-outside-domain", message)
                .hint("declare one with the subnet that the sites share");
            resource.report(sink, "address", found);
        }
        domain
    }

    /// The OverlayPeer and the device that packets leave by.
    fn way(
        &self,
        domain: &Domain,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<Way> {
        let written = self
            .delivery
            .peer_ref
            .as_ref()
            .map(|reference| &reference.0);
        let only = || {
            (draft.paths.len() == 1)
                .then(|| draft.paths.values().next())
                .flatten()
        };
        let path = match written.or(domain.peer.as_ref()) {
            Some(reference) => Some(draft.paths.get(&reference.name)?.clone()),
            None => only().filter(|_| !draft.lacks("OverlayPeer")).cloned(),
        };
        let device = match &self.delivery.tunnel_interface {
            Some(reference) => Some(draft.device(reference)?),
            None => path.as_ref().map(|path| path.device.clone()),
        };
        if device.is_none() && !draft.lacks("OverlayPeer") {
            let found = Diagnostic::error(
                "no-way-to-owner",
                "nothing says which OverlayPeer it is delivered through",
            )
            .hint(format!(
                "set `delivery.peerRef`, or `peerRef` of {}",
                domain.id
            ));
            resource.report(sink, "delivery", found);
        }
        let device = device?;
        Some(Way { path, device })
    }

    fn check_sides(&self, path: &Path, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let Some(role) = path.role else { return };
        if self.owner_side == Some(role) {
            let message = format!(
                "its owner is on the {role} side, and so is this node ({})",
                path.id
            );
            let found = Diagnostic::warning("claim-of-own-side", message).hint(format!(
                "claim addresses of the {} side here; this address is claimed by the router over there",
                role.other()
            ));
            resource.report(sink, "ownerSide", found);
        }
        self.capture.check_role(role, resource, sink);
    }
}
