//! Dynamic configuration: what plugins and events add to the startup configuration, and what they mask of it.
//!
//! effective = startup − masked + active parts, a pure function of startup, parts and the time. A part that is
//! wrong is quarantined alone; the rest of the merge stands. Provisioning is immediate, de-provisioning slow: an
//! expired part is held for a while, since losing it takes addresses from a live network.

mod accept;
mod admission;
mod digest;
mod gateways;
mod merge;
mod report;
mod rivals;
mod schedule;

pub use accept::{Refusal, Run, Taken, accept, ends};
pub use admission::{AllowMasks, AllowResources, DYNAMIC_KINDS, MaskTarget, Policies};
pub use digest::Digest;
pub use gateways::gateways;
pub use merge::{Judged, Load, Mask, Merge, Merged, PartState, merge};
pub use report::{effective, parts};

use std::collections::BTreeMap;

use api::ResourceId;
use api::action::ActionPlan;
use api::control::SourceFile;
use api::plugin::{Directive, ResourceDocument};
use api::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How long an expired part is held, as a multiple of its time to live.
const HOLD_TTLS: u64 = 10;
/// The longest that an expired part is held, in milliseconds.
const HOLD_LIMIT: u64 = 3_600_000;
/// Between a source and what the part is about. No name of a resource holds it.
const ABOUT: char = ':';

/// What one source says at one time. Serializes as it stands in the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Who says it: `DynamicConfigSource/aws`, `EventSubscription/clients:10.77.60.9/32` … What follows the colon
    /// is the subject of the event that the part came from: each has parts of its own, which come and go alone.
    pub source: String,
    /// Grows with every word of this source; only the newest counts.
    pub generation: u64,
    /// When it was true.
    pub observed_at: Timestamp,
    /// Until when; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Set when an explicit fact ended it: then it is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The event that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The plugin that said it; absent: a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Digest of what it says, as its author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Since when earlier generations have said the same of a resource: the earlier word holds an identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "since")]
    pub held_since: BTreeMap<ResourceId, Timestamp>,
    /// What it adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceDocument>,
    /// What it masks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directives: Vec<Directive>,
    /// The provider actions that it proposes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub action_plans: Vec<ActionPlan>,
    /// Why the host could not be brought to it, if so. Known to the daemon alone, until it tries again.
    #[serde(skip)]
    pub refused: Option<String>,
}

/// The event that a part came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Its id.
    pub event: String,
    /// Its group.
    pub group: String,
    /// Who observed it: nobody else can end it.
    pub source_node: String,
    /// Its type without the last word: `routerd.client.ipv4`.
    pub family: String,
    /// What it is about.
    pub subject: String,
}

impl Part {
    /// Who policies speak of: the source without what the part is about.
    pub fn authority(&self) -> &str {
        let whole = self.source.as_str();
        whole.split_once(ABOUT).map_or(whole, |(source, _)| source)
    }

    /// The name under which its resources stand in diagnostics.
    pub fn file_name(&self) -> String {
        format!("dynamic/{}@{}", self.source, self.generation)
    }

    /// The identities that it adds.
    pub fn ids(&self) -> impl Iterator<Item = ResourceId> + '_ {
        let resources = self.resources.iter();
        resources.map(|r| ResourceId::new(&*r.kind, &*r.metadata.name))
    }

    /// The identities that it masks.
    pub fn masks(&self) -> impl Iterator<Item = ResourceId> + '_ {
        let directives = self.directives.iter();
        directives.map(|d| ResourceId::new(&*d.target.kind, &*d.target.name))
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.directives.is_empty() && self.action_plans.is_empty()
    }

    /// When it stops to count at all: the end of its hold, or what ended it.
    pub fn gone_at(&self) -> Option<Timestamp> {
        let held = self.expires_at.map(|expires| {
            let ttl = expires.millis_since(self.observed_at);
            expires.plus_millis(ttl.saturating_mul(HOLD_TTLS).min(HOLD_LIMIT))
        });
        match (held, self.ended_at) {
            (Some(held), Some(ended)) => Some(held.min(ended)),
            (held, ended) => held.or(ended),
        }
    }

    /// Since when it holds an identity.
    fn since(&self, id: &ResourceId) -> Timestamp {
        self.held_since.get(id).copied().unwrap_or(self.observed_at)
    }

    /// Its resources as a configuration file: JSON documents, which YAML reads.
    fn file(&self) -> SourceFile {
        let documents = self
            .resources
            .iter()
            .map(|r| serde_json::to_string(r).unwrap_or_default());
        SourceFile {
            name: self.file_name(),
            text: documents.collect::<Vec<_>>().join("\n---\n"),
        }
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }

    /// Whether it counts no more, not even held.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.gone_at().is_some_and(|gone| gone <= now)
    }
}

/// JSON has texts for keys.
mod since {
    use std::collections::BTreeMap;

    use api::ResourceId;
    use api::time::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        since: &BTreeMap<ResourceId, Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let entries: Vec<_> = since.iter().collect();
        entries.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<ResourceId, Timestamp>, D::Error> {
        let entries = Vec::<(ResourceId, Timestamp)>::deserialize(from)?;
        Ok(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
