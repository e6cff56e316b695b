//! Each gate alone: everything passes, one thing is closed, and the refusal is that gate's own.

use api::action::journal::State;
use api::action::plan::{Decision, Undo, Verb};
use api::action::protocol::Mode;
use serde_json::json;

use super::lab::{Lab, assign, forwarding, needs, person};
use crate::action::policy::{Policy, TimeOfDay, Window};
use crate::action::{Next, Run};

const NIC: &str = "/nics/a";

/// A lab with one action that would go on if nothing were closed.
fn ready() -> (Lab, u64) {
    let mut lab = Lab::default();
    let id = lab.import(&assign(NIC, "10.77.60.9"));
    assert_eq!(lab.held(id), None);
    (lab, id)
}

fn refused(close: impl FnOnce(&mut Policy)) -> String {
    let (mut lab, id) = ready();
    close(lab.policy());
    let code = lab.held(id).expect("the gate is closed");
    for mut run in [lab.execute(&[]), lab.execute(&[id]), Run::automatic()] {
        assert_eq!(run.next(&lab.book, lab.world()), Next::Nothing, "{code}");
    }
    code
}

#[test]
fn the_default_policy_executes_nothing() {
    assert_eq!(
        refused(|policy| *policy = Policy::default()),
        "policy-disabled"
    );
    let mut lab = Lab::default();
    lab.policies.insert("live".to_owned(), Policy::default());
    let id = lab.import(&assign(NIC, "10.77.60.9"));
    lab.approve(id, false);
    for mut run in [
        lab.execute(&[]),
        lab.rollback(&[]),
        Run::execute([id], true, person()),
        Run::automatic(),
    ] {
        assert_eq!(run.next(&lab.book, lab.world()), Next::Nothing);
    }
}

#[test]
fn without_a_policy_nothing_is_executed() {
    let (mut lab, id) = ready();
    lab.policies.clear();
    assert_eq!(lab.held(id).as_deref(), Some("no-policy"));
}

#[test]
fn enabled() {
    assert_eq!(refused(|policy| policy.enabled = false), "policy-disabled");
}

#[test]
fn dry_run_only_lets_a_dry_run_pass() {
    assert_eq!(refused(|policy| policy.dry_run_only = true), "dry-run-only");
    let (mut lab, id) = ready();
    lab.policy().dry_run_only = true;
    let started = lab.drive(Run::execute([id], true, person()));
    assert_eq!(started, [(id, Mode::DryRun)]);
    assert_eq!(lab.state(id), State::Pending);
    assert!(lab.cloud.assigned.is_empty());
}

#[test]
fn require_approval() {
    assert_eq!(
        refused(|policy| policy.require_approval = true),
        "needs-approval"
    );
    let (mut lab, id) = ready();
    lab.policy().require_approval = true;
    lab.approve(id, false);
    // What a person approved, a person starts.
    assert_eq!(lab.drive(Run::automatic()), []);
    lab.drive(lab.execute(&[id]));
    assert_eq!(lab.state(id), State::Succeeded);
    assert_eq!(lab.get(id).approved_by, Some(person()));
}

#[test]
fn a_rollback_needs_its_own_approval() {
    let (mut lab, id) = ready();
    lab.drive(lab.execute(&[id]));
    lab.policy().require_approval = true;
    assert_eq!(lab.held_rollback(id).as_deref(), Some("needs-approval"));
    lab.approve(id, true);
    lab.drive(lab.rollback(&[id]));
    assert_eq!(lab.state(id), State::RolledBack);
}

#[test]
fn allowed_providers() {
    let other = "aws".parse().expect("a provider");
    assert_eq!(
        refused(|policy| policy.allowed_providers = [other].into()),
        "provider-not-allowed"
    );
    assert_eq!(
        refused(|policy| policy.allowed_providers.clear()),
        "provider-not-allowed"
    );
}

#[test]
fn allowed_provider_refs() {
    let refs = ["other".to_owned()];
    assert_eq!(
        refused(|policy| policy.allowed_provider_refs = refs.into()),
        "provider-ref-not-allowed"
    );
    let (mut lab, id) = ready();
    lab.policy().allowed_provider_refs = ["main".to_owned()].into();
    assert_eq!(lab.held(id), None);
}

