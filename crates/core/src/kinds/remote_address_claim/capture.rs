//! How packets for a claimed address get to this router.

use std::net::IpAddr;

use api::{Diagnostic, IfName, MobileAddress};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Way, nic};
use crate::config::draft::{Domain, Draft, OwnAddress, Provider, Resource};
use crate::config::sink::Sink;
use crate::effective::CaptureMethod;
use crate::kinds::field::{Capability, Cloud, KERNEL_INTERFACE, Reference, Side, Text};

/// How packets for the address get to this router.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Capture {
    /// The way they get here.
    #[serde(rename = "type")]
    capture_type: CaptureType,
    /// The interface that faces the machines of this site: an Interface, or the kernel's name of one. Absent: the one with an
    /// address in the domain's prefix.
    #[schemars(extend("x-reference" = ["Interface", "WireGuardInterface", KERNEL_INTERFACE]))]
    interface: Option<Text<Reference>>,
    /// Announce the address by ARP when this router begins to answer for it (`proxy-arp`). Default: true.
    #[serde(rename = "gratuitousARP")]
    gratuitous_arp: Option<bool>,
    /// The cloud that the router stands in (`provider-secondary-ip`, `route-table`).
    #[schemars(extend("x-reference" = ["CloudProviderProfile"]))]
    provider_ref: Option<Text<Reference>>,
    /// The provider's capability that is used (`provider-secondary-ip`). Default: the provider's own one.
    provider_mode: Option<Capability>,
    /// The router's NIC in the provider's form (`provider-secondary-ip`): an ARM id on Azure, `eni-…` on AWS, `ocid1.vnic.…` on OCI,
    /// `projects/P/zones/Z/instances/I/nicN` on GCP. Absent: asked of the metadata service.
    nic_ref: Option<String>,
    /// Whether the address is put on the guest OS. Only `false` works, and routerd sees to it: an address on the OS would end
    /// its packets here.
    #[serde(rename = "configureOSAddress")]
    configure_os_address: Option<bool>,
    /// When this router captures.
    #[expect(
        dead_code,
        reason = "one value so far; the form check refuses all others"
    )]
    active_when: Option<ActiveWhen>,
}

/// A way of capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum CaptureType {
    /// The provider assigns the address to the router's NIC as a secondary one.
    ProviderSecondaryIp,
    /// The router answers ARP for the address on the LAN.
    ProxyArp,
    /// The provider's route table sends the address to the router.
    RouteTable,
}

/// When a router captures.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ActiveWhen {
    /// The condition.
    #[expect(
        dead_code,
        reason = "one value so far; the form check refuses all others"
    )]
    #[serde(rename = "type")]
    condition: Condition,
}

/// A condition for capture.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = { "vrrp-master": "write `single-router`, and run one router at this site" }))]
enum Condition {
    /// Always: there is no other router at this site.
    SingleRouter,
}

impl Capture {
    /// Refuses fields of another way of capture.
    pub(super) fn check_form(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        use CaptureType::{ProviderSecondaryIp, ProxyArp, RouteTable};
        let fields: [(&str, bool, &[CaptureType]); 5] = [
            ("gratuitousARP", self.gratuitous_arp.is_some(), &[ProxyArp]),
            (
                "providerRef",
                self.provider_ref.is_some(),
                &[ProviderSecondaryIp, RouteTable],
            ),
            (
                "providerMode",
                self.provider_mode.is_some(),
                &[ProviderSecondaryIp],
            ),
            ("nicRef", self.nic_ref.is_some(), &[ProviderSecondaryIp]),
            (
                "configureOSAddress",
                self.configure_os_address.is_some(),
                &[ProviderSecondaryIp],
            ),
        ];
        let name = match self.capture_type {
            ProviderSecondaryIp => "provider-secondary-ip",
            ProxyArp => "proxy-arp",
            RouteTable => "route-table",
        };
        for (field, set, types) in fields {
            if set && !types.contains(&self.capture_type) {
                let message = format!("`{field}` has no meaning for `type: {name}`");
                let found = Diagnostic::error("field-of-other-capture", message)
                    .hint("remove it, or change the type of capture");
                resource.report(sink, &format!("capture.{field}"), found);
            }
        }
        if self.configure_os_address == Some(true) {
            let message = "`spec.capture.configureOSAddress: true` is not available in this version of routerd";
            let found = Diagnostic::error("not-available", message)
                .hint("write `false`: on the OS the address would end its packets here instead of at its owner");
            resource.report(sink, "capture.configureOSAddress", found);
        }
    }

