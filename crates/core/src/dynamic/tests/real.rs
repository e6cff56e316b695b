//! Merging real configurations.

use std::sync::Arc;

use api::control::{Config, SourceFile};
use api::plugin::{Directive, ResourceDocument};
use api::time::Timestamp;
use serde_json::json;

use crate::Effective;
use crate::config::load;
use crate::dynamic::*;

const CLOUD: &str = include_str!("../../../../../examples/two-site-cloud.yaml");
const POLICY: &str = "
---
apiVersion: config.routerd.net/v1alpha1
kind: DynamicOverridePolicy
metadata: {name: p}
spec:
  allow:
    - source: drill
      operations: [mask]
      targets:
        - {apiVersion: hybrid.routerd.net/v1alpha1, kind: RemoteAddressClaim}
        - {apiVersion: hybrid.routerd.net/v1alpha1, kind: OverlayPeer}
";

fn now() -> Timestamp {
    Timestamp::from_millis(1_780_000_000_000)
}

fn startup(more: &str) -> (Config, Effective) {
    let file = SourceFile {
        name: "router.yaml".into(),
        text: format!("{CLOUD}{more}"),
    };
    let config = Config { files: vec![file] };
    let loaded = load(&config);
    let effective = loaded.effective.expect("sound");
    (config, effective)
}

fn claim(name: &str, address: &str) -> ResourceDocument {
    serde_json::from_value(json!({
        "apiVersion": "hybrid.routerd.net/v1alpha1",
        "kind": "RemoteAddressClaim",
        "metadata": {"name": name, "annotations": {"routerd.net/event-id": "e1"}},
        "spec": {
            "address": address,
            "ownerSide": "onprem",
            "capture": {"type": "provider-secondary-ip"},
        },
    }))
    .expect("document")
}

fn mask(kind: &str, name: &str) -> Directive {
    serde_json::from_value(json!({
        "op": "mask",
        "target": {"apiVersion": "hybrid.routerd.net/v1alpha1", "kind": kind, "name": name},
    }))
    .expect("directive")
}

fn part(source: &str, resources: Vec<ResourceDocument>, directives: Vec<Directive>) -> Arc<Part> {
    Arc::new(Part {
        source: source.into(),
        generation: 1,
        observed_at: now(),
        resources,
        directives,
        ..Part::default()
    })
}

fn states(merged: &Merged) -> Vec<String> {
    let brief = |judged: &Judged| match &judged.state {
        PartState::Quarantined(why) => format!("{}: {}", judged.part.source, why.join("; ")),
        state => format!("{}: {state:?}", judged.part.source),
    };
    merged.merge.parts.iter().map(brief).collect()
}

#[test]
fn a_claim_of_a_part_captures_and_is_rendered_with_its_annotations() {
    let (config, base) = startup("");
    let parts = [part("clients", vec![claim("x", "10.77.60.50")], Vec::new())];
    let merged = merge(&config, &base, &parts, now());
    assert_eq!(states(&merged), ["clients: Active"]);
    let address = "10.77.60.50".parse().expect("address");
    assert!(merged.effective.captures.contains_key(&address));
    let view = effective(&merged.effective, &merged.merge, Vec::new());
    let shown = view
        .resources
        .iter()
        .find(|r| r.resource.metadata.name == "x");
    let shown = shown.expect("rendered");
    let annotations = &shown.resource.metadata.annotations;
    assert_eq!(annotations["routerd.net/event-id"], "e1");
    assert_eq!(shown.part.as_ref().expect("part").source, "clients");
}

#[test]
fn garbage_of_every_sort_is_quarantined_alone() {
    let (config, base) = startup("");
    let mut nonsense = claim("nonsense", "10.77.60.51");
    nonsense.spec = json!({"address": 7, "colour": "blue"});
    let mut nested = claim("nested", "10.77.60.52");
    nested.kind = "Router".into();
    let mut unnamed = claim("\u{0}../..", "10.77.60.53");
    unnamed.api_version = "x".into();
    let parts = [
        part("a-good", vec![claim("x", "10.77.60.50")], Vec::new()),
        part("b-nonsense", vec![nonsense], Vec::new()),
        part("c-nested", vec![nested], Vec::new()),
        part("d-unnamed", vec![unnamed], Vec::new()),
        part("e-outside", vec![claim("y", "192.0.2.1")], Vec::new()),
        part("f-taken", vec![claim("z", "10.77.60.9")], Vec::new()),
        part("g-good", vec![claim("w", "10.77.60.54")], Vec::new()),
    ];
    let merged = merge(&config, &base, &parts, now());
    let found = states(&merged);
    assert_eq!(
        (found[0].as_str(), found[6].as_str()),
        ("a-good: Active", "g-good: Active")
    );
    for (state, why) in found[1..6].iter().zip([
        "colour",
        "may not add a Router",
        "api-version",
        "no AddressMobilityDomain holds 192.0.2.1",
        "claims 10.77.60.9 already",
    ]) {
        assert!(state.contains(why), "{state} says nothing of {why}");
    }
    assert_eq!(merged.effective.captures.len(), base.captures.len() + 2);
}

