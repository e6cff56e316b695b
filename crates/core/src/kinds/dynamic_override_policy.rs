//! `DynamicOverridePolicy`: what dynamic sources may add and mask.

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::field::{ResourceName, SourceName, Text};
use super::{Entry, KINDS, Kind, VERSION};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::dynamic::{AllowMasks, AllowResources, DYNAMIC_KINDS, MaskTarget};

/// What dynamic sources may add and mask. Without one they may add RemoteAddressClaims and mask nothing.
///
/// Several policies add up. It counts only in the startup configuration: no source can permit itself anything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DynamicOverridePolicy {
    /// Who may change what others declared.
    #[serde(default)]
    allow: Vec<Allow>,
    /// Who may add what. A source that is named here may add these kinds and no others.
    #[serde(default)]
    allow_resources: Vec<Resources>,
}

/// A permission to change what others declared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Allow {
    /// The source, `EventSubscription/NAME`, `DynamicConfigSource/NAME`, or the `source` of a DynamicConfigPart.
    source: Text<SourceName>,
    /// What it may do.
    #[schemars(length(min = 1))]
    operations: Vec<Operation>,
    /// With what.
    #[schemars(length(min = 1))]
    targets: Vec<Target>,
}

/// What a directive does.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// Suppresses a resource for a time; nothing is deleted.
    Mask,
}

/// A resource, or all of a kind.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Target {
    /// For example `hybrid.routerd.net/v1alpha1`.
    api_version: String,
    /// Its kind.
    kind: String,
    /// Its name. Absent: all of the kind.
    name: Option<Text<ResourceName>>,
}

/// A permission to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    /// The source.
    source: Text<SourceName>,
    /// The kinds that it may add; none listed: none.
    kinds: Vec<String>,
}

impl Kind for DynamicOverridePolicy {
    const NAME: &'static str = "DynamicOverridePolicy";
    const GROUP: &'static str = "config.routerd.net";
    const EXAMPLE: &'static str = "\
allow:
  - source: maintenance
    operations: [mask]
    targets:
      - apiVersion: hybrid.routerd.net/v1alpha1
        kind: RemoteAddressClaim
allowResources:
  - source: EventSubscription/onprem-clients
    kinds: [RemoteAddressClaim]
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        for (rule, allow) in self.allow.iter().enumerate() {
            for (index, target) in allow.targets.iter().enumerate() {
                target.check(&format!("allow.{rule}.targets.{index}"), resource, sink);
            }
        }
        for (rule, resources) in self.allow_resources.iter().enumerate() {
            for (index, kind) in resources.kinds.iter().enumerate() {
                let path = format!("allowResources.{rule}.kinds.{index}");
                check_kind(kind, &path, resource, sink);
            }
        }
        let permissions = &mut draft.effective.permissions;
        permissions
            .masks
            .extend(self.allow.into_iter().map(Allow::rule));
        permissions
            .resources
            .extend(self.allow_resources.into_iter().map(|rule| AllowResources {
                source: rule.source.0.0,
                kinds: rule.kinds,
            }));
    }
}

impl Allow {
    fn rule(self) -> AllowMasks {
        let may_mask = self
            .operations
            .iter()
            .any(|operation| matches!(operation, Operation::Mask));
        let targets = self.targets.into_iter().map(|target| MaskTarget {
            kind: target.kind,
            name: target.name.map(|name| name.0.0),
        });
        AllowMasks {
            source: self.source.0.0,
            targets: targets.filter(|_| may_mask).collect(),
        }
    }
}

impl Target {
    fn check(&self, path: &str, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let Some(kind) = known(&self.kind) else {
            return unknown(&self.kind, &format!("{path}.kind"), resource, sink);
        };
        let expected = format!("{}/{VERSION}", kind.group);
        if self.api_version != expected {
            let message = format!("a {} is of {expected}, not {}", self.kind, self.api_version);
            let found = Diagnostic::error("wrong-api-version", message)
                .hint(format!("write `apiVersion: {expected}`"));
            resource.report(sink, &format!("{path}.apiVersion"), found);
        }
    }
}

fn known(kind: &str) -> Option<&'static Entry> {
    KINDS.iter().find(|entry| entry.name == kind)
}

fn unknown(kind: &str, path: &str, resource: &Resource<'_>, sink: &mut Sink<'_>) {
    let near = sink.suggest(kind, KINDS.iter().map(|kind| kind.name));
    let mut found = Diagnostic::error("unknown-kind", format!("there is no kind `{kind}`"));
    found.hint = near.map(|near| format!("did you mean `{near}`?"));
    resource.report(sink, path, found);
}

/// A kind that may be added by a part at all.
fn check_kind(kind: &str, path: &str, resource: &Resource<'_>, sink: &mut Sink<'_>) {
    if known(kind).is_none() {
        return unknown(kind, path, resource, sink);
    }
    if !DYNAMIC_KINDS.contains(&kind) {
        let message = format!("a {kind} is written by a person or not at all");
        let found = Diagnostic::error("kind-never-dynamic", message).hint(format!(
            "sources may be permitted to add {}",
            DYNAMIC_KINDS.join(", ")
        ));
        resource.report(sink, path, found);
    }
}
