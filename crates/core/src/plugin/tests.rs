use std::collections::BTreeMap;

use api::plugin::TriggerKind;
use serde_json::json;

use super::*;
use crate::effective::Declared;

fn plugin(capabilities: &[Capability]) -> PluginIntent {
    PluginIntent {
        owner: ResourceId::new("Plugin", "p"),
        executable: "/usr/bin/true".into(),
        timeout: Duration::from_secs(10),
        env: BTreeMap::new(),
        capabilities: capabilities.iter().copied().collect(),
        context: Default::default(),
        user: None,
        sandbox: true,
    }
}

fn occasion() -> Occasion {
    let now = "2026-05-31T01:00:00Z".parse().expect("a time");
    Occasion {
        trigger: Trigger {
            kind: TriggerKind::Manual,
            topic: None,
        },
        startup_config_hash: "0".to_owned(),
        generation: 4,
        previous_part: 0,
        now,
        events: vec![Event {
            id: "e".to_owned(),
            group: "g".to_owned(),
            source_node: "n".to_owned(),
            kind: "routerd.client.ipv4.observed".to_owned(),
            subject: "10.77.60.9".to_owned(),
            dedupe_key: None,
            payload: BTreeMap::new(),
            observed_at: now,
            expires_at: now,
        }],
    }
}

fn effective() -> Effective {
    let declared = |group: &str| Declared {
        api_version: format!("{group}/v1alpha1"),
        labels: Default::default(),
        annotations: Default::default(),
        spec: json!({"a": 1}),
        place: None,
    };
    Effective {
        resources: [
            (
                ResourceId::new("CloudProviderProfile", "main"),
                declared("hybrid.routerd.net"),
            ),
            (
                ResourceId::new("IPv4Route", "lab"),
                declared("net.routerd.net"),
            ),
        ]
        .into(),
        ..Effective::default()
    }
}

fn told(plugin: &PluginIntent) -> (usize, Vec<String>) {
    let PluginRequest::PluginRequest(Envelope { spec, .. }) =
        request(&effective(), plugin, occasion());
    let resources = spec.context.resources;
    (
        spec.events.len(),
        resources.into_iter().map(|r| r.kind).collect(),
    )
}

#[test]
fn a_plugin_is_told_what_its_capabilities_name_and_no_more() {
    assert_eq!(told(&plugin(&[])), (0, vec![]));
    assert_eq!(told(&plugin(&[Capability::ObserveEvents])), (1, vec![]));
    let cloud = vec!["CloudProviderProfile".to_owned()];
    assert_eq!(
        told(&plugin(&[Capability::ObserveCloud])),
        (0, cloud.clone())
    );
    assert_eq!(
        told(&plugin(&[Capability::ObserveProviderPrivateIps])),
        (0, cloud)
    );
    let mut named = plugin(&[]);
    named.context.insert(ResourceKey {
        api_version: "net.routerd.net/v1alpha1".to_owned(),
        kind: "IPv4Route".to_owned(),
        name: "lab".to_owned(),
    });
    assert_eq!(told(&named), (0, vec!["IPv4Route".to_owned()]));
}

