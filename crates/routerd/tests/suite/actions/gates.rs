//! What must not happen: each line of a policy, each condition of a plan, each thing that has to be there.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::bench::{Bench, OPEN, plan};
use crate::daemon::until;
use crate::namespace::isolated;

/// `HH:MM` so many hours from now, UTC.
fn clock(hours: u64) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let minutes = since.expect("a time").as_secs() / 60 + hours * 60;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// The open policy with one line changed.
fn with(line: &str, instead: &str) -> String {
    assert!(OPEN.contains(line), "{line}");
    OPEN.replace(line, instead)
}

/// Policies that keep the action from being executed, and the code that says so.
fn closed() -> Vec<(&'static str, String)> {
    let window = format!(
        "maxActionsPerRun: 100\n  executionWindow: {{start: \"{}\", end: \"{}\"}}",
        clock(2),
        clock(3)
    );
    vec![
        ("policy-disabled", " {}\n".to_owned()),
        ("policy-disabled", with("enabled: true", "enabled: false")),
        ("provider-not-allowed", with("[azure]", "[aws]")),
        (
            "provider-ref-not-allowed",
            with("[azure]", "[azure]\n  allowedProviderRefs: [other]"),
        ),
        ("action-not-allowed", with(", assign-secondary-ip]", "]")),
        (
            "address-not-allowed",
            with("[azure]", "[azure]\n  allowedCIDRs: [10.0.0.0/24]"),
        ),
        (
            "dry-run-only",
            with("dryRunOnly: false", "dryRunOnly: true"),
        ),
        (
            "needs-approval",
            with("requireApproval: false", "requireApproval: true"),
        ),
        ("outside-window", with("maxActionsPerRun: 100", &window)),
        (
            "run-limit",
            with("maxActionsPerRun: 100", "maxActionsPerRun: 0"),
        ),
    ]
}

fn configuration(bench: &Bench, policy: &str) -> String {
    let other = "---
apiVersion: hybrid.routerd.net/v1alpha1
kind: CloudProviderProfile
metadata: {name: other}
spec: {provider: azure}
";
    bench.configuration(policy, "10s") + other
}

fn changes(bench: &Bench) -> usize {
    let asked = bench.asked();
    let changing = |line: &&String| line.starts_with("execute") || line.starts_with("rollback");
    asked.iter().filter(changing).count()
}

fn every_gate() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    let whole = configuration(&bench, OPEN);
    let (without_policy, _) = whole
        .split_once("---\napiVersion: hybrid.routerd.net/v1alpha1\nkind: ProviderActionPolicy")
        .expect("a policy");
    bench.apply(without_policy);
    bench.import("assign-secondary-ip", "nic");
    assert_eq!(bench.held(), "no-policy");
    bench.said(1, &["action", "execute", "--approved", "1"]);
    bench.said(1, &["action", "execute", "--dry-run", "1"]);
    assert!(bench.asked().is_empty(), "{:?}", bench.asked());
    for (code, policy) in closed() {
        bench.apply(&configuration(&bench, &policy));
        let said = bench.said(1, &["action", "execute", "--approved", "1"]);
        assert!(said.contains(&format!("({code})")), "{code}: {said}");
        assert_eq!(bench.held(), code);
        assert_eq!(changes(&bench), 0, "{code}: {:?}", bench.asked());
    }
    // Nothing but these lines was in the way.
    bench.apply(&configuration(&bench, OPEN));
    until("the daemon goes on by itself", || {
        bench.states() == ["succeeded"]
    });
    assert_eq!(changes(&bench), 1);

    bench.apply(&configuration(
        &bench,
        &with("allowUndo: true", "allowUndo: false"),
    ));
    let said = bench.said(1, &["action", "rollback", "--approved", "1"]);
    assert!(said.contains("(undo-not-allowed)"), "{said}");
    assert!(bench.is_true("assigned", "nic"));
    bench.daemon.stop();
}

fn conditions() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    bench.apply(&configuration(&bench, OPEN));
    let mut later = plan("ensure-forwarding-enabled", "later");
    later["preconditions"] = json!([{"type": "not-before", "at": "2199-01-01T00:00:00Z"}]);
    bench.import_plan(&later);
    assert_eq!(bench.held(), "precondition");
    let mut after = plan("ensure-forwarding-enabled", "after");
    after["preconditions"] = json!([{"type": "action-succeeded", "idempotencyKey": "nothing"}]);
    bench.import_plan(&after);
    let mut fact = plan("ensure-forwarding-enabled", "fact");
    fact["preconditions"] = json!([{"type": "fact", "name": "ipForwarding", "equals": "true"}]);
    bench.import_plan(&fact);
    let said = bench.said(1, &["action", "execute", "--approved", "3"]);
    assert!(
        said.contains("ipForwarding is to be true, observed false"),
        "{said}"
    );
    // What follows a decision that is not in force is given up.
    let mut fenced = plan("ensure-forwarding-enabled", "fenced");
    fenced["decision"] =
        json!({"subject": "10.77.60.9/32", "holder": "a", "signature": "x", "generation": 1});
    bench.import_plan(&fenced);
    until("it is given up", || bench.states()[3] == "skipped");
    let mut over = plan("ensure-forwarding-enabled", "over");
    over["preconditions"] = json!([{"type": "not-after", "at": "2001-01-01T00:00:00Z"}]);
    bench.import_plan(&over);
    until("it is given up", || bench.states()[4] == "skipped");
    assert_eq!(bench.states()[..3], ["pending", "pending", "pending"]);
    assert_eq!(changes(&bench), 0, "{:?}", bench.asked());
    bench.daemon.stop();
}

fn approval_waits_for_a_person() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    let policy = with("requireApproval: false", "requireApproval: true");
    bench.apply(&configuration(&bench, &policy));
    bench.import("ensure-forwarding-enabled", "nic");
    bench.said(0, &["action", "approve", "1"]);
    let again = bench.said(1, &["action", "approve", "1"]);
    assert!(again.contains("approved in state approved"), "{again}");
    bench.said(1, &["action", "approve", "7"]);
    // The daemon has seen the approval, and leaves it to whoever approved it.
    bench.said(0, &["action", "execute", "--dry-run", "1"]);
    assert_eq!(bench.states(), ["approved"]);
    assert_eq!(changes(&bench), 0);
    bench.said(0, &["action", "execute", "--approved"]);
    assert_eq!(
        (bench.states(), changes(&bench)),
        (vec!["succeeded".to_owned()], 1)
    );
    // Once more changes nothing.
    bench.import("ensure-forwarding-enabled", "nic");
    bench.said(0, &["action", "execute", "--approved", "1"]);
    assert_eq!(changes(&bench), 1);
    // Another target under the same key is refused.
    let mut other = plan("ensure-forwarding-enabled", "nic");
    other["target"]["nicRef"] = json!("other");
    std::fs::write(bench.path("plan.json"), other.to_string()).expect("written");
    let file = bench.path("plan.json").display().to_string();
    let refused = bench.said(2, &["action", "import", &file]);
    assert!(
        refused.contains("target differs from action 1"),
        "{refused}"
    );
    bench.daemon.stop();
}

#[test]
fn every_gate_holds() {
    isolated("actions::gates::every_gate_holds", every_gate);
}

#[test]
fn every_condition_holds() {
    isolated("actions::gates::every_condition_holds", conditions);
}

#[test]
fn what_is_approved_waits_for_a_person() {
    isolated(
        "actions::gates::what_is_approved_waits_for_a_person",
        approval_waits_for_a_person,
    );
}
