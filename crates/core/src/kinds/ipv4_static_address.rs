//! `IPv4StaticAddress`: an address on an interface.

use api::Diagnostic;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{InterfaceAddress, KERNEL_INTERFACE, Reference, Text};
use crate::config::draft::{Draft, OwnAddress, Resource};
use crate::config::sink::Sink;
use crate::effective::AddressIntent;

/// An IPv4 address that routerd holds on an interface.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IPv4StaticAddress {
    /// The interface: an Interface, a WireGuardInterface, or the kernel's name of one.
    #[schemars(extend("x-reference" = ["Interface", "WireGuardInterface", KERNEL_INTERFACE]))]
    interface: Text<Reference>,
    /// The address with the length of its subnet.
    address: Text<InterfaceAddress>,
    /// Allows the subnet to overlap with one on another interface. Needs `allowOverlapReason`.
    #[serde(default)]
    allow_overlap: bool,
    /// Why the overlap is meant, for whoever reads this next.
    allow_overlap_reason: Option<String>,
}

impl Kind for IPv4StaticAddress {
    const NAME: &'static str = "IPv4StaticAddress";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
interface: eth0
address: 10.77.60.4/24
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let Some(ifname) = draft.device(&self.interface) else {
            return;
        };
        let net = self.address.0.0;
        if let IpNet::V6(_) = net {
            let found = Diagnostic::error("bad-address", format!("`{net}` is not an IPv4 address"));
            resource.report(sink, "address", found);
            return;
        }
        let reason = self
            .allow_overlap_reason
            .as_deref()
            .unwrap_or_default()
            .trim();
        if self.allow_overlap == reason.is_empty() {
            let (field, message, hint) = if self.allow_overlap {
                (
                    "allowOverlap",
                    "`spec.allowOverlapReason` is missing",
                    "say why the overlap is meant",
                )
            } else {
                (
                    "allowOverlapReason",
                    "`spec.allowOverlapReason` gives a reason, but nothing is allowed",
                    "set `allowOverlap: true`, or remove the reason",
                )
            };
            if self.allow_overlap || self.allow_overlap_reason.is_some() {
                let found = Diagnostic::error("overlap-reason", message).hint(hint);
                resource.report(sink, field, found);
            }
        }
        let key = (ifname.clone(), net);
        if let Some(first) = draft.effective.addresses.get(&key) {
            let message = format!("{} holds {net} on {ifname} already", first.owner);
            let found = Diagnostic::error("duplicate-address", message).hint("keep one");
            resource.report(sink, "address", found);
            return;
        }
        draft.addresses.push(OwnAddress {
            id: resource.id.clone(),
            mark: resource.at("address"),
            ifname,
            net,
            may_overlap: self.allow_overlap,
        });
        let owner = resource.id.clone();
        draft
            .effective
            .addresses
            .insert(key, AddressIntent { owner });
    }
}
