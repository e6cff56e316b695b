//! What became of a resource.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ResourceId;

/// Where a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// All of it is in the kernel and verified.
    Ready,
    /// It waits for something named in `message`.
    Pending,
    /// It is in place, but something about it is wrong; `message` says what.
    Degraded,
}

/// The status of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Which resource.
    pub id: ResourceId,
    /// Where it stands.
    pub phase: Phase,
    /// One short fragment: why it is not ready, or what it became (`10.77.60.9 dev wg-hybrid metric 120`).
    pub message: String,
    /// Observed facts in camelCase: `publicKey`, `driver`, `mtu`, `underlayPMTU`, `latestHandshake`,
    /// `osAddressRemovals` …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, serde_json::Value>,
}
