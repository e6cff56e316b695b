//! `SAMNodeSet`: the nodes of a fabric, by name.

use std::collections::BTreeSet;

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{HardwareAddress, ResourceName, Side, Text};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;

/// The nodes of a fabric. What they say by ARP on a LAN is never taken for a client's word.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SAMNodeSet {
    /// The nodes.
    #[schemars(length(min = 1))]
    nodes: Vec<Node>,
}

/// A node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-planned" = {
    "routeReflector": "there is no route reflector in this version",
    "samEndpoint": "declare a WireGuardPeer with its `endpoint`",
    "eventEndpoint": "declare an EventPeer with its `endpoint`",
    "wireGuard": "declare a WireGuardPeer",
    "placement": "each node acts for itself in this version",
    "maintenance": "mask its claims with a DynamicConfigPart",
    "maxSecondaryIPs": "limit actions with a ProviderActionPolicy",
}))]
struct Node {
    /// Its name.
    node_ref: Text<ResourceName>,
    /// Its site, for people.
    #[expect(dead_code, reason = "for people")]
    site: Option<String>,
    /// The side of its site, for people.
    #[expect(dead_code, reason = "for people")]
    role: Option<Side>,
    /// Hardware addresses of its interfaces.
    #[serde(default)]
    mac_addresses: Vec<Text<HardwareAddress>>,
}

impl Kind for SAMNodeSet {
    const NAME: &'static str = "SAMNodeSet";
    const GROUP: &'static str = "mobility.routerd.net";
    const EXAMPLE: &'static str = "\
nodes:
  - nodeRef: onprem-router-b
    site: tokyo
    role: onprem
    macAddresses: [\"52:54:00:12:34:56\"]
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let mut names = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if !names.insert(&node.node_ref.0) {
                let message = format!("node {} is listed twice", node.node_ref.0.0);
                let found = Diagnostic::error("duplicate-node", message).hint("keep one of them");
                resource.report(sink, &format!("nodes.{index}.nodeRef"), found);
            }
            let macs = node.mac_addresses.iter().map(|mac| mac.0.0);
            draft.effective.router_macs.extend(macs);
        }
    }
}
