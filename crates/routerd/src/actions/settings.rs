//! What the configuration in force says about actions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::action::plan::{ActionPlan, Decision, ProviderName};
use api::time::Timestamp;
use routerd_core::Effective;
use routerd_core::action::{Book, Profile, World, executors, intents, profiles};
use routerd_core::effective::PluginIntent;

/// A configuration as actions see it.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) generation: u64,
    pub(super) effective: Arc<Effective>,
    /// Name of this router.
    pub(super) node: String,
    pub(super) profiles: BTreeMap<String, Profile>,
    clouds: BTreeMap<String, ProviderName>,
    executors: BTreeSet<ProviderName>,
    pub(super) decisions: BTreeMap<String, Decision>,
}

impl Settings {
    /// What a configuration says, and the plans that it asks for; with `again`, also those that were rolled back
    /// or skipped.
    pub(super) fn of(
        generation: u64,
        effective: &Arc<Effective>,
        book: &Book,
        again: bool,
    ) -> (Self, Vec<ActionPlan>) {
        let node = effective.node.clone().unwrap_or_else(hostname);
        let intents = intents(effective, &node, book, again);
        let profiles = profiles(effective);
        let settings = Self {
            generation,
            effective: Arc::clone(effective),
            node,
            clouds: profiles
                .iter()
                .map(|(name, profile)| (name.clone(), profile.provider.clone()))
                .collect(),
            profiles,
            executors: executors(effective),
            decisions: intents.decisions,
        };
        (settings, intents.plans)
    }

    /// What is true outside the journal.
    pub(super) fn world(&self, now: Timestamp) -> World<'_> {
        World {
            now,
            policies: &self.effective.policies,
            decisions: &self.decisions,
            profiles: &self.clouds,
            executors: &self.executors,
        }
    }

    /// The plugin that changes a cloud, if it may.
    pub(super) fn executor(&self, provider: &ProviderName) -> Option<&PluginIntent> {
        let may = self.executors.contains(provider);
        let plugin = self.effective.plugins.get(&provider.executor());
        plugin.filter(|_| may)
    }
}

/// For a configuration that does not name its router.
fn hostname() -> String {
    let name = nix::unistd::gethostname().ok();
    let name = name.and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "routerd".to_owned())
}
