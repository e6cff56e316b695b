//! The kinds of resources. A kind is one file here and its line in [`KINDS`].
//!
//! A kind owns its specification (the Rust type is the published format), its own rules, and what it becomes
//! in [`crate::Effective`]. Rules between kinds are in [`crate::config`].

pub(crate) mod field;

mod address_mobility_domain;
pub(crate) mod bgp;
mod cloud_provider_profile;
mod dynamic_config_part;
mod dynamic_config_source;
mod dynamic_override_policy;
mod event_group;
mod event_peer;
mod event_subscription;
mod federation_slo;
mod hybrid_route;
mod interface;
mod ipv4_route;
mod ipv4_static_address;
mod mobility_pool;
mod overlay_peer;
mod plugin;
mod provider_action_policy;
mod remote_address_claim;
mod sam_node_set;
mod tunnel_interface;
mod wireguard_interface;
mod wireguard_peer;

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::config::draft::{Draft, Resource};
use crate::config::shape::{Shape, schema_of};
use crate::config::sink::Sink;

/// The metric of claims, and of hybrid routes unless told otherwise.
pub(crate) const OVERLAY_METRIC: u32 = 120;

/// The API version that this software speaks, without its group.
pub(crate) const VERSION: &str = "v1alpha1";

/// A kind of resource: the specification as a type.
pub(crate) trait Kind: DeserializeOwned + JsonSchema {
    /// `kind:`.
    const NAME: &'static str;
    /// `apiVersion:` without the version.
    const GROUP: &'static str;
    /// A specification that loads, for the reference documents.
    const EXAMPLE: &'static str;

    /// Checks what the form alone cannot say and adds what the resource asks for.
    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>);
}

/// A kind as data.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) example: &'static str,
    pub(crate) schema: fn() -> Schema,
    pub(crate) shape: fn() -> Shape,
    pub(crate) compile:
        fn(Json, &Resource<'_>, &mut Draft, &mut Sink<'_>) -> Result<(), serde_json::Error>,
}

const fn entry<K: Kind>() -> Entry {
    Entry {
        name: K::NAME,
        group: K::GROUP,
        example: K::EXAMPLE,
        schema: schema_of::<K>,
        shape: Shape::of::<K>,
        compile: |spec, resource, draft, sink| {
            let spec: K = serde_json::from_value(spec)?;
            spec.compile(resource, draft, sink);
            Ok(())
        },
    }
}

/// Every kind, in the order of compilation: a kind stands below those whose work it looks up.
pub(crate) const KINDS: &[Entry] = &[
    entry::<interface::Interface>(),
    entry::<wireguard_interface::WireGuardInterface>(),
    entry::<wireguard_peer::WireGuardPeer>(),
    entry::<tunnel_interface::TunnelInterface>(),
    entry::<ipv4_static_address::IPv4StaticAddress>(),
    entry::<bgp::BGPRouter>(),
    entry::<bgp::BGPPeer>(),
    entry::<bgp::BGPDynamicPeer>(),
    entry::<bgp::Bfd>(),
    entry::<cloud_provider_profile::CloudProviderProfile>(),
    entry::<overlay_peer::OverlayPeer>(),
    entry::<address_mobility_domain::AddressMobilityDomain>(),
    entry::<remote_address_claim::RemoteAddressClaim>(),
    entry::<hybrid_route::HybridRoute>(),
    entry::<ipv4_route::IPv4Route>(),
    entry::<provider_action_policy::ProviderActionPolicy>(),
    entry::<plugin::Plugin>(),
    entry::<event_group::EventGroup>(),
    entry::<event_peer::EventPeer>(),
    entry::<event_subscription::EventSubscription>(),
    entry::<federation_slo::FederationSLO>(),
    entry::<sam_node_set::SAMNodeSet>(),
    entry::<mobility_pool::MobilityPool>(),
    entry::<dynamic_override_policy::DynamicOverridePolicy>(),
    entry::<dynamic_config_source::DynamicConfigSource>(),
    entry::<dynamic_config_part::DynamicConfigPart>(),
];

/// Every kind of the published format: one that is not in [`KINDS`] is refused as not available.
pub(crate) const PUBLISHED: &[&str] = &[
    "AddressMobilityDomain",
    "BFD",
    "BGPDynamicPeer",
    "BGPPeer",
    "BGPRouter",
    "CloudProviderProfile",
    "ControlAPI",
    "DynamicConfigPart",
    "DynamicConfigSource",
    "DynamicOverridePolicy",
    "EventGroup",
    "EventPeer",
    "EventSubscription",
    "FederationSLO",
    "HybridRoute",
    "IPv4Route",
    "IPv4StaticAddress",
    "Interface",
    "MobilityPool",
    "OverlayPeer",
    "Plugin",
    "ProviderActionPolicy",
    "RemoteAddressClaim",
    "SAMEnrollmentClaim",
    "SAMEnrollmentClient",
    "SAMEnrollmentPolicy",
    "SAMNodeSet",
    "SAMPeerGroup",
    "SAMRRSet",
    "SAMTransportProfile",
    "TunnelInterface",
    "WebConsole",
    "WireGuardInterface",
    "WireGuardPeer",
];

#[cfg(test)]
mod tests {
    use api::control::{Config, SourceFile};

    use super::*;

    #[test]
    fn every_example_has_the_right_form() {
        for kind in KINDS {
            let spec: String = kind
                .example
                .lines()
                .map(|line| format!("  {line}\n"))
                .collect();
            let text = format!(
                "apiVersion: {}/{VERSION}\nkind: {}\nmetadata:\n  name: example\nspec:\n{spec}",
                kind.group, kind.name
            );
            let file = SourceFile {
                name: kind.name.to_owned(),
                text,
            };
            let loaded = crate::config::load(&Config { files: vec![file] });
            // Alone, it has nothing to refer to and nothing refers to it.
            let alone = [
                "unknown-reference",
                "unused-resource",
                "tunnel-without-peer",
                "tunnel-not-declared",
                "no-bgp-router",
                "external-without-policy",
            ];
            let found: Vec<_> = loaded
                .diagnostics
                .iter()
                .filter(|d| !alone.contains(&d.id.as_str()))
                .collect();
            assert!(found.is_empty(), "{}: {found:#?}", kind.name);
        }
    }

    #[test]
    fn every_kind_is_of_the_published_format() {
        for kind in KINDS {
            assert!(PUBLISHED.contains(&kind.name), "{}", kind.name);
            let twice = KINDS.iter().filter(|other| other.name == kind.name);
            assert_eq!(twice.count(), 1, "{}", kind.name);
        }
    }
}
