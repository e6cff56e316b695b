//! The part of a `CloudProviderProfile` that actions need.

use std::collections::BTreeMap;

use api::action::plan::ProviderName;
use api::action::protocol::ProviderProfile;
use serde::Deserialize;

use crate::Effective;

/// A cloud and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Which cloud.
    pub provider: ProviderName,
    /// What its executor is told.
    pub executor: ProviderProfile,
}

/// The profiles of a configuration by name. A profile that does not read was refused when it was loaded.
pub fn profiles(effective: &Effective) -> BTreeMap<String, Profile> {
    let declared = effective
        .resources
        .iter()
        .filter(|(id, _)| id.kind == "CloudProviderProfile");
    declared
        .filter_map(|(id, declared)| Some((id.name.clone(), read(&declared.spec)?)))
        .collect()
}

fn read(spec: &serde_json::Value) -> Option<Profile> {
    #[derive(Deserialize)]
    struct Head {
        provider: ProviderName,
    }
    let head: Head = serde_json::from_value(spec.clone()).ok()?;
    let mut rest = spec.as_object()?.clone();
    // Told apart already, or of no use to an executor.
    rest.remove("provider");
    rest.remove("capabilities");
    if let Some(auth) = rest
        .get_mut("auth")
        .and_then(serde_json::Value::as_object_mut)
        && auth
            .get("command")
            .and_then(serde_json::Value::as_array)
            .is_some_and(Vec::is_empty)
    {
        auth.remove("command");
    }
    let executor = serde_json::from_value(rest.into()).ok()?;
    Some(Profile {
        provider: head.provider,
        executor,
    })
}
