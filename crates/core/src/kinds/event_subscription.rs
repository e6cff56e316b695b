//! `EventSubscription`: a plugin that runs for events.

use std::collections::BTreeMap;

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::event_peer::GroupReference;
use super::field::{Reference, Span, Text};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::federation::intent::SubscriptionIntent;
use crate::federation::subscription::{Gather, Match};

/// A plugin that runs for events: once for each event, several events at a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EventSubscription {
    /// The group.
    group_ref: GroupReference,
    /// Which events.
    #[serde(rename = "match")]
    matching: MatchSpec,
    /// What runs, and when.
    trigger: Trigger,
}

/// Which events; all conditions have to hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MatchSpec {
    /// Types of events; at least one, so that nothing runs for everything by mistake.
    #[schemars(length(min = 1))]
    types: Vec<String>,
    /// What the subject begins with; none listed: anything.
    #[serde(default)]
    subject_prefixes: Vec<String>,
    /// The nodes that observed it; none listed: any.
    #[serde(default)]
    source_nodes: Vec<String>,
    /// Entries that the payload must have, with these values.
    #[serde(default)]
    payload: BTreeMap<String, String>,
}

/// What runs, and when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Trigger {
    /// The plugin.
    plugin_ref: PluginReference,
    /// The longest that the first event of a batch waits for others. Absent: not at all.
    batch_window: Option<Text<Span>>,
    /// How long it must be quiet before the plugin runs; `batchWindow` ends the wait all the same.
    debounce: Option<Text<Span>>,
}

/// The Plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-reference" = ["Plugin"]))]
struct PluginReference(Text<Reference>);

impl Kind for EventSubscription {
    const NAME: &'static str = "EventSubscription";
    const GROUP: &'static str = "federation.routerd.net";
    const EXAMPLE: &'static str = "\
groupRef: cloudedge
match:
  types: [routerd.client.ipv4.observed]
  subjectPrefixes: [10.88.60.]
trigger:
  pluginRef: event-to-remote-claim
  batchWindow: 1s
  debounce: 200ms
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let federation = &mut draft.effective.federation;
        let Some(group) = federation.groups.get(self.group_ref.name()) else {
            draft.broken.insert(resource.id.clone());
            return;
        };
        let known = |node: &String| {
            let mut peers = federation.peers.values();
            *node == group.node
                || peers.any(|p| p.group == self.group_ref.name() && p.node == *node)
        };
        for (index, node) in self.matching.source_nodes.iter().enumerate() {
            if !known(node) {
                let message = format!("no EventPeer of the group is called `{node}`");
                let found = Diagnostic::warning("unknown-source-node", message)
                    .hint("events that are emitted here by hand may name it all the same");
                resource.report(sink, &format!("match.sourceNodes[{index}]"), found);
            }
        }
        let millis = |span: Option<Text<Span>>| {
            let millis = span.map_or(0, |span| span.0.0.as_millis());
            u64::try_from(millis).unwrap_or(u64::MAX)
        };
        let intent = SubscriptionIntent {
            owner: resource.id.clone(),
            group: self.group_ref.name().to_owned(),
            events: Match {
                types: self.matching.types,
                subject_prefixes: self.matching.subject_prefixes,
                source_nodes: self.matching.source_nodes,
                payload: self.matching.payload,
            },
            plugin: self.trigger.plugin_ref.0.name.clone(),
            gather: Gather {
                batch_window: millis(self.trigger.batch_window),
                debounce: millis(self.trigger.debounce),
            },
        };
        let subscriptions = &mut federation.subscriptions;
        subscriptions.insert(resource.id.name.clone(), intent);
    }
}
