use serde_json::{Value, json};

use super::plan::{ActionPlan, Facts, PlanError, Precondition, Verb};
use super::protocol::{ExecutorRequest, ExecutorResult, Mode, ResultError};
use crate::plugin::{PluginRequest, PluginResult};

fn request() -> Value {
    json!({
        "kind": "ExecuteActionRequest",
        "apiVersion": "plugin.routerd.net/v1alpha1",
        "spec": {
            "action": "assign-secondary-ip",
            "provider": "azure",
            "providerRef": "azure-japaneast",
            "target": {"nicRef": "/subscriptions/s/…/ce-router-nic", "address": "10.77.60.9"},
            "parameters": {"name": "ipconfig-onprem-capture"},
            "mode": "execute",
            "idempotencyKey": "claim/onprem-9/assign-secondary-ip",
            "prior": {"priorAssigned": "false"},
            "context": {
                "node": "routerd-cloud",
                "timeoutSeconds": 120,
                "profile": {"subscriptionID": "s", "auth": {"mode": "machine-identity"}}
            }
        }
    })
}

fn result() -> Value {
    json!({
        "kind": "ExecuteActionResult",
        "status": {
            "status": "failed",
            "message": "may not join the subnet",
            "undoAvailable": false,
            "error": {
                "class": "authorization",
                "detail": "LinkedAuthorizationFailed",
                "permission": "Microsoft.Network/virtualNetworks/subnets/join/action",
                "scope": "/subscriptions/s/…/subnets/app"
            }
        }
    })
}

fn plan() -> Value {
    json!({
        "name": "capture-9",
        "provider": "azure",
        "providerRef": "azure-japaneast",
        "action": "assign-secondary-ip",
        "target": {"address": "10.77.60.9/32"},
        "parameters": {"allowReassignment": true},
        "riskLevel": "medium",
        "idempotencyKey": "k",
        "preconditions": [
            {"type": "action-succeeded", "idempotencyKey": "forwarding"},
            {"type": "not-before", "at": "2026-05-31T01:00:00Z"},
            {"type": "fact", "name": "ipForwarding", "equals": "true"}
        ],
        "expectedEffects": {"assigned": "true"},
        "undo": "restore-prior",
        "decision": {"subject": "10.77.60.9/32", "holder": "a", "signature": "x", "generation": 1}
    })
}

fn plugin_request() -> Value {
    json!({
        "kind": "PluginRequest",
        "apiVersion": "plugin.routerd.net/v1alpha1",
        "spec": {
            "trigger": {"type": "event", "topic": "routerd.client.ipv4.observed"},
            "startupConfigHash": "0", "effectiveGeneration": 4, "now": "2026-05-31T01:00:00Z",
            "events": [{
                "id": "e1", "group": "g", "sourceNode": "onprem", "type": "routerd.client.ipv4.observed",
                "subject": "10.77.60.9", "payload": {"domain": "d"},
                "observedAt": "2026-05-31T01:00:00Z", "expiresAt": "2026-05-31T01:05:00Z"
            }],
            "context": {"resources": [{
                "apiVersion": "hybrid.routerd.net/v1alpha1", "kind": "AddressMobilityDomain",
                "metadata": {"name": "d"}, "spec": {"prefix": "10.77.60.0/24"}
            }]}
        }
    })
}

fn plugin_result() -> Value {
    json!({
        "kind": "PluginResult",
        "status": {
            "observedAt": "2026-05-31T01:00:00Z", "ttl": "5m",
            "resources": [{
                "apiVersion": "hybrid.routerd.net/v1alpha1", "kind": "RemoteAddressClaim",
                "metadata": {"name": "c", "labels": {"a": "b"}}, "spec": {}
            }],
            "directives": [{
                "op": "mask", "target": {"apiVersion": "x/v1", "kind": "IPv4Route", "name": "r"}, "reason": "drain"
            }],
            "actionPlans": [plan()]
        }
    })
}

