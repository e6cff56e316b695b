//! Observed facts that travel between sites: never commands.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// An observed fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// Unique; the same id always has the same content.
    pub id: String,
    /// The `EventGroup`.
    pub group: String,
    /// Who observed it.
    pub source_node: String,
    /// `routerd.client.ipv4.observed` …
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about, usually an address.
    pub subject: String,
    /// Facts with the same key refresh each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// Details.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub payload: BTreeMap<String, String>,
    /// When it was seen.
    #[schemars(with = "String")]
    pub observed_at: Timestamp,
    /// When it stops being true.
    #[schemars(with = "String")]
    pub expires_at: Timestamp,
}
