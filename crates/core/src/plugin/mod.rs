//! What a plugin is told and what is taken from it: its capabilities, enforced in both directions.
//!
//! Running it is `linux::plugin`'s; what becomes of what it proposes is [`crate::action`]'s and
//! [`crate::dynamic`]'s.

mod redact;
#[cfg(test)]
mod tests;

use std::time::Duration;

use api::ResourceId;
use api::action::plan::Facts;
use api::action::protocol::{ApiVersion, Envelope, ExecuteStatus, PreflightStatus};
use api::event::Event;
use api::plugin::{
    Capability, Metadata, PluginContext, PluginRequest, PluginRequestSpec, PluginStatus,
    ResourceDocument, Trigger,
};
use api::time::Timestamp;

pub use redact::{holds_credential, redact};

use crate::Effective;
use crate::effective::{Declared, PluginIntent, ResourceKey};
use crate::kinds::field::{Span, TextField};

/// Why and with what a plugin is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// Why.
    pub trigger: Trigger,
    /// Digest of the startup configuration.
    pub startup_config_hash: String,
    /// The generation in force.
    pub generation: u64,
    /// The generation of the part that the plugin made last; 0 if none.
    pub previous_part: u64,
    /// The time to reckon with.
    pub now: Timestamp,
    /// The events of this batch; only a plugin that may `observe.events` is given them.
    pub events: Vec<Event>,
}

/// What a plugin answered and may not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It lacks a capability.
    #[error("its result has {field}, and it may not `{capability}`")]
    Capability {
        /// What it answered.
        field: &'static str,
        /// What it would need.
        capability: Capability,
    },
    /// Its time to live is none.
    #[error("its result has the ttl `{0}`, which is no duration (300ms, 10s, 5m, 24h)")]
    Ttl(String),
}

/// What a plugin is asked.
pub fn request(effective: &Effective, plugin: &PluginIntent, occasion: Occasion) -> PluginRequest {
    let sees_events = plugin.capabilities.contains(&Capability::ObserveEvents);
    PluginRequest::PluginRequest(Envelope {
        api_version: ApiVersion::V1Alpha1,
        spec: PluginRequestSpec {
            trigger: occasion.trigger,
            startup_config_hash: occasion.startup_config_hash,
            effective_generation: occasion.generation,
            previous_dynamic_generation: occasion.previous_part,
            now: occasion.now,
            events: if sees_events {
                occasion.events
            } else {
                Vec::new()
            },
            context: context(effective, plugin),
        },
    })
}

/// The resources that a plugin may know: those that it names, and the provider profiles if it looks at clouds.
fn context(effective: &Effective, plugin: &PluginIntent) -> PluginContext {
    let looks_at_clouds = [
        Capability::ObserveCloud,
        Capability::ObserveProviderPrivateIps,
    ]
    .iter()
    .any(|capability| plugin.capabilities.contains(capability));
    let resources = effective.resources.iter();
    let resources = resources.filter(|(id, declared)| {
        let key = ResourceKey {
            api_version: declared.api_version.clone(),
            kind: id.kind.clone(),
            name: id.name.clone(),
        };
        plugin.context.contains(&key) || looks_at_clouds && id.kind == "CloudProviderProfile"
    });
    PluginContext {
        resources: resources
            .map(|(id, declared)| document(id, declared))
            .collect(),
    }
}

fn document(id: &ResourceId, declared: &Declared) -> ResourceDocument {
    ResourceDocument {
        api_version: declared.api_version.clone(),
        kind: id.kind.clone(),
        metadata: Metadata {
            name: id.name.clone(),
            labels: declared.labels.clone(),
            annotations: declared.annotations.clone(),
        },
        // Secrets were taken out when it was read.
        spec: declared.spec.clone(),
    }
}

/// Whether a plugin may say what it said.
///
/// # Errors
/// The first thing that it may not.
pub fn admit(plugin: &PluginIntent, status: &PluginStatus) -> Result<(), Refused> {
    let said = [
        (
            "resources",
            !status.resources.is_empty(),
            Capability::ProposeDynamicConfig,
        ),
        (
            "directives",
            !status.directives.is_empty(),
            Capability::ProposeDynamicConfig,
        ),
        (
            "actionPlans",
            !status.action_plans.is_empty(),
            Capability::ProposeProviderAction,
        ),
        (
            "events",
            !status.events.is_empty(),
            Capability::ObserveEvents,
        ),
    ];
    for (field, is_there, capability) in said {
        if is_there && !plugin.capabilities.contains(&capability) {
            return Err(Refused::Capability { field, capability });
        }
    }
    ttl(status).map(drop)
}

/// For how long a result holds.
///
/// # Errors
/// When it does not say so.
pub fn ttl(status: &PluginStatus) -> Result<Duration, Refused> {
    Span::parse(&status.ttl)
        .map(|span| span.0)
        .map_err(|_| Refused::Ttl(status.ttl.clone()))
}

/// The name of a fact that holds a credential. Facts are what a rollback restores: they are taken as they are, or
/// not at all.
pub fn secret_fact(facts: &Facts) -> Option<&str> {
    let mut facts = facts.0.iter();
    let found = facts.find(|(name, value)| holds_credential(name) || holds_credential(value));
    found.map(|(name, _)| name.as_str())
}

/// What an executor said, without the secrets that it should not have said; its facts are left alone.
#[must_use]
pub fn redact_execution(mut status: ExecuteStatus) -> ExecuteStatus {
    status.message = redact(&status.message);
    if let Some(error) = &mut status.error {
        error.detail = redact(&error.detail);
        let optional = [&mut error.hint, &mut error.permission, &mut error.scope];
        optional.into_iter().flatten().for_each(clean);
    }
    status
}

/// What a preflight said, without the secrets that it should not have said.
#[must_use]
pub fn redact_preflight(mut status: PreflightStatus) -> PreflightStatus {
    let found = [&mut status.identity, &mut status.nic];
    found.into_iter().flatten().for_each(clean);
    for check in &mut status.checks {
        check.detail = redact(&check.detail);
        let optional = [&mut check.hint, &mut check.permission, &mut check.scope];
        optional.into_iter().flatten().for_each(clean);
    }
    status
}

fn clean(text: &mut String) {
    *text = redact(text);
}