#[test]
fn allowed_actions() {
    let only = [Verb::EnsureRoute];
    assert_eq!(
        refused(|policy| policy.allowed_actions = only.into()),
        "action-not-allowed"
    );
    assert_eq!(
        refused(|policy| policy.allowed_actions.clear()),
        "action-not-allowed"
    );
    let read: Policy =
        serde_json::from_value(json!({"allowedActions": ["assign-route-table-route"]}))
            .expect("the older name");
    assert_eq!(read.allowed_actions, only.into());
}

#[test]
fn allowed_cidrs() {
    let outside = ["10.88.0.0/16".parse().expect("a prefix")];
    assert_eq!(
        refused(|policy| policy.allowed_cidrs = outside.into()),
        "address-not-allowed"
    );
    let (mut lab, id) = ready();
    lab.policy().allowed_cidrs = ["10.77.60.8/30".parse().expect("a prefix")].into();
    assert_eq!(lab.held(id), None);
}

#[test]
fn max_actions_per_run() {
    assert_eq!(
        refused(|policy| policy.max_actions_per_run = 0),
        "run-limit"
    );
    let mut lab = Lab::default();
    lab.policy().max_actions_per_run = 2;
    for host in 1..=3 {
        lab.import(&assign(NIC, &format!("10.77.60.{host}")));
    }
    lab.drive(lab.execute(&[]));
    let states = |lab: &Lab| {
        lab.book
            .actions()
            .map(|action| action.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states(&lab),
        [State::Succeeded, State::Succeeded, State::Pending]
    );
    lab.drive(lab.execute(&[]));
    assert_eq!(states(&lab), [State::Succeeded; 3]);
}

#[test]
fn allow_undo() {
    let (mut lab, id) = ready();
    lab.drive(lab.execute(&[id]));
    assert_eq!(lab.held_rollback(id), None);
    lab.policy().allow_undo = false;
    assert_eq!(lab.held_rollback(id).as_deref(), Some("undo-not-allowed"));
    assert_eq!(lab.drive(lab.rollback(&[id])), []);
    assert_eq!(lab.drive(Run::rollback([id], true, person())), []);
}

#[test]
fn a_rollback_passes_the_same_gates() {
    type Close = fn(&mut Policy);
    let close: [(Close, &str); 5] = [
        (|policy| policy.enabled = false, "policy-disabled"),
        (|policy| policy.dry_run_only = true, "dry-run-only"),
        (
            |policy| policy.allowed_actions.clear(),
            "action-not-allowed",
        ),
        (|policy| policy.max_actions_per_run = 0, "run-limit"),
        (
            |policy| policy.execution_window = Some(window("02:00", "03:00", &[])),
            "outside-window",
        ),
    ];
    for (close, code) in close {
        let (mut lab, id) = ready();
        lab.drive(lab.execute(&[id]));
        close(lab.policy());
        assert_eq!(lab.held_rollback(id).as_deref(), Some(code));
        assert_eq!(lab.drive(lab.rollback(&[id])), [], "{code}");
    }
}

fn window(start: &str, end: &str, days: &[&str]) -> Window {
    serde_json::from_value(json!({"start": start, "end": end, "days": days})).expect("a window")
}

#[test]
fn execution_window() {
    // The lab's clock stands at 01:00 on a Sunday.
    for shut in [
        window("02:00", "03:00", &[]),
        window("00:30", "01:00", &[]),
        window("00:00", "02:00", &["mon"]),
    ] {
        assert_eq!(
            refused(|policy| policy.execution_window = Some(shut)),
            "outside-window"
        );
    }
    for open in [
        window("01:00", "02:00", &["sun"]),
        window("22:00", "02:00", &["sat"]),
        window("22:00", "01:01", &[]),
        window("00:00", "00:00", &["sun"]),
    ] {
        let (mut lab, id) = ready();
        lab.policy().execution_window = Some(open.clone());
        assert_eq!(lab.held(id), None, "{open}");
    }
    let (mut lab, id) = ready();
    lab.policy().execution_window = Some(window("22:00", "02:00", &["sun"]));
    assert_eq!(lab.held(id).as_deref(), Some("outside-window"));
}

#[test]
fn times_of_day() {
    assert_eq!(
        "23:59".parse::<TimeOfDay>().expect("a time").to_string(),
        "23:59"
    );
    for bad in ["24:00", "1:00", "01:60", "0100", "01:00:00", "+1:00", ""] {
        assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
    }
}

#[test]
fn one_policy_that_admits_is_enough_and_the_nearest_miss_is_named() {
    let (mut lab, id) = ready();
    lab.policies
        .insert("a-closed".to_owned(), Policy::default());
    assert_eq!(lab.held(id), None);
    lab.policy().require_approval = true;
    let held = lab
        .execute(&[])
        .held(&lab.book, lab.world(), lab.get(id))
        .expect("held");
    assert!(
        held.reason.starts_with("ProviderActionPolicy/live: "),
        "{}",
        held.reason
    );
    assert_eq!(held.hint.as_deref(), Some("routerctl action approve 1"));
}

#[test]
fn preconditions_hold_back_until_they_hold() {
    let mut lab = Lab::default();
    let late = lab.import(&needs(
        assign(NIC, "10.0.0.1"),
        json!({"type": "not-before", "at": "2026-05-31T02:00:00Z"}),
    ));
    let after = lab.import(&needs(
        assign(NIC, "10.0.0.2"),
        json!({"type": "action-succeeded", "idempotencyKey": "first"}),
    ));
    assert_eq!(lab.held(late).as_deref(), Some("precondition"));
    assert_eq!(lab.held(after).as_deref(), Some("precondition"));
    let mut first = assign(NIC, "10.0.0.3");
    first.idempotency_key = "first".to_owned();
    let first = lab.import(&first);
    assert_eq!(lab.held(after).as_deref(), Some("precondition"));
    lab.drive(lab.execute(&[first]));
    assert_eq!(lab.held(after), None);
    lab.now = "2026-05-31T02:00:00Z".parse().expect("a point in time");
    assert_eq!(lab.held(late), None);
}

#[test]
fn a_fact_is_checked_before_the_first_change() {
    let mut lab = Lab::default();
    let plan = needs(
        assign(NIC, "10.0.0.1"),
        json!({"type": "fact", "name": "assigned", "equals": "true"}),
    );
    let id = lab.import(&plan);
    assert_eq!(lab.drive(lab.execute(&[id])), [(id, Mode::Observe)]);
    assert_eq!(lab.state(id), State::Pending);
    lab.cloud
        .assigned
        .insert((NIC.to_owned(), "10.0.0.1/32".to_owned()));
    assert_eq!(
        lab.drive(lab.execute(&[id])),
        [(id, Mode::Observe), (id, Mode::Execute)]
    );
}

#[test]
fn too_late_is_skipped() {
    let mut lab = Lab::default();
    let id = lab.import(&needs(
        assign(NIC, "10.0.0.1"),
        json!({"type": "not-after", "at": "2026-05-31T00:59:59Z"}),
    ));
    assert_eq!(lab.drive(lab.execute(&[])), []);
    assert_eq!(lab.state(id), State::Skipped);
}

#[test]
fn a_changed_decision_fences() {
    let decision = |holder: &str, generation| Decision {
        subject: "10.0.0.1/32".to_owned(),
        holder: holder.to_owned(),
        signature: "s".to_owned(),
        generation,
    };
    let mut lab = Lab::default();
    let mut plan = assign(NIC, "10.0.0.1");
    plan.decision = Some(decision("us", 1));
    lab.decisions
        .insert("10.0.0.1/32".to_owned(), decision("us", 1));
    let id = lab.import(&plan);
    assert_eq!(lab.held(id), None);
    lab.decisions
        .insert("10.0.0.1/32".to_owned(), decision("them", 2));
    assert_eq!(lab.held(id).as_deref(), Some("fenced"));
    assert_eq!(lab.drive(lab.execute(&[])), []);
    assert_eq!(lab.state(id), State::Skipped);
    assert!(lab.cloud.assigned.is_empty());
}

#[test]
fn a_profile_and_an_executor_are_needed() {
    let (mut lab, id) = ready();
    lab.executors.clear();
    assert_eq!(lab.held(id).as_deref(), Some("no-executor"));
    lab.profiles
        .insert("main".to_owned(), "aws".parse().expect("a provider"));
    assert_eq!(lab.held(id).as_deref(), Some("other-provider"));
    lab.profiles.clear();
    assert_eq!(lab.held(id).as_deref(), Some("no-profile"));
}

#[test]
fn what_cannot_be_taken_back_is_not() {
    let mut lab = Lab::default();
    let mut plan = forwarding(NIC);
    plan.undo = Undo::None;
    let id = lab.import(&plan);
    lab.drive(lab.execute(&[]));
    assert_eq!(lab.held_rollback(id).as_deref(), Some("undo-none"));
    let untouched = lab.import(&assign(NIC, "10.0.0.1"));
    assert_eq!(
        lab.held_rollback(untouched).as_deref(),
        Some("nothing-to-undo")
    );
}
