//! Turns observed clients into `RemoteAddressClaim`s. It knows no provider, uses no network and changes nothing:
//! it reads one request and prints one result.
//!
//! For every `routerd.client.ipv4.observed` event one claim named `OWNERSIDE-ADDRESS-WITH-DASHES` comes out, with
//! the event's provenance in its annotations. The payload may name `address` (else the subject is it), `domain`,
//! `ownerSide` (onprem), `peerRef` (onprem-main), `providerRef` (example-provider) and `nicRef`.

use std::collections::BTreeMap;

use api::MobileAddress;
use api::action::protocol::{Answer, ApiVersion};
use api::event::Event;
use api::plugin::{Metadata, PluginRequest, PluginResult, PluginStatus, ResourceDocument};
use serde_json::{Value, json};

const OBSERVED: &str = "routerd.client.ipv4.observed";
const SOURCE: &str = "event-to-remote-claim";
/// The longest time to live that routerd takes, a day in milliseconds. Each claim ends with its event anyway.
const LONGEST: u64 = 86_400_000;

/// The result for a request. Events that name no host address or no domain are passed over: one bad event must
/// not cost the others their claims.
pub fn run(request: &PluginRequest) -> PluginResult {
    let PluginRequest::PluginRequest(envelope) = request;
    let spec = &envelope.spec;
    let observed = spec
        .events
        .iter()
        .filter(|event| event.kind == OBSERVED && event.expires_at > spec.now);
    // Events about one address make one claim: the latest word about it.
    let mut claims: BTreeMap<String, (&Event, ResourceDocument)> = BTreeMap::new();
    for event in observed {
        if let Some(claim) = claim(event) {
            let newer = |(old, _): &(&Event, _)| old.observed_at <= event.observed_at;
            if claims.get(&claim.metadata.name).is_none_or(newer) {
                claims.insert(claim.metadata.name.clone(), (event, claim));
            }
        }
    }
    let lasts = claims
        .values()
        .map(|(event, _)| event.expires_at.millis_since(spec.now))
        .max();
    PluginResult::PluginResult(Answer {
        api_version: ApiVersion::default(),
        status: PluginStatus {
            observed_at: spec.now,
            // With nothing to say, a minute: what is said must last for some time.
            ttl: format!("{}ms", lasts.unwrap_or(60_000).clamp(1, LONGEST)),
            resources: claims.into_values().map(|(_, claim)| claim).collect(),
            directives: Vec::new(),
            action_plans: Vec::new(),
            events: Vec::new(),
        },
    })
}

fn claim(event: &Event) -> Option<ResourceDocument> {
    let field = |key: &str| event.payload.get(key).map(String::as_str);
    let address: MobileAddress = field("address").unwrap_or(&event.subject).parse().ok()?;
    let owner_side = field("ownerSide").unwrap_or("onprem");
    let mut capture = json!({
        "type": "provider-secondary-ip",
        "providerRef": field("providerRef").unwrap_or("example-provider"),
        "configureOSAddress": false,
    });
    if let (Some(nic), Value::Object(capture)) = (field("nicRef"), &mut capture) {
        capture.insert("nicRef".into(), nic.into());
    }
    let annotations = [
        ("routerd.net/event-id", event.id.as_str()),
        ("routerd.net/event-group", event.group.as_str()),
        ("routerd.net/event-subject", event.subject.as_str()),
        ("routerd.net/dynamic-source", SOURCE),
    ];
    Some(ResourceDocument {
        api_version: "hybrid.routerd.net/v1alpha1".into(),
        kind: "RemoteAddressClaim".into(),
        metadata: Metadata {
            name: format!(
                "{owner_side}-{}",
                address.addr().to_string().replace('.', "-")
            ),
            labels: BTreeMap::new(),
            annotations: annotations
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        },
        spec: json!({
            "domainRef": field("domain")?,
            "address": address.to_string(),
            "ownerSide": owner_side,
            "capture": capture,
            "delivery": {"peerRef": field("peerRef").unwrap_or("onprem-main"), "mode": "route"},
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(events: Value) -> PluginRequest {
        let request = json!({
            "apiVersion": "plugin.routerd.net/v1alpha1", "kind": "PluginRequest",
            "spec": {
                "trigger": {"type": "event", "topic": OBSERVED}, "startupConfigHash": "x", "effectiveGeneration": 1,
                "now": "2026-05-31T01:30:00Z", "events": events,
            },
        });
        serde_json::from_value(request).expect("request")
    }

    fn event(id: &str, payload: Value) -> Value {
        json!({
            "id": id, "group": "cloudedge", "sourceNode": "onprem-router", "type": OBSERVED, "subject": "10.88.60.9/32",
            "payload": payload, "observedAt": "2026-05-31T01:29:00Z", "expiresAt": "2026-05-31T02:00:00Z",
        })
    }

    fn status(events: Value) -> PluginStatus {
        let PluginResult::PluginResult(answer) = run(&request(events));
        answer.status
    }

    #[test]
    fn the_event_of_the_guide() {
        let status = status(json!([event(
            "e1",
            json!({
                "address": "10.88.60.9/32", "domain": "cloudedge-same-subnet", "ownerSide": "onprem",
                "peerRef": "onprem-main", "providerRef": "example-provider",
            })
        )]));
        let claim = &status.resources[0];
        assert_eq!(claim.metadata.name, "onprem-10-88-60-9");
        assert_eq!(claim.metadata.annotations["routerd.net/event-id"], "e1");
        assert_eq!(claim.spec["address"], "10.88.60.9/32");
        assert_eq!(claim.spec["capture"]["configureOSAddress"], false);
        assert_eq!(status.ttl, "1800000ms");
    }

    #[test]
    fn one_claim_an_address_defaults_filled_in_and_bad_events_passed_over() {
        let status = status(json!([
            event("e1", json!({"domain": "a"})),
            event("e2", json!({"domain": "b"})),
            event("e3", json!({"domain": "b", "address": "10.88.60.0/24"})),
            event("e4", json!({"address": "10.88.60.10"})),
        ]));
        assert_eq!(status.resources.len(), 1);
        assert_eq!(status.resources[0].spec["domainRef"], "b");
        assert_eq!(
            status.resources[0].spec["delivery"]["peerRef"],
            "onprem-main"
        );
    }

    #[test]
    fn nothing_observed_is_no_claim_but_still_a_word() {
        let status = status(json!([]));
        assert!(status.resources.is_empty());
        assert_eq!(status.ttl, "60000ms");
    }
}
