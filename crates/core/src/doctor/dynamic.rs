//! What the checks of the dynamic configuration look at.

use std::collections::BTreeMap;

use api::dynamic::PartView;
use api::time::Timestamp;

/// The dynamic configuration as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DynamicState {
    /// When it was looked at.
    pub now: Timestamp,
    /// What sources said and what became of it.
    pub parts: Vec<PartView>,
    /// How each `DynamicConfigSource` ran last, by `Kind/name`.
    pub runs: BTreeMap<String, SourceRun>,
}

/// How a source ran last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceRun {
    /// When the run was begun.
    pub began_at: Timestamp,
    /// How many runs in a row failed.
    pub failures: u32,
    /// Why the last one failed.
    pub message: Option<String>,
}
