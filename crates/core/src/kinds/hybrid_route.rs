//! `HybridRoute`: whole prefixes of another site.

use std::collections::BTreeSet;

use api::Diagnostic;
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{Reference, RouteTable, Text};
use crate::config::draft::{Draft, Over, Resource};
use crate::config::sink::Sink;

/// Routes to prefixes that live at another site, one for each destination. They are checked, removed and repaired like those of
/// an IPv4Route.
///
/// A default route, also as two halves, is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HybridRoute {
    /// The prefixes. A default route is refused.
    #[serde(rename = "destinationCIDRs")]
    #[schemars(length(min = 1))]
    destinations: Vec<Text<Ipv4Net>>,
    /// The site that they live at.
    #[schemars(extend("x-reference" = ["OverlayPeer"]))]
    peer_ref: Text<Reference>,
    /// Where the routes go.
    #[serde(default)]
    install: Install,
}

/// Where routes go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Install {
    /// The routing table. Default: `main`.
    table: Option<RouteTable>,
    /// The metric; the smaller wins. Default: 120.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    metric: Option<u32>,
}

impl Kind for HybridRoute {
    const NAME: &'static str = "HybridRoute";
    const GROUP: &'static str = "hybrid.routerd.net";
    const EXAMPLE: &'static str = "\
destinationCIDRs: [192.168.40.0/24]
peerRef: onprem-main
install:
  table: main
  metric: 120
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let Some(table) = resource.table(self.install.table, "install.table", sink) else {
            return;
        };
        let mut seen = BTreeSet::new();
        let path = draft.paths.get(&self.peer_ref.name).cloned();
        for (index, destination) in self.destinations.iter().enumerate() {
            let field = format!("destinationCIDRs.{index}");
            let destination = destination.0;
            if destination.prefix_len() <= 1 {
                let message = format!("{destination} is a default route, whole or half");
                let found = Diagnostic::error("default-route-refused", message)
                    .hint("list the prefixes of the other site; a default route of your own is an IPv4Route");
                resource.report(sink, &field, found);
                continue;
            }
            if !seen.insert(destination) {
                let found =
                    Diagnostic::error("duplicate-item", format!("{destination} is listed twice"));
                resource.report(sink, &field, found);
                continue;
            }
            if let Some(path) = &path {
                let over = Over {
                    path: Some(path),
                    device: path.device.clone(),
                    table,
                    metric: self.install.metric.unwrap_or(super::OVERLAY_METRIC),
                };
                draft.deliver(resource, &field, destination, over, sink);
            }
        }
    }
}