/// Every object inside `value`, one after the other, with an unknown field put in. The open maps (facts, payload,
/// labels) and a resource's `spec` are somebody else's format.
fn with_unknown_fields(value: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    match value {
        Value::Object(fields) => {
            let mut widened = fields.clone();
            widened.insert("surprise".to_owned(), json!("x"));
            out.push(Value::Object(widened));
            let open = ["prior", "expectedEffects", "payload", "labels"];
            for (name, field) in fields
                .iter()
                .filter(|(name, _)| !open.contains(&name.as_str()))
            {
                if name == "spec" && fields.contains_key("metadata") {
                    continue;
                }
                for inner in with_unknown_fields(field) {
                    let mut changed = fields.clone();
                    changed.insert(name.clone(), inner);
                    out.push(Value::Object(changed));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                for inner in with_unknown_fields(item) {
                    let mut changed = items.clone();
                    changed[index] = inner;
                    out.push(Value::Array(changed));
                }
            }
        }
        _ => {}
    }
    out
}

fn strict<T>(sample: &Value)
where
    T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug,
{
    let read: T = serde_json::from_value(sample.clone()).expect("the sample reads");
    let written = serde_json::to_value(&read).expect("it writes");
    assert_eq!(
        serde_json::from_value::<T>(written).expect("it reads again"),
        read
    );
    let wider = with_unknown_fields(sample);
    assert!(wider.len() > 1);
    for wider in wider {
        assert!(
            serde_json::from_value::<T>(wider.clone()).is_err(),
            "accepted: {wider}"
        );
    }
}

#[test]
fn our_formats_round_trip_and_refuse_unknown_fields() {
    strict::<ExecutorRequest>(&request());
    strict::<ExecutorResult>(&result());
    strict::<ActionPlan>(&plan());
    strict::<PluginRequest>(&plugin_request());
    strict::<PluginResult>(&plugin_result());
}

#[test]
fn another_version_is_refused() {
    let mut other = request();
    other["apiVersion"] = json!("plugin.routerd.net/v2");
    assert!(serde_json::from_value::<ExecutorRequest>(other).is_err());
}

#[test]
fn older_names_mean_the_same() {
    for (old, new) in [
        ("assign-route-table-route", Verb::EnsureRoute),
        ("unassign-route-table-route", Verb::RemoveRoute),
    ] {
        assert_eq!(old.parse(), Ok(new));
        assert_eq!(
            serde_json::from_value::<Verb>(json!(old)).expect("alias"),
            new
        );
    }
    for verb in Verb::ALL {
        assert_eq!(verb.as_str().parse(), Ok(verb));
        assert_eq!(
            serde_json::to_value(verb).expect("writes"),
            json!(verb.as_str())
        );
    }
    assert!("reboot".parse::<Verb>().is_err());
}

#[test]
fn a_plan_carries_what_its_action_needs_and_nothing_else() {
    let good: ActionPlan = serde_json::from_value(plan()).expect("plan");
    assert_eq!(good.check(), Ok(()));

    let mut no_address = good.clone();
    no_address.target.address = None;
    assert_eq!(
        no_address.check(),
        Err(PlanError::Missing {
            verb: Verb::AssignSecondaryIp,
            field: "target.address"
        })
    );

    let mut forwarding = good.clone();
    forwarding.action = Verb::EnsureForwardingEnabled;
    assert!(matches!(
        forwarding.check(),
        Err(PlanError::Useless {
            field: "target.address",
            ..
        })
    ));

    let mut table = good.clone();
    table.target.route_table_ref = Some("rt".to_owned());
    assert!(matches!(
        table.check(),
        Err(PlanError::Useless {
            field: "target.routeTableRef",
            ..
        })
    ));

    let mut hop = good.clone();
    hop.parameters.next_hop = Some([10, 77, 60, 4].into());
    assert!(matches!(
        hop.check(),
        Err(PlanError::Useless {
            field: "parameters.nextHop",
            ..
        })
    ));

    let mut nameless = good;
    nameless.idempotency_key = " ".to_owned();
    assert_eq!(nameless.check(), Err(PlanError::Empty("idempotencyKey")));
}

#[test]
fn a_result_must_say_enough() {
    let ExecutorResult::ExecuteActionResult(mut answer) =
        serde_json::from_value(result()).expect("result")
    else {
        panic!("another kind");
    };
    assert_eq!(answer.status.check(Mode::Execute), Ok(()));
    answer.status.error = None;
    assert_eq!(
        answer.status.check(Mode::Execute),
        Err(ResultError::NoError)
    );
    answer.status.status = super::protocol::Outcome::Succeeded;
    assert_eq!(
        answer.status.check(Mode::Observe),
        Err(ResultError::NoEffect(Mode::Observe))
    );
    answer.status.effect = Some(super::protocol::Effect::Absent);
    assert_eq!(answer.status.check(Mode::Observe), Ok(()));
    answer.status.changed = true;
    assert_eq!(
        answer.status.check(Mode::Observe),
        Err(ResultError::ChangedByLooking)
    );
}

#[test]
fn prior_facts_are_named_as_such() {
    let mut facts = Facts::default();
    facts.set("ipForwarding", false);
    assert_eq!(facts.as_prior().to_string(), "priorIpForwarding=false");
}

#[test]
fn schemas_know_every_verb_and_refuse_unknown_fields() {
    let schema = serde_json::to_value(schemars::schema_for!(ActionPlan)).expect("schema");
    assert_eq!(schema["additionalProperties"], json!(false));
    let verbs = schema["$defs"]["Verb"].to_string();
    for verb in Verb::ALL {
        assert!(verbs.contains(verb.as_str()), "{verb} in {verbs}");
    }
    for schema in [
        schemars::schema_for!(ExecutorRequest),
        schemars::schema_for!(ExecutorResult),
        schemars::schema_for!(PluginRequest),
        schemars::schema_for!(PluginResult),
    ] {
        assert!(
            schema
                .as_object()
                .is_some_and(|schema| schema.contains_key("$defs"))
        );
    }
}

#[test]
fn a_precondition_reads_as_written() {
    let read: Precondition =
        serde_json::from_value(json!({"type": "action-succeeded", "idempotencyKey": "k"}))
            .expect("reads");
    assert_eq!(
        read,
        Precondition::ActionSucceeded {
            idempotency_key: "k".to_owned()
        }
    );
}
