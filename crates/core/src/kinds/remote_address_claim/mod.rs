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
use crate::effective::CaptureIntent;

/// One address whose machine lives at another site. This router captures packets for it here and delivers them there, with source and
/// destination unchanged.
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
    #[expect(
        dead_code,
        reason = "one value so far; the form check refuses all others"
    )]
    #[serde(default)]
    mode: DeliveryMode,
    /// Another tunnel device than the one of the OverlayPeer.
    #[schemars(extend("x-reference" = ["WireGuardInterface", "Interface", KERNEL_INTERFACE]))]
    tunnel_interface: Option<Text<Reference>>,
}

/// How the way to the other site is found.
#[derive(Debug, Default, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(extend("x-planned" = { "bgp": "write `mode: route`: the address is routed to the peer as configured" }))]
enum DeliveryMode {
    /// By a static route: `ADDRESS/32 dev TUNNEL metric 120`.
    #[default]
    Route,
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
        let Some((path, tunnel)) = self.tunnel(&domain, resource, draft, sink) else {
            return;
        };
        if let Some(path) = &path {
            self.check_sides(path, resource, sink);
        }
        let interface = self.capture.interface(draft);
        if let Some(interface) = &interface {
            capture::check_interface(interface, &tunnel, &domain, resource, draft, sink);
        }
        let intent = CaptureIntent {
            owner: resource.id.clone(),
            domain: domain.prefix,
            interface,
            tunnel: tunnel.clone(),
            method: self
                .capture
                .method(self.address.0, &domain, resource, draft, sink),
        };
        draft.effective.captures.insert(self.address.0, intent);
        let over = Over {
            path: path.as_ref(),
            device: tunnel,
            table: RouteTable::MAIN.0,
            metric: super::OVERLAY_METRIC,
        };
        draft.deliver(resource, "address", self.address.host_route(), over, sink);
    }
}

impl RemoteAddressClaim {
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
        if let Some(own) = draft.own_address(address) {
            let message = format!("{address} is an address of this router ({})", own.id);
            let found = Diagnostic::error("claim-of-own-address", message)
                .hint("claim the address of the machine at the other site");
            resource.report(sink, "address", found);
            return false;
        }
        true
    }

    fn domain(
        &self,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<Domain> {
        let address = self.address.addr();
        let Some(reference) = &self.domain_ref else {
            let holding = draft
                .domains
                .values()
                .filter(|d| d.prefix.contains(&address));
            let domain = holding.max_by_key(|domain| domain.prefix.prefix_len());
            if domain.is_none() && !draft.lacks("AddressMobilityDomain") {
                let message = format!("no AddressMobilityDomain holds {address}");
                let found = Diagnostic::error("address-outside-domain", message)
                    .hint("declare one with the subnet that the sites share");
                resource.report(sink, "address", found);
            }
            return domain.cloned();
        };
        let domain = draft.domains.get(&reference.name)?;
        if !domain.prefix.contains(&address) {
            let message = format!("{address} is outside {} of {}", domain.prefix, domain.id);
            let found = Diagnostic::error("address-outside-domain", message)
                .hint("widen the domain's `prefix`, or name the domain that holds the address");
            resource.report(sink, "address", found);
            return None;
        }
        let edge = [domain.prefix.network(), domain.prefix.broadcast()];
        if domain.prefix.prefix_len() < 31 && edge.contains(&address) {
            let message = format!(
                "no host can have the first or last address of {}",
                domain.prefix
            );
            let found = Diagnostic::error("address-not-for-hosts", message)
                .hint("claim the address of a machine");
            resource.report(sink, "address", found);
            return None;
        }
        Some(domain.clone())
    }

    /// The OverlayPeer and the device that packets leave by.
    fn tunnel(
        &self,
        domain: &Domain,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<(Option<Path>, IfName)> {
        let written = self
            .delivery
            .peer_ref
            .as_ref()
            .map(|reference| &reference.0);
        let mut paths = draft.paths.values();
        let path = match (written.or(domain.peer.as_ref()), paths.len()) {
            (Some(reference), _) => Some(draft.paths.get(&reference.name)?.clone()),
            (None, 1) => paths.next().cloned(),
            (None, _) => None,
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
        Some((path, device?))
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
