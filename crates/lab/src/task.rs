//! What a sandbox is started for.

use serde::{Deserialize, Serialize};

use crate::conditions::Conditions;

/// What the controller does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Task {
    /// Runs a scenario.
    Run {
        /// Its id.
        scenario: String,
        /// One JSON object instead of a table.
        json: bool,
        /// Leave the lab running afterwards.
        keep: bool,
        /// Tell the story while it runs.
        narrate: bool,
        /// Evidence is for a run that fails.
        only_failure: bool,
        /// What it runs under.
        conditions: Conditions,
    },
    /// Builds a topology with routerd running in it, and waits.
    Up {
        /// Its id.
        topology: String,
    },
}