#[test]
fn what_a_plugin_may_not_say_is_refused() {
    let result = |field: &str, value: serde_json::Value| -> PluginStatus {
        let mut status = json!({"observedAt": "2026-05-31T01:00:00Z", "ttl": "5m"});
        status[field] = value;
        serde_json::from_value(status).expect("a result")
    };
    let resource =
        json!([{"apiVersion": "x/v1", "kind": "K", "metadata": {"name": "n"}, "spec": {}}]);
    let mask = json!([{"op": "mask", "target": {"apiVersion": "x/v1", "kind": "K", "name": "n"}}]);
    let plan = json!([{
        "name": "n", "provider": "azure", "providerRef": "main", "action": "ensure-forwarding-enabled",
        "target": {}, "idempotencyKey": "k"
    }]);
    let event = json!([{
        "id": "e", "group": "g", "sourceNode": "n", "type": "t", "subject": "s",
        "observedAt": "2026-05-31T01:00:00Z", "expiresAt": "2026-05-31T01:00:00Z"
    }]);
    for (field, value, needed) in [
        ("resources", resource, Capability::ProposeDynamicConfig),
        ("directives", mask, Capability::ProposeDynamicConfig),
        ("actionPlans", plan, Capability::ProposeProviderAction),
        ("events", event, Capability::ObserveEvents),
    ] {
        let status = result(field, value);
        let others: Vec<_> = [
            Capability::ObserveEvents,
            Capability::ObserveCloud,
            Capability::ProposeDynamicConfig,
            Capability::ProposeProviderAction,
            Capability::ExecuteProviderAction,
        ]
        .into_iter()
        .filter(|capability| *capability != needed)
        .collect();
        assert_eq!(
            admit(&plugin(&others), &status),
            Err(Refused::Capability {
                field,
                capability: needed
            })
        );
        assert_eq!(admit(&plugin(&[needed]), &status), Ok(()));
    }
    let for_ever = result("ttl", json!("0s"));
    assert_eq!(
        admit(&plugin(&[]), &for_ever),
        Err(Refused::Ttl("0s".to_owned()))
    );
}

#[test]
fn credentials_do_not_get_through() {
    let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl";
    for text in [
        format!("GET failed: Authorization: Bearer {token}"),
        format!("{{\"access_token\":\"{token}\",\"expires_in\":\"3599\"}}"),
        format!("{{\"access_token\": \"{token}\"}}"),
        format!("https://h/x?sig={token}&se=1"),
        format!("saw {token} here"),
        format!("client-secret: {token}"),
        format!("AZURE_CLIENT_SECRET={token} az login"),
        format!("https://user:{token}@proxy:3128/"),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{token}\n-----END RSA PRIVATE KEY-----\nafter"),
    ] {
        let clean = redact(&text);
        assert!(!clean.contains(token), "{clean}");
        assert!(!clean.contains("c2lnbmF0dXJl"), "{clean}");
        assert!(clean.contains("[redacted]"), "{clean}");
    }
    for secret in [
        "AKIAIOSFODNN7EXAMPLE",
        "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY123",
    ] {
        assert_eq!(redact(&format!("got {secret}. So")), "got [redacted]. So");
    }
    assert_eq!(redact("password hunter2"), "password hunter2");
    assert_eq!(redact("password = hunter2"), "password = [redacted]");
    assert_eq!(
        redact("{\"password\":\"a\",\"b\":\"c\"}"),
        "{\"password\":\"[redacted]\",\"b\":\"c\"}"
    );
}

#[test]
fn what_is_no_credential_stays() {
    for text in [
        "assigned 10.77.60.9 to ce-router-nic (ip-config ipconfig-onprem-capture)",
        "/subscriptions/26412fa4-cd3a-4128-9794-72ee01876d84/resourceGroups/cloudedge-lab/providers/Microsoft.Network/networkInterfaces/ce-router-nic",
        "W/\"4f2b2c1e-90ab-4f23-a25e-0123456789ab\" is not the ETag any more",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "the token has expired; a new one was asked for",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "error: invalid_token: the signature is wrong",
        "LinkedAuthorizationFailed: scope=/subscriptions/x",
        "",
        "  spaces  and\nlines\n",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn facts_are_taken_whole_or_not_at_all() {
    let facts = |value: &str| {
        let mut facts = Facts::default();
        facts.set("ipConfig", value);
        facts
    };
    // What a rollback has to restore, however random it looks.
    let name = facts("{\"name\":\"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY123\"}");
    assert_eq!(secret_fact(&name), None);
    assert_eq!(secret_fact(&facts("Bearer abc")), Some("ipConfig"));
    assert_eq!(
        secret_fact(&facts("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.x")),
        Some("ipConfig")
    );
}