    /// Warns where this way of capture cannot work on this side.
    pub(super) fn check_role(&self, role: Side, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let (message, hint) = match (self.capture_type, role) {
            (CaptureType::ProxyArp, Side::Cloud) => (
                "a cloud's fabric answers ARP itself: no packet will come by proxy ARP",
                "use `provider-secondary-ip` or `route-table` on the cloud side",
            ),
            (CaptureType::ProviderSecondaryIp | CaptureType::RouteTable, Side::Onprem) => (
                "this node stands on-premises, where no provider sends packets for the address",
                "use `proxy-arp` on the on-premises side",
            ),
            _ => return,
        };
        let found = Diagnostic::warning("capture-on-wrong-side", message).hint(hint);
        resource.report(sink, "capture.type", found);
    }

    /// The capture interface, if one is named.
    pub(super) fn interface(
        &self,
        way: &Way,
        domain: &Domain,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<IfName> {
        let interface = draft.device(self.interface.as_ref()?)?;
        let leaves_here = interface == way.device;
        let found = if draft.is_tunnel(&interface) || leaves_here && way.is_tunnel(draft) {
            let message = format!(
                "{interface} is a tunnel: no machine of this site asks for the address there"
            );
            Diagnostic::error("capture-on-tunnel", message)
                .hint("name the interface that faces the site's subnet")
        } else if leaves_here && self.capture_type == CaptureType::ProxyArp {
            let message = format!(
                "packets for the address leave by {interface} again: the kernel answers no ARP for it there"
            );
            Diagnostic::error("capture-where-it-leaves", message)
                .hint("deliver through a tunnel, or through another interface")
        } else if is_off_subnet(draft.addresses_of(&interface), domain) {
            let message = format!(
                "{interface} has no address in {} of {}",
                domain.prefix, domain.id
            );
            Diagnostic::warning("capture-off-subnet", message).hint(
                "name the interface that faces the site's subnet, or give it an address there",
            )
        } else {
            return Some(interface);
        };
        resource.report(sink, "capture.interface", found);
        Some(interface)
    }

    /// Whether somebody may put the address on this router itself.
    pub(super) fn may_appear_here(&self) -> bool {
        self.capture_type == CaptureType::ProviderSecondaryIp
    }

    /// What the capture becomes.
    pub(super) fn method(
        &self,
        address: MobileAddress,
        domain: &Domain,
        resource: &Resource<'_>,
        draft: &mut Draft,
        sink: &mut Sink<'_>,
    ) -> CaptureMethod {
        let provider = self
            .provider_ref
            .as_ref()
            .and_then(|reference| draft.providers.get(&reference.name))
            .cloned();
        let id = provider.as_ref().map(|provider| provider.id.clone());
        match self.capture_type {
            CaptureType::ProxyArp => CaptureMethod::ProxyArp {
                gratuitous: self.gratuitous_arp.unwrap_or(true),
            },
            CaptureType::ProviderSecondaryIp => {
                if let Some(provider) = &provider {
                    self.check_provider(address, domain, provider, resource, draft, sink);
                } else if self.nic_ref.is_some() && self.provider_ref.is_none() {
                    let message = "`nicRef` is of no use without `providerRef`";
                    let found = Diagnostic::warning("nic-without-provider", message)
                        .hint("name the CloudProviderProfile in `providerRef`");
                    resource.report(sink, "capture.nicRef", found);
                }
                CaptureMethod::ProviderSecondaryIp {
                    provider: id,
                    nic_ref: self.nic_ref.clone(),
                }
            }
            CaptureType::RouteTable => {
                if let Some(provider) = &provider {
                    check_capability(
                        Capability::RouteTable,
                        "capture.type",
                        provider,
                        resource,
                        sink,
                    );
                    check_same_subnet(domain, provider, resource, draft, sink);
                }
                CaptureMethod::RouteTable { provider: id }
            }
        }
    }

    fn check_provider(
        &self,
        address: MobileAddress,
        domain: &Domain,
        provider: &Provider,
        resource: &Resource<'_>,
        draft: &mut Draft,
        sink: &mut Sink<'_>,
    ) {
        match self.provider_mode {
            Some(
                mode @ (Capability::IpForwarding
                | Capability::DisableSourceDestCheck
                | Capability::RouteTable),
            ) => {
                let found = Diagnostic::error("bad-value", format!("`{mode}` assigns no address"))
                    .hint("`nic-secondary-ip` fits every provider");
                resource.report(sink, "capture.providerMode", found);
            }
            Some(mode) => check_capability(mode, "capture.providerMode", provider, resource, sink),
            None => {}
        }
        if let Some(nic) = &self.nic_ref {
            nic::check(nic, provider, resource, sink);
            if let Some(claim) = draft.claims.get_mut(&address.addr()) {
                claim.nic = Some((provider.cloud, nic.to_lowercase()));
            }
        }
        nic::check_reserved(address, domain, provider, resource, sink);
    }
}

/// Refuses a capability that the profile does not list.
fn check_capability(
    capability: Capability,
    field: &str,
    provider: &Provider,
    resource: &Resource<'_>,
    sink: &mut Sink<'_>,
) {
    if provider.capabilities.contains(&capability) {
        return;
    }
    let message = format!(
        "{} does not have the capability `{capability}`",
        provider.id
    );
    let hint = if capability.fits(provider.cloud) {
        format!("add it to `capabilities` of {}", provider.id)
    } else {
        format!(
            "{} has no such thing; `nic-secondary-ip` fits every provider",
            provider.cloud
        )
    };
    let found = Diagnostic::error("capability-missing", message).hint(hint);
    resource.report(sink, field, found);
}

/// Warns where a fabric never consults its route table for neighbours of one subnet.
fn check_same_subnet(
    domain: &Domain,
    provider: &Provider,
    resource: &Resource<'_>,
    draft: &Draft,
    sink: &mut Sink<'_>,
) {
    let inside = |own: &&OwnAddress| match own.net {
        ipnet::IpNet::V4(net) => net.prefix_len() < 32 && domain.prefix.contains(&net.addr()),
        ipnet::IpNet::V6(_) => false,
    };
    let reason = match provider.cloud {
        Cloud::Azure => return,
        Cloud::Aws => "aws refuses a /32 route inside the VPC's own range",
        Cloud::Oci => "oci never consults the route table inside one subnet",
        Cloud::Gcp => "gcp refuses static routes inside a subnet's range",
    };
    if let Some(own) = draft.addresses.values().flatten().find(inside) {
        let message = format!(
            "{reason}, and {} says this router is in {}",
            own.id, domain.prefix
        );
        let found = Diagnostic::warning("route-table-in-subnet", message)
            .hint("use `provider-secondary-ip`");
        resource.report(sink, "capture.type", found);
    }
}

/// Whether all that is known of an interface's addresses is outside the domain.
fn is_off_subnet(known: &[OwnAddress], domain: &Domain) -> bool {
    let inside = |own: &OwnAddress| match own.net.addr() {
        IpAddr::V4(address) => domain.prefix.contains(&address),
        IpAddr::V6(_) => false,
    };
    !known.is_empty() && !known.iter().any(inside)
}
