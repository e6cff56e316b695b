//! `Interface`: a link that exists without routerd.

use api::{Diagnostic, IfName};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{InterfaceAddress, Text};
use crate::config::draft::{Device, Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::InterfaceIntent;

/// A network interface that somebody else made: a NIC, a bridge, a VLAN. Declaring it gives it a name that other
/// resources refer to, and its state a place in `routerctl status`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Interface {
    /// The name that the kernel knows it by.
    ifname: Text<IfName>,
    /// The MTU in bytes, set on a managed interface.
    #[schemars(range(min = 576, max = 65535))]
    mtu: Option<u32>,
    /// Addresses with their prefix length, held on a managed interface.
    #[serde(default)]
    addresses: Vec<Text<InterfaceAddress>>,
    /// Whether routerd may set MTU, addresses and state. Otherwise the interface is only observed.
    #[serde(default)]
    managed: bool,
}

impl Kind for Interface {
    const NAME: &'static str = "Interface";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
ifname: eth0
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let ifname = self.ifname.0.clone();
        let device = Device {
            ifname: ifname.clone(),
            mark: resource.mark,
            wireguard: false,
            plain: None,
            mtu: self.mtu,
            mtu_mark: resource.at("mtu"),
        };
        if !draft.add_device(resource, device, sink) {
            return;
        }
        if !self.managed {
            self.warn_of_inert_fields(resource, sink);
        }
        for (index, address) in self.addresses.iter().enumerate() {
            let net = address.0.0;
            draft.add_address(resource, &format!("addresses.{index}"), &ifname, net, false);
            if self.managed {
                draft.hold_address(resource, &ifname, net);
            }
        }
        let intent = InterfaceIntent {
            owner: resource.id.clone(),
            managed: self.managed,
            mtu: self.mtu,
        };
        draft.effective.interfaces.insert(ifname, intent);
    }
}

impl Interface {
    fn warn_of_inert_fields(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let fields = [
            ("mtu", self.mtu.is_some()),
            ("addresses", !self.addresses.is_empty()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, set)| *set) {
            let message =
                format!("`{field}` is not set on the host: the interface is only observed");
            let found = Diagnostic::warning("interface-not-managed", message)
                .hint("set `managed: true` if routerd shall set it, else remove the line");
            resource.report(sink, field, found);
        }
    }
}
