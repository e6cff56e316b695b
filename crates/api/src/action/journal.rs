//! What was done: rows that are only ever added. The state of an action is a fold over its rows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::ActionPlan;
use super::protocol::{ExecuteStatus, Mode};
use crate::time::Timestamp;

/// One transition of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JournalRow {
    /// Its number: 1, 2, 3 … without a gap.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which action.
    pub action: u64,
    /// What happened.
    pub event: Event,
    /// [`Self::hash`] of the row before; of the first row: 64 zeros.
    pub previous: String,
    /// SHA-256, in hexadecimal, over `previous`, a line feed, and the canonical JSON (sorted keys, no white space)
    /// of this row without its hashes.
    pub hash: String,
}

/// What happened to an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Event {
    /// Somebody proposed it. → pending
    Imported {
        /// What is to be done.
        plan: Box<ActionPlan>,
        /// Who proposed it: `routerd`, a plugin, a person.
        by: Actor,
    },
    /// Somebody allowed it. pending → approved; the approval of a rollback changes no state
    Approved {
        /// Who.
        by: Actor,
        /// Whether the rollback was approved, not the execution.
        rollback: bool,
    },
    /// The intent behind it went away after it was carried out: it should be rolled back.
    Withdrawn {
        /// Why.
        reason: String,
    },
    /// An executor is about to be started. → running, rollingBack; a look changes no state
    Started {
        /// What it is asked.
        mode: Mode,
        /// Counts the starts of this action, from 1.
        attempt: u32,
        /// Until then no other executor runs for the same target, whatever happens to this one.
        lease_until: Timestamp,
        /// On whose behalf.
        by: Actor,
    },
    /// The executor answered.
    Finished {
        /// What it was asked.
        mode: Mode,
        /// What it said.
        status: ExecuteStatus,
    },
    /// The executor did not answer: it was killed, timed out, or spoke nonsense. → unknown if it may have
    /// changed something
    Lost {
        /// What it was asked.
        mode: Mode,
        /// What is known about it.
        reason: String,
        /// Whether all its processes are known to be gone; otherwise the lease stands until it ends.
        reaped: bool,
    },
    /// It will not be done. → skipped
    Skipped {
        /// Why.
        reason: String,
    },
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Actor {
    /// `routerd`, `Plugin/NAME`, or the name of the user.
    pub name: String,
    /// The user's id, as the kernel told it; absent for software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

impl Actor {
    /// The daemon itself.
    pub fn daemon() -> Self {
        Self {
            name: "routerd".to_owned(),
            uid: None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => f.pad(&format!("{}({uid})", self.name)),
            None => f.pad(&self.name),
        }
    }
}

/// Where an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Proposed.
    Pending,
    /// Allowed.
    Approved,
    /// An executor is doing it.
    Running,
    /// Done.
    Succeeded,
    /// Not done, or not wholly; it may be tried again.
    Failed,
    /// Will not be done.
    Skipped,
    /// Nobody knows: it has to be looked at first.
    Unknown,
    /// An executor is taking it back.
    RollingBack,
    /// Taken back: the prior facts hold again.
    RolledBack,
}

impl State {
    /// The state as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
            Self::RollingBack => "rollingBack",
            Self::RolledBack => "rolledBack",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The end of a journal: what it must still contain later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Number of the last row; 0 if there is none.
    pub seq: u64,
    /// Its hash; 64 zeros if there is none.
    pub hash: String,
}
