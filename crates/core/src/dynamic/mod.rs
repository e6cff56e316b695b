//! Dynamic configuration: what plugins and events add to the startup configuration, and what they mask of it.
//!
//! effective = startup − masked + active parts, a pure function of startup, parts and the time. A part that is
//! wrong is quarantined alone; the rest of the merge stands. Provisioning is immediate, de-provisioning slow: an
//! expired part is held for a while, since losing it takes addresses from a live network.

mod admission;
mod merge;

pub use admission::{AllowMasks, AllowResources, MaskTarget, Policies};
pub use merge::{Mask, Merged, PartState, PartStatus, merge};

use api::control::SourceFile;
use api::plugin::{Directive, ResourceDocument};
use api::time::Timestamp;

/// How long an expired part is held, as a multiple of its time to live.
const HOLD_TTLS: u64 = 10;
/// The longest that an expired part is held, in milliseconds.
const HOLD_LIMIT: u64 = 3_600_000;

/// What one source says at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Who says it: `DynamicConfigSource/aws`, `EventSubscription/clients` …
    pub source: String,
    /// Grows with every word of this source; only the newest counts.
    pub generation: u64,
    /// When it was true.
    pub observed_at: Timestamp,
    /// Until when; absent: for ever.
    pub expires_at: Option<Timestamp>,
    /// Set when an explicit fact ended it: then it is not held.
    pub ended_at: Option<Timestamp>,
    /// What it adds.
    pub resources: Vec<ResourceDocument>,
    /// What it masks.
    pub directives: Vec<Directive>,
}

impl Part {
    /// The name under which its resources stand in diagnostics.
    pub fn file_name(&self) -> String {
        format!("dynamic/{}@{}", self.source, self.generation)
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

    /// When it stops to count at all: the end of its hold, or what ended it.
    fn gone_at(&self) -> Option<Timestamp> {
        let held = self.expires_at.map(|expires| {
            let ttl = expires.millis_since(self.observed_at);
            expires.plus_millis(ttl.saturating_mul(HOLD_TTLS).min(HOLD_LIMIT))
        });
        match (held, self.ended_at) {
            (Some(held), Some(ended)) => Some(held.min(ended)),
            (held, ended) => held.or(ended),
        }
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }

    fn is_gone(&self, now: Timestamp) -> bool {
        self.gone_at().is_some_and(|gone| gone <= now)
    }
}

#[cfg(test)]
mod tests;
