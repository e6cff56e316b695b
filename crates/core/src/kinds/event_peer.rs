//! `EventPeer`: another node of an event group.

use std::net::SocketAddr;

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{Reference, ResourceName, Text};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::federation::intent::{Auth, PeerIntent, Transport};
use crate::federation::outbox::Filter;
use crate::federation::signature::NodePublicKey;

/// Another node of an event group: what it is sent, and whose signature is believed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EventPeer {
    /// The group.
    group_ref: GroupReference,
    /// Its name in the group.
    node_name: Text<ResourceName>,
    /// Where it receives events: its address in the overlay and its port. Absent: it is sent nothing, unless NATS
    /// carries the events of the group.
    endpoint: Option<Text<SocketAddr>>,
    /// Who begins.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one direction")]
    direction: Direction,
    /// The types of events that it is sent; none listed: all.
    #[serde(default)]
    types: Vec<String>,
    /// What the subjects of those events begin with; none listed: anything.
    #[serde(default)]
    subject_prefixes: Vec<String>,
    /// The public key of its node, as `routerctl get eventgroups` shows it there. Absent: nothing that it sends is
    /// believed.
    public_key: Option<Text<NodePublicKey>>,
    /// A second key that is believed as well, while the node changes its key.
    next_public_key: Option<Text<NodePublicKey>>,
}

/// The EventGroup.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-reference" = ["EventGroup"]))]
pub(super) struct GroupReference(Text<Reference>);

impl GroupReference {
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }
}

/// Who begins.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Direction {
    /// Each node sends what it observed.
    #[default]
    Push,
}

impl Kind for EventPeer {
    const NAME: &'static str = "EventPeer";
    const GROUP: &'static str = "federation.routerd.net";
    const EXAMPLE: &'static str = "\
groupRef: cloudedge
nodeName: cloud-router
endpoint: 10.255.0.1:65433
types: [routerd.client.ipv4.observed, routerd.client.ipv4.expired]
publicKey: 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let federation = &mut draft.effective.federation;
        let Some(group) = federation.groups.get(self.group_ref.name()) else {
            // Unknown, which is reported already, or refused.
            draft.broken.insert(resource.id.clone());
            return;
        };
        if group.node == self.node_name.0.0 {
            let found = Diagnostic::error("peer-is-this-node", "it has the name of this node")
                .hint("an EventPeer is another node of the group");
            resource.report(sink, "nodeName", found);
        }
        let twice = federation
            .peers
            .values()
            .find(|peer| peer.group == self.group_ref.name() && peer.node == self.node_name.0.0);
        if let Some(first) = twice {
            let message = format!("{} is that node already", first.owner);
            let found = Diagnostic::error("duplicate-peer", message).hint("keep one of them");
            resource.report(sink, "nodeName", found);
        }
        if group.transport != Transport::Direct && self.endpoint.is_some() {
            let message = "NATS carries the events of this group: nothing is sent there";
            let found = Diagnostic::error("field-without-use", message).hint("remove `endpoint`");
            resource.report(sink, "endpoint", found);
        }
        if self.next_public_key.is_some() && self.public_key.is_none() {
            let found = Diagnostic::error("missing-field", "`spec.publicKey` is missing")
                .hint("the first key stands in `publicKey`");
            resource.report(sink, "nextPublicKey", found);
        }
        let keys: Vec<_> = [self.public_key, self.next_public_key]
            .into_iter()
            .flatten()
            .collect();
        if group.auth != Auth::NodeKey && !keys.is_empty() {
            let message = "the messages of this group are signed with its shared secret";
            let found = Diagnostic::error("field-without-use", message)
                .hint("remove it, or set `auth.mode: node-key` in the group");
            resource.report(sink, "publicKey", found);
        }
        let intent = PeerIntent {
            owner: resource.id.clone(),
            group: self.group_ref.name().to_owned(),
            node: self.node_name.0.0,
            endpoint: self.endpoint.map(|endpoint| endpoint.0),
            filter: Filter {
                types: self.types,
                subject_prefixes: self.subject_prefixes,
            },
            keys: keys.into_iter().map(|key| key.0).collect(),
        };
        federation.peers.insert(resource.id.name.clone(), intent);
    }
}