#[test]
fn a_mask_takes_a_claim_away_and_one_that_breaks_what_stays_is_quarantined() {
    let (config, base) = startup(POLICY);
    let claim_name = base
        .resources
        .keys()
        .find(|id| id.kind == "RemoteAddressClaim");
    let claim_name = claim_name.expect("a claim").name.clone();
    let drill = part(
        "drill",
        Vec::new(),
        vec![mask("RemoteAddressClaim", &claim_name)],
    );
    let merged = merge(&config, &base, &[drill], now());
    assert_eq!(states(&merged), ["drill: Active"]);
    assert_eq!(merged.effective.captures.len(), base.captures.len() - 1);
    // The claims need their way to the other site.
    let peer = base.resources.keys().find(|id| id.kind == "OverlayPeer");
    let peer = peer.expect("a peer").name.clone();
    let parts = [
        part("clients", vec![claim("x", "10.77.60.50")], Vec::new()),
        part("drill", Vec::new(), vec![mask("OverlayPeer", &peer)]),
    ];
    let merged = merge(&config, &base, &parts, now());
    let found = states(&merged);
    assert_eq!(found[0], "clients: Active");
    assert!(found[1].contains("unknown-reference"), "{}", found[1]);
}

#[test]
fn parts_that_a_person_wrote_are_merged_too() {
    let written = "
---
apiVersion: config.routerd.net/v1alpha1
kind: DynamicConfigPart
metadata: {name: by-hand}
spec:
  source: by-hand
  generation: 4
  observedAt: 2026-05-31T01:30:00Z
  resources:
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: RemoteAddressClaim
      metadata: {name: x}
      spec:
        address: 10.77.60.50
        ownerSide: onprem
        capture: {type: provider-secondary-ip}
";
    let (config, base) = startup(written);
    let merged = merge(&config, &base, &[], now());
    assert_eq!(states(&merged), ["by-hand: Active"]);
    assert_eq!(merged.effective.captures.len(), base.captures.len() + 1);
}

#[test]
fn of_two_that_claim_one_address_the_earlier_word_stands() {
    let (config, base) = startup("");
    let earlier = Part {
        observed_at: Timestamp::from_millis(now().as_millis() - 1),
        ..Part::clone(&part(
            "z-earlier",
            vec![claim("x", "10.77.60.50")],
            Vec::new(),
        ))
    };
    let parts = [
        part("a-later", vec![claim("y", "10.77.60.50")], Vec::new()),
        Arc::new(earlier),
    ];
    let merged = merge(&config, &base, &parts, now());
    let found = states(&merged);
    assert!(
        found[0].contains("claims 10.77.60.50 already"),
        "{}",
        found[0]
    );
    assert_eq!(found[1], "z-earlier: Active");
}

/// The cloud router with a subscription, whose parts count.
pub(super) fn subscribed() -> (Config, Effective) {
    startup(
        "
---
apiVersion: federation.routerd.net/v1alpha1
kind: EventGroup
metadata: {name: g}
spec: {nodeName: cloud}
---
apiVersion: federation.routerd.net/v1alpha1
kind: EventSubscription
metadata: {name: clients}
spec:
  groupRef: g
  match: {types: [routerd.client.ipv4.observed]}
  trigger: {pluginRef: event-to-remote-claim}
---
apiVersion: plugin.routerd.net/v1alpha1
kind: Plugin
metadata: {name: event-to-remote-claim}
spec:
  executable: /usr/local/libexec/routerd/event-to-remote-claim
  capabilities: [observe.events, propose.dynamicConfig]
",
    )
}
