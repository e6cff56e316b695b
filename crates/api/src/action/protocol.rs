//! How the daemon talks to an executor: one request as JSON on standard input, one result as JSON on standard
//! output, exit status 0. Anything else, a timeout included, leaves the daemon not knowing what was done:
//! it asks the executor to *observe* before it does anything again.
//!
//! What each mode promises:
//!
//! | mode | changes | `effect` | `observed` |
//! |---|---|---|---|
//! | observe | nothing | required: whether the effect of the action is there | the facts as they are now: those that a rollback needs |
//! | dry-run | nothing | required | as observe; `changed` and `message` say what execute would do |
//! | execute | the target | required if it succeeded | the facts as read back afterwards |
//! | rollback | the target | required if it succeeded | the facts as read back afterwards; `prior` has been restored |
//!
//! Facts carry plain names (`ipForwarding`) in `observed`; the first observation comes back in `prior` as
//! `priorIpForwarding` and so on, with every later execute and rollback of that action. A rollback restores
//! `prior` and nothing else: what was so before stays so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Facts, Parameters, ProviderName, Target, Verb};

/// The protocol's version, `apiVersion` of requests and results.
pub const API_VERSION: &str = "plugin.routerd.net/v1alpha1";

/// What the daemon asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum ExecutorRequest {
    /// To look at a target, or to change it.
    ExecuteActionRequest(Envelope<ExecuteSpec>),
    /// To say whether it could.
    PreflightRequest(Envelope<PreflightSpec>),
}

/// What an executor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum ExecutorResult {
    /// To [`ExecutorRequest::ExecuteActionRequest`].
    ExecuteActionResult(Answer<ExecuteStatus>),
    /// To [`ExecutorRequest::PreflightRequest`].
    PreflightResult(Answer<PreflightStatus>),
}

/// A request's outer shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope<T> {
    /// [`API_VERSION`].
    pub api_version: ApiVersion,
    /// What is asked.
    pub spec: T,
}

/// A result's outer shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer<T> {
    /// [`API_VERSION`]; may be left out.
    #[serde(default)]
    pub api_version: ApiVersion,
    /// What came of it.
    pub status: T,
}

/// The one version there is: anything else is refused when read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// [`API_VERSION`].
    #[default]
    #[serde(rename = "plugin.routerd.net/v1alpha1")]
    V1Alpha1,
}

/// How far an executor goes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Looks, changes nothing.
    Observe,
    /// Says what execute would do, changes nothing.
    DryRun,
    /// Does it.
    Execute,
    /// Restores the prior facts.
    Rollback,
}

impl Mode {
    /// Whether it may change something.
    pub fn mutates(self) -> bool {
        matches!(self, Self::Execute | Self::Rollback)
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::DryRun => "dry-run",
            Self::Execute => "execute",
            Self::Rollback => "rollback",
        })
    }
}

/// One action to look at or to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecuteSpec {
    /// What.
    pub action: Verb,
    /// Where.
    pub provider: ProviderName,
    /// Name of the profile.
    pub provider_ref: String,
    /// To what.
    pub target: Target,
    /// How.
    #[serde(default)]
    pub parameters: Parameters,
    /// How far to go.
    pub mode: Mode,
    /// Names the intent; where a cloud takes a client token, it is derived from this.
    pub idempotency_key: String,
    /// The facts before the first change, named `prior…`; empty until they were observed.
    #[serde(default)]
    pub prior: Facts,
    /// The rest of what an executor needs to know.
    pub context: ExecutionContext,
}

/// What an executor needs to know beside the action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecutionContext {
    /// Name of this router.
    pub node: String,
    /// The whole process group is killed after so many seconds.
    pub timeout_seconds: u64,
    /// The profile, as configured.
    #[serde(default)]
    pub profile: ProviderProfile,
}

/// The part of a `CloudProviderProfile` that an executor uses. Nothing in it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderProfile {
    /// Region or location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Azure subscription.
    #[serde(
        default,
        rename = "subscriptionID",
        skip_serializing_if = "Option::is_none"
    )]
    pub subscription_id: Option<String>,
    /// Azure resource group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// OCI compartment.
    #[serde(
        default,
        rename = "compartmentID",
        skip_serializing_if = "Option::is_none"
    )]
    pub compartment_id: Option<String>,
    /// GCP project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Base address of the cloud's API; absent: the public cloud's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Where credentials come from.
    #[serde(default)]
    pub auth: ProviderAuth,
}

/// Where an executor gets its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProviderAuth {
    /// From the machine's own identity, through the metadata service.
    // Braces, because serde refuses unknown fields only where a variant has a place for fields.
    MachineIdentity {},
    /// From a command that prints them.
    ExternalCommand {
        /// Program and arguments; no shell.
        command: Vec<String>,
    },
}

