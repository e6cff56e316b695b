//! `DynamicConfigPart`: resources and masks that hold for a time.

use std::sync::Arc;

use api::Diagnostic;
use api::plugin::{Directive, ResourceDocument};
use api::time::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{SourceName, Text};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::dynamic::{Digest, Part};

/// Resources and masks that hold for a time, beside the rest of the configuration.
///
/// Plugins make parts while the daemon runs; one that stands in a configuration is written by a person and merged by the same
/// rules: of one source the newest generation counts, and a part that is wrong, collides, or does what no DynamicOverridePolicy
/// permits is quarantined alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-planned" = {
    "actionPlans": "action plans come from plugins; import one of your own with `routerctl action import`",
}))]
pub(crate) struct DynamicConfigPart {
    /// Who says it. Policies permit by it.
    source: Text<SourceName>,
    /// Grows with every word of this source: only the newest counts.
    #[schemars(range(min = 1))]
    generation: u64,
    /// When it was true.
    observed_at: Text<Timestamp>,
    /// Until when. Absent: for ever.
    expires_at: Option<Text<Timestamp>>,
    /// Digest of what it says. If it does not match, the part is quarantined.
    digest: Option<Text<Digest>>,
    /// What it adds.
    #[serde(default)]
    resources: Vec<ResourceDocument>,
    /// What it masks.
    #[serde(default)]
    directives: Vec<Directive>,
}

impl Kind for DynamicConfigPart {
    const NAME: &'static str = "DynamicConfigPart";
    const GROUP: &'static str = "config.routerd.net";
    const EXAMPLE: &'static str = "\
source: maintenance
generation: 3
observedAt: 2026-05-31T01:30:00Z
expiresAt: 2026-05-31T05:30:00Z
directives:
  - op: mask
    target:
      apiVersion: hybrid.routerd.net/v1alpha1
      kind: RemoteAddressClaim
      name: app
    reason: the machine is rebuilt
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let part = Part {
            source: self.source.0.0,
            generation: self.generation,
            observed_at: self.observed_at.0,
            expires_at: self.expires_at.map(|time| time.0),
            digest: self.digest.map(|digest| digest.0),
            resources: self.resources,
            directives: self.directives,
            ..Part::default()
        };
        if part.expires_at.is_some_and(|end| end <= part.observed_at) {
            let message = "it expires before it was observed";
            let found = Diagnostic::error("part-never-counts", message)
                .hint("`expiresAt` lies behind `observedAt`");
            resource.report(sink, "expiresAt", found);
        }
        if part.resources.is_empty() && part.directives.is_empty() {
            let message = "it adds nothing and masks nothing";
            let found =
                Diagnostic::warning("empty-part", message).hint("list `resources` or `directives`");
            resource.report(sink, "", found);
        }
        let parts = &mut draft.effective.parts;
        let same = |other: &Arc<Part>| {
            (&other.source, other.generation) == (&part.source, part.generation)
        };
        if parts.iter().any(same) {
            let message = format!(
                "another part is generation {} of {}",
                part.generation, part.source
            );
            let found = Diagnostic::error("duplicate-part", message)
                .hint("the later word of a source has the higher `generation`");
            resource.report(sink, "generation", found);
            return;
        }
        parts.push(Arc::new(part));
    }
}
