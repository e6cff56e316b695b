//! `routerctl action` and the daemon, over the control socket.
//!
//! | method, path | body | answer |
//! |---|---|---|
//! | `POST /v1/actions/import` | [`ImportRequest`] | [`ImportReport`] |
//! | `GET /v1/actions` | – | list of [`ActionView`] |
//! | `GET /v1/actions/{id}` | – | [`ActionDetail`] |
//! | `POST /v1/actions/approve` | [`ApproveRequest`] | list of [`ActionView`] |
//! | `POST /v1/actions/execute` | [`RunRequest`] | lines of [`Progress`], the last one a report |
//! | `POST /v1/actions/rollback` | [`RunRequest`] | the same |
//! | `POST /v1/actions/journal` | [`JournalRequest`] | [`JournalReport`] |
//! | `POST /v1/actions/preflight` | [`PreflightQuery`] | list of [`PreflightReport`] |
//!
//! A run may take minutes: its answer has one JSON object a line (`application/x-ndjson`), written as things happen.
//! It goes on if the client goes away.
//!
//! Whoever calls is the one that approves: the daemon asks the kernel who it is.

use serde::{Deserialize, Serialize};

use super::journal::{Head, JournalRow, State};
use super::plan::{ActionPlan, Facts, Target, Verb};
use super::protocol::{ActionError, Mode, PreflightStatus};
use crate::time::Timestamp;

/// Plans to import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportRequest {
    /// The plans.
    #[serde(default)]
    pub plans: Vec<ActionPlan>,
    /// Take up what the configuration asks for once more, where it was rolled back or skipped.
    #[serde(default)]
    pub again: bool,
}

/// A line of the answer to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    content = "value",
    rename_all = "camelCase",
    deny_unknown_fields
)]
pub enum Progress {
    /// An executor was started.
    Started(Start),
    /// An executor has ended.
    Ended(Run),
    /// The end of the run.
    Report(RunReport),
    /// The run broke off.
    Failed(crate::control::Failure),
}

/// An executor that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Start {
    /// Number of the action.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What is to be done.
    pub action: Verb,
    /// How far the executor goes.
    pub mode: Mode,
}

/// What the configuration asks of a cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proposal {
    /// The number of its action; absent: it would become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Where the action stands; absent: it would become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Its name.
    pub name: String,
    /// What is asked for.
    pub action: Verb,
    /// In which cloud.
    pub provider_ref: String,
    /// To what.
    pub target: Target,
    /// What holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Refusal>,
}

/// What became of each plan, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportReport {
    /// One for each plan.
    pub plans: Vec<Import>,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase", deny_unknown_fields)]
pub enum Import {
    /// It is an action now.
    Imported {
        /// Number of the action.
        id: u64,
    },
    /// It was one already.
    Unchanged {
        /// Number of the action.
        id: u64,
    },
    /// It is not taken.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Actions to allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveRequest {
    /// Their numbers.
    pub ids: Vec<u64>,
    /// Whether the rollback is allowed, not the execution.
    #[serde(default)]
    pub rollback: bool,
}

/// Actions to execute or to roll back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRequest {
    /// Their numbers; none: all whose turn it is.
    #[serde(default)]
    pub ids: Vec<u64>,
    /// Ask the executor what it would do, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was run, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunReport {
    /// One for each action that was looked at.
    pub runs: Vec<Run>,
}

/// What became of one action in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// Number of the action.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What was to be done.
    pub action: Verb,
    /// How far it went; absent if it was held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Where it stands now.
    pub state: State,
    /// Whether anything was changed; for a dry run: would be.
    pub changed: bool,
    /// What the executor said.
    pub message: String,
    /// Why it was held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Refusal>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ActionError>,
}

/// Why an action may not run now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// Stable code: `policy-disabled`, `needs-approval`, `outside-window` …
    pub code: String,
    /// Why, as a lowercase fragment.
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An action at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionView {
    /// Its number.
    pub id: u64,
    /// Where it stands.
    pub state: State,
    /// What is to be done.
    pub plan: ActionPlan,
    /// Who proposed it.
    pub imported_by: String,
    /// When it was imported.
    pub imported_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// How often an executor was started for it.
    pub attempts: u32,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Who approved its rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_approved_by: Option<String>,
    /// Why its intent went away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// The facts before the first change, named `prior…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<Facts>,
    /// The facts as last observed.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub observed: Facts,
    /// What the executor last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ActionError>,
    /// Not tried again by itself before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What holds it back now, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Refusal>,
}

/// An action with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionDetail {
    /// The action.
    pub action: ActionView,
    /// Its rows of the journal.
    pub rows: Vec<JournalRow>,
}

/// Which rows of the journal are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JournalRequest {
    /// Only rows of this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<u64>,
    /// Only rows after this number.
    #[serde(default)]
    pub after: u64,
    /// Recompute the chain of all rows.
    #[serde(default)]
    pub verify: bool,
    /// A head noted earlier, somewhere else: the journal must still contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
}

/// The journal, and whether it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JournalReport {
    /// The rows that can be read.
    pub rows: Vec<JournalRow>,
    /// The end of the journal, to be noted somewhere else.
    pub head: Head,
    /// The first thing that is wrong with it; absent if nothing is, or if it was not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tampered: Option<Tampered>,
}

/// What is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tampered {
    /// The first row that is not as it was written.
    pub seq: u64,
    /// What about it.
    pub reason: String,
}

/// Which provider to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightQuery {
    /// A cloud (`azure`) or the name of a profile.
    pub provider: String,
}

/// What the executor found for one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightReport {
    /// Name of the profile.
    pub provider_ref: String,
    /// What was found; absent if the executor could not be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PreflightStatus>,
    /// Why it could not be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
