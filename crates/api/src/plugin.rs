//! Plugins: programs that read one request as JSON on standard input and print one result on standard output.
//!
//! Executors of provider actions speak [`crate::action::protocol`] instead.
//!
//! | method, path | body | answer |
//! |---|---|---|
//! | `GET /v1/plugins` | – | list of [`PluginView`] |
//! | `GET /v1/plugins/runs`, `GET /v1/plugins/{name}/runs` | – | list of [`PluginRun`], newest first |
//! | `POST /v1/plugins/run` | [`PluginRunRequest`] | [`PluginWork`] |

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::ActionPlan;
use crate::action::control::Import;
use crate::action::protocol::{Answer, Envelope};
use crate::event::Event;
use crate::time::Timestamp;

/// What a plugin may do. Each is enforced: what is not named is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Capability {
    /// Is given events.
    #[serde(rename = "observe.events")]
    ObserveEvents,
    /// Is given the provider profiles, and the network to ask the cloud.
    #[serde(rename = "observe.cloud")]
    ObserveCloud,
    /// Is given the provider profiles, and the network to ask the cloud for private addresses.
    #[serde(rename = "observe.providerPrivateIPs")]
    ObserveProviderPrivateIps,
    /// May propose resources and directives.
    #[serde(rename = "propose.dynamicConfig")]
    ProposeDynamicConfig,
    /// May propose action plans.
    #[serde(rename = "propose.providerAction")]
    ProposeProviderAction,
    /// Executes provider actions, with the network.
    #[serde(rename = "execute.providerAction")]
    ExecuteProviderAction,
}

impl Capability {
    /// The capability as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ObserveEvents => "observe.events",
            Self::ObserveCloud => "observe.cloud",
            Self::ObserveProviderPrivateIps => "observe.providerPrivateIPs",
            Self::ProposeDynamicConfig => "propose.dynamicConfig",
            Self::ProposeProviderAction => "propose.providerAction",
            Self::ExecuteProviderAction => "execute.providerAction",
        }
    }

    /// Whether a plugin with it is started with the network.
    pub fn needs_network(self) -> bool {
        matches!(
            self,
            Self::ObserveCloud | Self::ObserveProviderPrivateIps | Self::ExecuteProviderAction
        )
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a plugin is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum PluginRequest {
    /// The only kind there is.
    PluginRequest(Envelope<PluginRequestSpec>),
}

/// What a plugin is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRequestSpec {
    /// Why it runs.
    pub trigger: Trigger,
    /// Digest of the startup configuration.
    pub startup_config_hash: String,
    /// The generation in force.
    pub effective_generation: u64,
    /// The generation of the part that this plugin last made; 0 if none.
    #[serde(default)]
    pub previous_dynamic_generation: u64,
    /// The time to reckon with.
    #[schemars(with = "String")]
    pub now: Timestamp,
    /// The events of this batch.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What it may know.
    #[serde(default)]
    pub context: PluginContext,
}

/// Why a plugin runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trigger {
    /// What kind of reason.
    #[serde(rename = "type")]
    pub kind: TriggerKind,
    /// The topic, of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// What makes a plugin run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TriggerKind {
    /// Its time came.
    Interval,
    /// Events came.
    Event,
    /// A person asked.
    Manual,
}

/// The resources that a plugin is allowed to see, secrets removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginContext {
    /// The resources.
    #[serde(default)]
    pub resources: Vec<ResourceDocument>,
}

/// A resource as it is written in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceDocument {
    /// `hybrid.routerd.net/v1alpha1` …
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name, labels, annotations.
    pub metadata: Metadata,
    /// The specification; its kind checks it.
    pub spec: serde_json::Value,
}

/// `metadata` of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a plugin answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum PluginResult {
    /// The only kind there is.
    PluginResult(Answer<PluginStatus>),
}

/// What came of a plugin's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginStatus {
    /// When what it says was true.
    #[schemars(with = "String")]
    pub observed_at: Timestamp,
    /// For how long: `300ms`, `10s`, `5m`, `24h`; more than nothing.
    pub ttl: String,
    /// Resources to add. Needs `propose.dynamicConfig`.
    #[serde(default)]
    pub resources: Vec<ResourceDocument>,
    /// Resources to mask. Needs `propose.dynamicConfig`.
    #[serde(default)]
    pub directives: Vec<Directive>,
    /// Actions to import. Needs `propose.providerAction`.
    #[serde(default)]
    pub action_plans: Vec<ActionPlan>,
    /// Events to emit. Needs `observe.events`.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// A change to resources that others declared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directive {
    /// What to do.
    pub op: DirectiveOp,
    /// To which resource.
    pub target: DirectiveTarget,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a directive does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DirectiveOp {
    /// Suppresses the resource; nothing is deleted.
    Mask,
}

/// The resource that a directive is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectiveTarget {
    /// `hybrid.routerd.net/v1alpha1` …
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A plugin at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// The program.
    pub executable: String,
    /// What it may do.
    pub capabilities: Vec<Capability>,
    /// Why it cannot be started, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<PluginRun>,
}

/// The record of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRun {
    /// Number of the run.
    pub id: u64,
    /// Which plugin.
    pub plugin: String,
    /// Why: `manual`, `interval`, `event`, `execute action 7` …
    pub reason: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// Whether it gave a result.
    pub ok: bool,
    /// Exit status or signal, in words; what was wrong with the result.
    pub outcome: String,
    /// The end of what it wrote to standard error, secrets removed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// How the sandbox was made: `user nobody, no-new-privs, mount, pid, net, landlock`.
    pub sandbox: String,
}

/// A plugin to run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRunRequest {
    /// Its name.
    pub name: String,
    /// Show the result and use nothing of it.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRunReport {
    /// The record.
    pub run: PluginRun,
    /// The result; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<PluginStatus>,
}

/// What came of a plugin that a person had run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginWork {
    /// The run and its result.
    pub report: PluginRunReport,
    /// What became of its action plans, in order; empty for a dry run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
}
