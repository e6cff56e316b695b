//! Event federation: each fault is named, with its remedy; a healthy one is not complained about.

use api::doctor::{Check, CheckStatus};
use api::federation::Outbox;
use api::time::Timestamp;

use super::*;
use crate::doctor::{Backlog, FederationState};

const CONFIG: &str = "
apiVersion: federation.routerd.net/v1alpha1
kind: EventGroup
metadata: {name: cloudedge}
spec:
  nodeName: onprem
  listen: {address: 127.0.0.1}
---
apiVersion: federation.routerd.net/v1alpha1
kind: EventPeer
metadata: {name: cloud}
spec:
  groupRef: cloudedge
  nodeName: cloud
  endpoint: 10.255.0.1:65433
  publicKey: 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
---
apiVersion: federation.routerd.net/v1alpha1
kind: FederationSLO
metadata: {name: slo}
spec:
  groupRef: cloudedge
  delivery: {lagWarnSeconds: 30, lagFailSeconds: 90, expiresSoonSeconds: 20}
  subscription: {maxPendingRuns: 5}
---
apiVersion: federation.routerd.net/v1alpha1
kind: EventSubscription
metadata: {name: claims}
spec:
  groupRef: cloudedge
  match: {types: [routerd.client.ipv4.observed]}
  trigger: {pluginRef: event-to-remote-claim}
---
apiVersion: plugin.routerd.net/v1alpha1
kind: Plugin
metadata: {name: event-to-remote-claim}
spec:
  executable: /usr/local/libexec/routerd/event-to-remote-claim
  capabilities: [observe.events, propose.dynamicConfig]
";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_780_191_055_000 + seconds * 1_000)
}

fn healthy() -> FederationState {
    let outbox = Outbox {
        peer: "cloud".into(),
        delivered: 7,
        succeeded_at: Some(at(0)),
        ..Outbox::default()
    };
    FederationState {
        now: at(1_000),
        outboxes: [("cloud".to_owned(), outbox)].into(),
        missing: [("cloud".to_owned(), 0)].into(),
        backlogs: [("claims".to_owned(), Backlog::default())].into(),
        troubles: Default::default(),
        has_key: true,
    }
}

/// The checks of the area after a change of the state.
fn checks(change: impl FnOnce(&mut FederationState)) -> Vec<Check> {
    let mut state = healthy();
    change(&mut state);
    let runtime = Runtime {
        federation: Some(state),
        ..running()
    };
    let mut node = healthy_onprem();
    examine_with(&mut node, &compile(CONFIG), "federation", &runtime).checks
}

fn first(change: impl FnOnce(&mut FederationState)) -> (CheckStatus, String, String) {
    let check = checks(change).into_iter().next().expect("a check");
    (check.status, check.code, check.remedy.unwrap_or_default())
}

fn outbox(state: &mut FederationState) -> &mut Outbox {
    state.outboxes.get_mut("cloud").expect("an outbox")
}

#[test]
fn a_healthy_federation_passes() {
    let checks = checks(|_| {});
    assert!(
        checks.iter().all(|check| check.status == CheckStatus::Pass),
        "{checks:#?}"
    );
    let codes: Vec<_> = checks.iter().map(|check| check.code.as_str()).collect();
    let all = [
        "event-group",
        "event-peer-key",
        "event-delivery",
        "event-missing",
        "event-runs",
    ];
    assert_eq!(codes, all);
}

#[test]
fn lag_is_measured_by_the_objectives() {
    let waiting = |seconds: u64| {
        move |state: &mut FederationState| {
            let now = state.now;
            let outbox = outbox(state);
            outbox.pending = 3;
            outbox.oldest = Some(Timestamp::from_millis(now.as_millis() - seconds * 1_000));
            outbox.first_expiry = Some(now.plus_millis(3_600_000));
        }
    };
    assert_eq!(first(waiting(29)).0, CheckStatus::Pass);
    assert_eq!(first(waiting(31)).0, CheckStatus::Warn);
    assert_eq!(first(waiting(91)).0, CheckStatus::Fail);
    let (status, code, _) = first(|state| {
        waiting(1)(state);
        let now = state.now;
        outbox(state).first_expiry = Some(now.plus_millis(19_000));
    });
    assert_eq!(
        (status, code.as_str()),
        (CheckStatus::Warn, "event-delivery")
    );
}

#[test]
fn the_remedy_follows_the_error() {
    for (error, remedy) in [
        (
            "connect to 10.255.0.1:65433: refused",
            "ping -c 3 10.255.0.1",
        ),
        (
            "answered 401 signature: the signature does not fit",
            "routerctl get eventgroups",
        ),
        (
            "answered 403 skew: the timestamp is outside",
            "timedatectl status",
        ),
    ] {
        let found = first(|state| {
            outbox(state).failures = 2;
            outbox(state).error = Some(error.to_owned());
        });
        assert_eq!(
            (found.0, found.1.as_str()),
            (CheckStatus::Warn, "event-delivery")
        );
        assert!(found.2.starts_with(remedy), "{error}: {}", found.2);
    }
}

#[test]
fn dead_letters_refusals_missing_rows_and_runs_are_named() {
    let dead = first(|state| outbox(state).dead = 1);
    assert_eq!(
        (dead.0, dead.1.as_str()),
        (CheckStatus::Warn, "event-delivery")
    );
    let refused = first(|state| outbox(state).refused = 1);
    assert_eq!(
        (refused.0, refused.1.as_str()),
        (CheckStatus::Warn, "event-delivery")
    );
    let missing = first(|state| {
        state.missing.insert("cloud".into(), 2);
    });
    assert_eq!(
        (missing.0, missing.1.as_str()),
        (CheckStatus::Fail, "event-missing")
    );
    let backlog = |pending, failed| {
        move |state: &mut FederationState| {
            let error = Some("exit status 1".to_owned());
            let backlog = Backlog {
                pending,
                failed,
                error,
            };
            state.backlogs.insert("claims".into(), backlog);
        }
    };
    assert_eq!(first(backlog(5, 0)).0, CheckStatus::Pass);
    let many = first(backlog(6, 0));
    assert_eq!((many.0, many.1.as_str()), (CheckStatus::Warn, "event-runs"));
    let failed = first(backlog(1, 1));
    assert_eq!(
        (failed.0, failed.1.as_str()),
        (CheckStatus::Fail, "event-runs")
    );
    assert!(
        failed
            .2
            .contains("routerctl plugin run event-to-remote-claim")
    );
}

#[test]
fn a_group_that_cannot_receive_fails() {
    let bind = first(|state| {
        let trouble = "cannot listen on 127.0.0.1:65433: in use".to_owned();
        state
            .troubles
            .insert("EventGroup/cloudedge".into(), trouble);
    });
    assert_eq!(
        (bind.0, bind.1.as_str()),
        (CheckStatus::Fail, "event-group")
    );
    let keyless = first(|state| state.has_key = false);
    assert_eq!(
        (keyless.0, keyless.1.as_str()),
        (CheckStatus::Fail, "event-group")
    );
}
