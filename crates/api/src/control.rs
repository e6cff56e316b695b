//! The control API: HTTP/1.1 with JSON over the daemon's Unix socket.
//!
//! | method, path | body | answer |
//! |---|---|---|
//! | `POST /v1/validate` | [`Config`] | [`Validation`] |
//! | `POST /v1/plan` | [`PlanRequest`] | [`PlanReport`] |
//! | `POST /v1/apply` | [`Config`] | [`ApplyReport`] |
//! | `POST /v1/teardown` | – | [`ApplyReport`] |
//! | `GET /v1/status` | – | [`DaemonStatus`] |
//! | `GET /v1/resources` | – | list of [`Resource`] |
//! | `GET /v1/events` | – | list of [`Event`], newest first |
//! | `POST /v1/federation` | [`crate::federation::Request`] | [`crate::federation::Answer`] |
//! | `GET /metrics` | – | text format of Prometheus |
//! | `GET /v1/doctor`, `GET /v1/doctor/{area}` | – | [`crate::doctor::Report`] |
//!
//! A refused request answers 4xx or 5xx with [`Failure`].

use serde::{Deserialize, Serialize};

use crate::plan::PlanView;
use crate::status::ResourceStatus;
use crate::{Diagnostic, ResourceId};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/routerd/routerd.sock";
/// Where the daemon keeps its database unless told otherwise.
pub const DEFAULT_STATE_FILE: &str = "/var/lib/routerd/routerd.db";
/// Where the configuration is read from unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/usr/local/etc/routerd/router.yaml";

/// One configuration file as the user has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The name that diagnostics show.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// All files, in the order given.
    pub files: Vec<SourceFile>,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Everything found, errors and warnings, in order of place.
    pub diagnostics: Vec<Diagnostic>,
    /// How many resources were read.
    pub resources: usize,
}

/// What to plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The configuration to compare with the host; absent: the one in force.
    pub config: Option<Config>,
}

/// A plan and what validation said on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Warnings; errors answer with [`Failure`] instead.
    pub diagnostics: Vec<Diagnostic>,
    /// The plan.
    pub plan: PlanView,
    /// What the configuration asks of clouds: done by executors, when a policy lets them, and not part of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposals: Vec<crate::action::control::Proposal>,
}

/// What became of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyReport {
    /// The generation now in force.
    pub generation: u64,
    /// Warnings of validation.
    pub diagnostics: Vec<Diagnostic>,
    /// What was done.
    pub plan: PlanView,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, in one sentence fragment.
    pub message: String,
    /// Everything validation found, if that was the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// Whether an apply had begun and was taken back.
    #[serde(default)]
    pub reverted: bool,
}

/// The daemon at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonStatus {
    /// The daemon's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since start.
    pub uptime_seconds: u64,
    /// The generation in force, if any was ever verified.
    pub generation: Option<u64>,
    /// Whether that generation is the empty one that a teardown leaves.
    pub torn_down: bool,
    /// When it was verified, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<i64>,
    /// Whether the host matches that generation right now.
    pub in_sync: bool,
    /// How many changes the host is away from it.
    pub pending_changes: usize,
    /// How often drift was repaired since start.
    pub repairs: u64,
    /// The last error of the reconcile loop, until it succeeds again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The configuration file that the daemon was started with, compared with what is in force.
    pub config_file: ConfigFile,
    /// All resources.
    pub resources: Vec<ResourceStatus>,
}

/// A configuration file and how it relates to the generation in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Where.
    pub path: String,
    /// How it relates.
    pub state: ConfigFileState,
}

/// How a file relates to the generation in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigFileState {
    /// It is what is in force.
    InForce,
    /// Something else is in force; `routerctl apply` brings it in.
    Differs,
    /// There is no such file.
    Absent,
    /// It cannot be read.
    Unreadable,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// `applied`, `reverted`, `torn-down`, `repaired`, `started`, `dynamic`.
    pub kind: String,
    /// What, in one line.
    pub text: String,
}

/// A resource with its specification and status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// `net.routerd.net/v1alpha1` …
    pub api_version: String,
    /// Kind and name.
    #[serde(flatten)]
    pub id: ResourceId,
    /// The specification with secrets removed.
    pub spec: serde_json::Value,
    /// What became of it.
    pub status: ResourceStatus,
    /// What it is on the host, in the words of a plan.
    pub objects: Vec<String>,
}