impl Default for ProviderAuth {
    fn default() -> Self {
        Self::MachineIdentity {}
    }
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecuteStatus {
    /// How it ended.
    pub status: Outcome,
    /// Whether anything was changed; for a dry run: would be.
    #[serde(default)]
    pub changed: bool,
    /// One sentence: `assigned 10.77.60.9 to ce-router-nic (ip-config ipconfig-onprem-capture)`.
    pub message: String,
    /// Whether the effect of the action is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Facts as they are now.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub observed: Facts,
    /// Whether a rollback would have something to restore.
    #[serde(default)]
    pub undo_available: bool,
    /// Why it failed; required then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ActionError>,
}

impl ExecuteStatus {
    /// Checks what the types cannot: a failure says why, and what is not a failure says whether the effect is
    /// there.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self, mode: Mode) -> Result<(), ResultError> {
        match (self.status, mode) {
            (Outcome::Failed, _) if self.error.is_none() => Err(ResultError::NoError),
            (Outcome::Succeeded, _) if self.effect.is_none() => Err(ResultError::NoEffect(mode)),
            (_, Mode::Observe) if self.changed => Err(ResultError::ChangedByLooking),
            _ => Ok(()),
        }
    }
}

/// Why a result is refused for its shape alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// A failure without a reason.
    #[error("status is failed, but there is no error")]
    NoError,
    /// A success that does not say whether the effect is there.
    #[error("{0} succeeded, but effect is missing")]
    NoEffect(Mode),
    /// A look that changed something.
    #[error("observe says that it changed something")]
    ChangedByLooking,
}

/// How an executor's run ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As asked.
    Succeeded,
    /// Not as asked; `error` says why.
    Failed,
    /// Not done on purpose; `message` says why.
    Skipped,
}

/// Whether the effect of an action is there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// All of it.
    Present,
    /// Nothing of it.
    Absent,
    /// Half of it, as after a move that was cut off: execute completes it, rollback takes it back.
    Partial,
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionError {
    /// Which kind of failure.
    pub class: ErrorClass,
    /// What the cloud said, credentials removed.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The permission that is missing: `Microsoft.Network/virtualNetworks/subnets/join/action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    /// What it is missing on, in the provider's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How long the cloud asks to wait, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// The kinds of failure.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// The cloud does not know who we are.
    Authentication,
    /// It knows, and we may not.
    Authorization,
    /// The target is not there.
    NotFound,
    /// Somebody else changed or holds it.
    Conflict,
    /// Too many requests.
    Throttled,
    /// A limit is reached.
    Quota,
    /// No answer in time: what was done is not known.
    Timeout,
    /// The cloud's fault; may pass.
    Transient,
    /// The request makes no sense to the cloud.
    Invalid,
}

impl ErrorClass {
    /// Whether it is likely to hit every action on the same target alike.
    pub fn is_target_wide(self) -> bool {
        matches!(
            self,
            Self::Authentication | Self::Throttled | Self::Timeout | Self::Transient
        )
    }

    /// The class as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::Quota => "quota",
            Self::Timeout => "timeout",
            Self::Transient => "transient",
            Self::Invalid => "invalid",
        }
    }
}

impl std::fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What to check before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightSpec {
    /// Where.
    pub provider: ProviderName,
    /// Name of the profile.
    pub provider_ref: String,
    /// What is going to be asked: the permissions and limits to check follow from it.
    pub intents: Vec<PreflightIntent>,
    /// The rest of what an executor needs to know.
    pub context: ExecutionContext,
}

/// One thing that is going to be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightIntent {
    /// What.
    pub action: Verb,
    /// To what.
    #[serde(default)]
    pub target: Target,
}

/// What a preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightStatus {
    /// Who the cloud takes us for; absent if it could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Our NIC in the provider's own form; absent if it could not be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<String>,
    /// Everything checked, in the order in which one depends on the other.
    pub checks: Vec<PreflightCheck>,
}

impl PreflightStatus {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        !self
            .checks
            .iter()
            .any(|check| check.status == PreflightVerdict::Fail)
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightCheck {
    /// Stable name: `identity`, `nic`, `permission`, `forwarding`, `quota`.
    pub name: String,
    /// How it came out.
    pub status: PreflightVerdict,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The permission that was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    /// What it was checked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// How a preflight check came out.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PreflightVerdict {
    /// As needed.
    Pass,
    /// Works now, may not later.
    Warn,
    /// The action would fail.
    Fail,
    /// Could not be checked; `detail` says why.
    Skip,
}
