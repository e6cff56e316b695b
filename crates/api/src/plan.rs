//! A plan as people and scripts read it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ResourceId;

/// What a step does to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Something new appears.
    Add,
    /// Something that exists gets another value.
    Update,
    /// Something goes away.
    Remove,
}

impl Change {
    /// The sign in front of a plan line.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Update => '~',
            Self::Remove => '-',
        }
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    /// Add, update or remove.
    pub change: Change,
    /// The resource on whose behalf it happens.
    pub owner: ResourceId,
    /// What happens, in the words of `ip`, `wg`, `nft` and `sysctl`.
    pub text: String,
}

impl fmt::Display for PlanLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}  ({})", self.change.sign(), self.text, self.owner)
    }
}

/// Something the configuration wants that cannot be done yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The resource that waits.
    pub owner: ResourceId,
    /// For what, as a lowercase fragment: `interface eth1 does not exist`.
    pub reason: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "… {} waits: {}", self.owner, self.reason)
    }
}

/// A whole plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// What would be done, in order.
    pub steps: Vec<PlanLine>,
    /// What has to wait.
    pub waiting: Vec<Waiting>,
}

impl PlanView {
    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
