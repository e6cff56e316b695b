//! `DynamicConfigSource`: a plugin that runs by itself and says what is to be configured.

use std::collections::BTreeSet;
use std::time::Duration;

use api::Diagnostic;
use api::plugin::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{Reference, Span, Text, Topic};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::SourceIntent;

/// The shortest time between two runs.
const SHORTEST: Duration = Duration::from_secs(1);

/// A plugin that runs by itself: at intervals, or when events come. What it says becomes a dynamic part of the configuration
/// that replaces the one it said before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DynamicConfigSource {
    /// The plugin. It may `propose.dynamicConfig`.
    #[schemars(extend("x-reference" = ["Plugin"]))]
    plugin_ref: Text<Reference>,
    /// The longest that its word counts. Absent: as long as the plugin says.
    ttl: Option<Text<Span>>,
    /// What makes it run.
    #[schemars(length(min = 1))]
    triggers: Vec<Trigger>,
    /// What happens when it says something about a resource that there is already.
    #[expect(
        dead_code,
        reason = "one value so far; the form check refuses all others"
    )]
    #[serde(default)]
    merge_policy: MergePolicy,
}

/// What makes a plugin run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Trigger {
    /// What kind of reason.
    #[serde(rename = "type")]
    kind: TriggerType,
    /// How often, for `interval`: 1s or more.
    every: Option<Text<Span>>,
    /// The type of the events, for `event`: `routerd.client.ipv4.observed`. They are given to the plugin.
    topic: Option<Text<Topic>>,
}

/// What kind of reason makes a plugin run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TriggerType {
    /// Its time has come.
    Interval,
    /// Events have come.
    Event,
}

/// What happens when a part collides.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MergePolicy {
    /// What happens to the part.
    #[expect(
        dead_code,
        reason = "one value so far; the form check refuses all others"
    )]
    #[serde(default)]
    conflict: Conflict,
}

/// What happens to a part that collides.
#[derive(Debug, Default, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Conflict {
    /// It is quarantined as a whole; what was there first stays.
    #[default]
    Reject,
}

impl Kind for DynamicConfigSource {
    const NAME: &'static str = "DynamicConfigSource";
    const GROUP: &'static str = "config.routerd.net";
    const EXAMPLE: &'static str = "\
pluginRef: inventory
ttl: 10m
triggers:
  - type: interval
    every: 5m
  - type: event
    topic: routerd.client.ipv4.observed
mergePolicy:
  conflict: reject
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        self.check_plugin(resource, draft, sink);
        let mut every: Option<Duration> = None;
        let mut topics = BTreeSet::new();
        for (index, trigger) in self.triggers.iter().enumerate() {
            trigger.check(index, resource, sink);
            if let Some(Text(Span(one))) = trigger.every {
                every = Some(every.map_or(one, |other| other.min(one)));
            }
            topics.extend(trigger.topic.as_ref().map(|topic| topic.0.0.clone()));
        }
        self.warn_of_gaps(every, resource, sink);
        let intent = SourceIntent {
            owner: resource.id.clone(),
            plugin: self.plugin_ref.0.name,
            ttl: self.ttl.map(|ttl| ttl.0.0),
            every,
            topics,
        };
        draft
            .effective
            .sources
            .insert(resource.id.name.clone(), intent);
    }
}

impl DynamicConfigSource {
    /// What a plugin says without the right to say it is refused at each run: better said now.
    fn check_plugin(&self, resource: &Resource<'_>, draft: &Draft, sink: &mut Sink<'_>) {
        let Some(plugin) = draft.effective.plugins.get(&self.plugin_ref.0.name) else {
            return;
        };
        let events = |t: &Trigger| t.kind == TriggerType::Event;
        let needs = [
            (Capability::ProposeDynamicConfig, true),
            (Capability::ObserveEvents, self.triggers.iter().any(events)),
        ];
        for (capability, needed) in needs {
            if needed && !plugin.capabilities.contains(&capability) {
                let message = format!("{} may not `{capability}`", plugin.owner);
                let found = Diagnostic::error("plugin-lacks-capability", message)
                    .hint(format!("add `{capability}` to its `capabilities`"));
                resource.report(sink, "pluginRef", found);
            }
        }
    }

    /// A word that is over before the next one comes is held, then lost.
    fn warn_of_gaps(&self, every: Option<Duration>, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        if let (Some(Text(Span(ttl))), Some(every)) = (&self.ttl, every)
            && *ttl < every
        {
            let message = "its word is over before it runs again";
            let found = Diagnostic::warning("source-with-gaps", message)
                .hint("make `ttl` longer than `every`");
            resource.report(sink, "ttl", found);
        }
    }
}

impl Trigger {
    fn check(&self, index: usize, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let given = [
            (TriggerType::Interval, "every", self.every.is_some()),
            (TriggerType::Event, "topic", self.topic.is_some()),
        ];
        for (kind, field, present) in given {
            let found = match (self.kind == kind, present) {
                (true, false) => {
                    Diagnostic::error("missing-field", format!("`{field}` is missing"))
                        .hint(format!("this type of trigger has `{field}`"))
                }
                (false, true) => {
                    let message = format!("`{field}` means nothing to this type of trigger");
                    Diagnostic::error("meaningless-field", message).hint("write two triggers")
                }
                _ => continue,
            };
            resource.report(sink, &format!("triggers.{index}"), found);
        }
        if self
            .every
            .as_ref()
            .is_some_and(|every| every.0.0 < SHORTEST)
        {
            let found = Diagnostic::error(
                "interval-too-short",
                "a plugin starts once a second at most",
            )
            .hint("write `1s` or more");
            resource.report(sink, &format!("triggers.{index}.every"), found);
        }
    }
}
