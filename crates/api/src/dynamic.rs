//! Dynamic configuration as people and scripts read it.
//!
//! | method, path | answer |
//! |---|---|
//! | `GET /v1/dynamic/parts` | list of [`PartView`], by source and generation |
//! | `GET /v1/dynamic/effective` | [`EffectiveView`] |
//!
//! `routerd dynamic parts|effective --config FILE --state-file FILE` prints the same without a daemon.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::ActionPlan;
use crate::plugin::{Directive, ResourceDocument};
use crate::time::Timestamp;
use crate::{Diagnostic, ResourceId};

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartStatus {
    /// It counts.
    Active,
    /// Its time is over; it still counts until the hold ends.
    Held,
    /// It counts no more.
    Expired,
    /// A newer generation of its source counts.
    Superseded,
    /// It does not count, since something is wrong with it.
    Quarantined,
}

impl fmt::Display for PartStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Held => "held",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Quarantined => "quarantined",
        })
    }
}

/// A part with all that is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartView {
    /// Who says it.
    pub source: String,
    /// Its number among the words of this source.
    pub generation: u64,
    /// What became of it.
    pub status: PartStatus,
    /// Why it is quarantined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The plugin that said it; absent: a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The event that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// When it was true.
    pub observed_at: Timestamp,
    /// Until when; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Until when it counts all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    /// When a fact ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Digest of what it says.
    pub digest: String,
    /// What it adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceDocument>,
    /// What it masks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directives: Vec<Directive>,
    /// The provider actions that it proposes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub action_plans: Vec<ActionPlan>,
}

/// The configuration that counts, and how it differs from the one that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EffectiveView {
    /// Every resource, secrets removed.
    pub resources: Vec<Rendered>,
    /// What is suppressed.
    pub masked: Vec<Masked>,
    /// What is doubtful, and which parts are quarantined.
    pub diagnostics: Vec<Diagnostic>,
}

/// A resource that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rendered {
    /// As it would be written.
    pub resource: ResourceDocument,
    /// The part that added it; absent: it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartName>,
}

/// A part by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartName {
    /// Who says it.
    pub source: String,
    /// Its number.
    pub generation: u64,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} generation {}", self.source, self.generation)
    }
}

/// A resource that is suppressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Masked {
    /// Which.
    pub resource: ResourceId,
    /// By whom.
    pub part: PartName,
    /// Until when; absent: as long as the part stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
