//! `AddressMobilityDomain`: the subnet that two sites share.

use api::Diagnostic;
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{Reference, Text, host_range};
use crate::config::draft::{Domain, Draft, Resource};
use crate::config::sink::Sink;

/// A subnet whose addresses may live at any site. Single addresses of it are captured and delivered; the subnet itself is
/// never stretched.
///
/// The prefix is one that hosts live in: not 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16 or 224.0.0.0/3.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AddressMobilityDomain {
    /// The shared subnet.
    prefix: Text<Ipv4Net>,
    /// How addresses move.
    #[expect(
        dead_code,
        reason = "one value so far; the form check refuses all others"
    )]
    mode: Mode,
    /// The OverlayPeer for claims of this domain that name none themselves.
    #[schemars(extend("x-reference" = ["OverlayPeer"]))]
    peer_ref: Option<Text<Reference>>,
}

/// How addresses of a domain move.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-refused" = {
    "full-l2": "a stretched layer-2 segment carries every broadcast and every fault to the other site; \
                routerd moves single addresses: write `selective-address`",
}))]
enum Mode {
    /// One `/32` at a time, those that are claimed.
    SelectiveAddress,
}

impl Kind for AddressMobilityDomain {
    const NAME: &'static str = "AddressMobilityDomain";
    const GROUP: &'static str = "hybrid.routerd.net";
    const EXAMPLE: &'static str = "\
prefix: 10.77.60.0/24
mode: selective-address
peerRef: onprem-main
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let prefix = self.prefix.0;
        if !host_range(prefix) {
            let message = format!("hosts cannot live in all of {prefix}");
            let found = Diagnostic::error("prefix-not-for-hosts", message).hint(
                "write the subnet that both sites use, outside 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16 and 224.0.0.0/3",
            );
            resource.report(sink, "prefix", found);
            draft.broken.insert(resource.id.clone());
            return;
        }
        let domain = Domain {
            id: resource.id.clone(),
            mark: resource.at("prefix"),
            prefix,
            peer: self.peer_ref.map(|reference| reference.0),
        };
        draft.domains.insert(resource.id.name.clone(), domain);
    }
}
