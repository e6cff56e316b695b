//! `IPv4StaticAddress`: an address on an interface.

use api::Diagnostic;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{InterfaceAddress, KERNEL_INTERFACE, Reference, Text};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;

/// An IPv4 address that routerd holds on an interface.
///
/// Its subnet may not overlap with one on another interface unless that is said to be meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IPv4StaticAddress {
    /// The interface: an Interface, a WireGuardInterface, a TunnelInterface, or the kernel's name of one.
    #[schemars(extend("x-reference" = ["Interface", "WireGuardInterface", "TunnelInterface", KERNEL_INTERFACE]))]
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
            let found = Diagnostic::error("bad-address", format!("`{net}` is not an IPv4 address"))
                .hint("an IPv6 address goes into `addresses` of its interface");
            resource.report(sink, "address", found);
            return;
        }
        self.check_reason(resource, sink);
        let key = (ifname.clone(), net);
        if let Some(first) = draft.effective.addresses.get(&key) {
            let message = format!("{} holds {net} on {ifname} already", first.owner);
            let found = Diagnostic::error("duplicate-address", message).hint("keep one");
            resource.report(sink, "address", found);
            return;
        }
        draft.add_address(resource, "address", &ifname, net, self.allow_overlap);
        draft.hold_address(resource, &ifname, net);
    }
}

impl IPv4StaticAddress {
    /// An overlap and its reason come together.
    fn check_reason(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let reason = self.allow_overlap_reason.as_deref().map(str::trim);
        let (field, message, hint) = match (self.allow_overlap, reason) {
            (true, None | Some("")) => (
                "allowOverlap",
                "`spec.allowOverlapReason` is missing",
                "say why the overlap is meant",
            ),
            (false, Some(_)) => (
                "allowOverlapReason",
                "a reason is given, but no overlap is allowed",
                "set `allowOverlap: true`, or remove the reason",
            ),
            _ => return,
        };
        let found = Diagnostic::error("overlap-reason", message).hint(hint);
        resource.report(sink, field, found);
    }
}
