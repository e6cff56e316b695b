//! `ProviderActionPolicy`: what executors may change in a cloud.

use api::Diagnostic;
use api::action::plan::{ProviderName, Verb};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{Cloud, Reference, Text};
use crate::action::policy::{Day, Policy, TimeOfDay, Window};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;

/// What executors may change in a cloud. Without one, or with nothing but the defaults, they change nothing.
///
/// Several policies add up: an action goes on if one of them lets it pass in every respect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProviderActionPolicy {
    /// Whether this policy counts.
    #[serde(default)]
    enabled: bool,
    /// Executors may look and say what they would do, nothing more.
    #[serde(default = "yes")]
    dry_run_only: bool,
    /// Each action waits until a person has approved it.
    #[serde(default = "yes")]
    require_approval: bool,
    /// The clouds; none listed: none.
    #[serde(default)]
    allowed_providers: Vec<Cloud>,
    /// The profiles; none listed: any.
    #[serde(default)]
    allowed_provider_refs: Vec<ProfileReference>,
    /// The actions; none listed: none.
    #[serde(default)]
    allowed_actions: Vec<ActionName>,
    /// Where the addresses of actions must lie; none listed: anywhere.
    #[serde(default, rename = "allowedCIDRs")]
    allowed_cidrs: Vec<Text<Ipv4Net>>,
    /// How many changes one run may begin; 0: none.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    max_actions_per_run: u32,
    /// Whether actions may be rolled back.
    #[serde(default)]
    allow_undo: bool,
    /// When changes may begin, in UTC. Absent: always.
    execution_window: Option<ExecutionWindow>,
}

/// A CloudProviderProfile.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-reference" = ["CloudProviderProfile"]))]
struct ProfileReference(Text<Reference>);

fn yes() -> bool {
    true
}

/// A time of the day, on all days or some.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExecutionWindow {
    /// The days on which it opens; none listed: every day.
    #[serde(default)]
    days: Vec<Day>,
    /// When it opens.
    start: Text<TimeOfDay>,
    /// When it closes. Not later than `start`: on the next day.
    end: Text<TimeOfDay>,
}

/// An action.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ActionName {
    /// Lets the NIC send and receive packets of other addresses.
    EnsureForwardingEnabled,
    /// The opposite.
    EnsureForwardingDisabled,
    /// Makes an address a secondary private IP of the NIC.
    AssignSecondaryIp,
    /// Takes it from the NIC.
    UnassignSecondaryIp,
    /// Makes the route table send an address to the NIC.
    EnsureRoute,
    /// Removes that route.
    RemoveRoute,
    /// Another name of `ensure-route`.
    AssignRouteTableRoute,
    /// Another name of `remove-route`.
    UnassignRouteTableRoute,
}

impl From<ActionName> for Verb {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::EnsureForwardingEnabled => Self::EnsureForwardingEnabled,
            ActionName::EnsureForwardingDisabled => Self::EnsureForwardingDisabled,
            ActionName::AssignSecondaryIp => Self::AssignSecondaryIp,
            ActionName::UnassignSecondaryIp => Self::UnassignSecondaryIp,
            ActionName::EnsureRoute | ActionName::AssignRouteTableRoute => Self::EnsureRoute,
            ActionName::RemoveRoute | ActionName::UnassignRouteTableRoute => Self::RemoveRoute,
        }
    }
}

impl Kind for ProviderActionPolicy {
    const NAME: &'static str = "ProviderActionPolicy";
    const GROUP: &'static str = "hybrid.routerd.net";
    const EXAMPLE: &'static str = "\
enabled: true
dryRunOnly: false
requireApproval: true
allowedProviders: [azure]
allowedActions: [ensure-forwarding-enabled, assign-secondary-ip]
allowedCIDRs: [10.77.60.0/24]
maxActionsPerRun: 10
allowUndo: true
executionWindow:
  days: [sat, sun]
  start: \"22:00\"
  end: \"04:00\"
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        self.warn_if_closed(resource, sink);
        let policy = self.policy();
        draft
            .effective
            .policies
            .insert(resource.id.name.clone(), policy);
    }
}

impl ProviderActionPolicy {
    /// A policy that is switched on and still lets nothing pass is hardly what was meant.
    fn warn_if_closed(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let closed = [
            ("allowedProviders", self.allowed_providers.is_empty()),
            ("allowedActions", self.allowed_actions.is_empty()),
            (
                "maxActionsPerRun",
                self.max_actions_per_run == 0 && !self.dry_run_only,
            ),
        ];
        for (field, closed) in closed {
            if self.enabled && closed {
                let message = format!("nothing passes while `{field}` is empty or 0");
                let found = Diagnostic::warning("policy-lets-nothing-pass", message)
                    .hint(format!("set `{field}`, or `enabled: false`"));
                resource.report(sink, field, found);
            }
        }
    }

    fn policy(self) -> Policy {
        let provider = |cloud: &Cloud| ProviderName::try_from(cloud.to_string()).ok();
        Policy {
            enabled: self.enabled,
            dry_run_only: self.dry_run_only,
            require_approval: self.require_approval,
            allowed_providers: self.allowed_providers.iter().filter_map(provider).collect(),
            allowed_provider_refs: self
                .allowed_provider_refs
                .into_iter()
                .map(|profile| profile.0.0.name)
                .collect(),
            allowed_actions: self.allowed_actions.into_iter().map(Verb::from).collect(),
            allowed_cidrs: self.allowed_cidrs.iter().map(|cidr| cidr.0).collect(),
            max_actions_per_run: self.max_actions_per_run,
            allow_undo: self.allow_undo,
            execution_window: self.execution_window.map(|window| Window {
                days: window.days.into_iter().collect(),
                start: window.start.0,
                end: window.end.0,
            }),
        }
    }
}
