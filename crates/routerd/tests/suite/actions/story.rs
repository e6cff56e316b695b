//! From a claim to a rollback, as an operator does it.

use super::bench::{Bench, OPEN};
use crate::daemon::until;
use crate::namespace::{examples, isolated, run};

const POLICY: &str = "
  enabled: true
  dryRunOnly: false
  requireApproval: true
  allowedProviders: [azure]
  allowedActions: [ensure-forwarding-enabled, assign-secondary-ip]
  allowedCIDRs: [10.77.60.0/24]
  maxActionsPerRun: 4
  allowUndo: true
";

/// The cloud router of the examples, with an executor.
fn configuration(bench: &Bench, policy: &str) -> String {
    let example = std::fs::read_to_string(examples().join("two-site-cloud.yaml")).expect("example");
    let keys = bench.path("keys").display().to_string();
    let example = example.replace("/var/lib/routerd/keys", &keys);
    // The example brings the profile.
    let executor = bench.configuration(policy, "10s");
    let executor = executor.split_once("---\n").expect("documents").1;
    format!("{example}---\n{executor}")
}

fn cloud_link() {
    run("ip link add eth0 type veth peer name eth0-peer");
    run("ip link set eth0 up");
    run("ip link set eth0-peer up");
    run("ip address add 10.77.60.4/24 dev eth0");
    run("ip route add default via 10.77.60.1");
}

/// What doctor says about the provider, a line a check.
fn provider_checks(bench: &Bench) -> String {
    let report = bench.json(&["doctor", "hybrid"]);
    let checks = report["checks"].as_array().expect("checks").iter();
    let lines = checks
        .filter(|check| check["code"] == "provider")
        .map(|check| {
            let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
            format!("{}: {}\n", text("status"), text("detail"))
        });
    lines.collect()
}

fn story() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    cloud_link();
    bench.daemon.start();
    bench.apply(&configuration(&bench, POLICY));
    proposed(&bench);
    executed(&bench);
    // A re-apply with something else changed leaves the executor its environment and its folder.
    let changed = POLICY.replace("maxActionsPerRun: 4", "maxActionsPerRun: 5");
    bench.apply(&configuration(&bench, &changed));
    bench.daemon.stop();
    bench.daemon.start();
    taken_back(&bench);
    bench.daemon.stop();
}

fn proposed(bench: &Bench) {
    // The claim asks for both, and nothing happens by itself.
    let list = bench.said(0, &["action", "list"]);
    assert!(list.contains("ensure-forwarding-enabled"), "{list}");
    assert!(list.contains("10.77.60.9 on ce-router-nic"), "{list}");
    assert_eq!(bench.states(), ["pending", "pending"]);
    let plan = bench.said(0, &["plan", "--in-force"]);
    assert!(
        plan.contains("action 1: ensure-forwarding-enabled ce-router-nic (azure-lab), pending: "),
        "{plan}"
    );
    assert!(bench.asked().is_empty());
    let preflight = bench.said(0, &["action", "preflight", "azure"]);
    assert!(preflight.contains("identity: lab"), "{preflight}");
    let dry = bench.said(0, &["action", "execute", "--dry-run"]);
    assert!(
        dry.contains("action 1 ensure-forwarding-enabled: pending, dry run"),
        "{dry}"
    );
    assert!(!bench.is_true("ipForwarding", "ce-router-nic"));

    let doctor = provider_checks(bench);
    assert!(doctor.contains("fail: the NIC may not forward"), "{doctor}");
}

fn executed(bench: &Bench) {
    // Approved by the one who calls, executed in order, with what was before.
    let approved = bench.said(0, &["action", "approve", "1", "2"]);
    assert!(approved.contains("action 1 ensure-forwarding-enabled: approved by root(0)"));
    let done = bench.said(0, &["action", "execute", "--approved"]);
    assert!(
        done.contains("action 1 ensure-forwarding-enabled: succeeded, execute: ipForwarding=true"),
        "{done}"
    );
    assert!(
        done.contains("action 2 assign-secondary-ip: succeeded"),
        "{done}"
    );
    let journal = bench.said(0, &["action", "journal"]);
    assert!(journal.contains("priorIpForwarding=false"), "{journal}");
    let shown = bench.said(0, &["action", "show", "1"]);
    assert!(shown.contains("Action ID: 1\n"), "{shown}");
    assert!(
        shown.contains("Prior facts: priorIpForwarding=false\n"),
        "{shown}"
    );
    let whole = bench.said(0, &["action", "journal", "--verify"]);
    assert!(whole.starts_with("whole: "), "{whole}");

    until("the last look is forgotten", || {
        let doctor = provider_checks(bench);
        doctor.contains("pass: the NIC may forward") && !doctor.contains("fail")
    });
}

fn taken_back(bench: &Bench) {
    // Back, the last one first.
    let dry = bench.said(0, &["action", "rollback", "--dry-run", "1"]);
    assert!(
        dry.contains("would restore priorIpForwarding=false (now ipForwarding=true)"),
        "{dry}"
    );
    let early = bench.said(1, &["action", "rollback", "--approved", "1"]);
    assert!(early.contains("needs-approval"), "{early}");
    bench.said(0, &["action", "approve", "--rollback", "1", "2"]);
    let wrong = bench.said(1, &["action", "rollback", "--approved", "1"]);
    assert!(wrong.contains("has to be rolled back first"), "{wrong}");
    let back = bench.said(0, &["action", "rollback", "--approved", "2", "1"]);
    assert!(
        back.contains("action 2 assign-secondary-ip: rolledBack"),
        "{back}"
    );
    assert!(
        back.find("action 2 assign-secondary-ip: rolledBack")
            .expect("there")
            < back
                .find("action 1 ensure-forwarding-enabled: rolledBack")
                .expect("there"),
        "{back}"
    );
    assert!(!bench.is_true("ipForwarding", "ce-router-nic"));
    assert!(!bench.is_true("assigned", "ce-router-nic"));

    // Once more, because somebody asks.
    assert_eq!(bench.states(), ["rolledBack", "rolledBack"]);
    bench.said(0, &["action", "import", "--again"]);
    assert_eq!(
        bench.states(),
        ["rolledBack", "rolledBack", "pending", "pending"]
    );
}

/// With a policy that asks for no approval the daemon does and undoes by itself what the configuration asks for.
fn by_itself() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    cloud_link();
    bench.daemon.start();
    let whole = configuration(&bench, OPEN);
    let (rest, claim) = whole
        .split_once("    - apiVersion: hybrid.routerd.net/v1alpha1\n      kind: RemoteAddressClaim")
        .expect("a claim");
    let (_, executor) = claim.split_once("---\n").expect("an executor");
    let without = format!("{rest}---\n{executor}");
    bench.apply(&whole);
    let states = |bench: &Bench, wanted: &[&str]| {
        until(&format!("{wanted:?}"), || bench.states() == wanted);
    };
    states(&bench, &["succeeded", "succeeded"]);
    assert!(bench.is_true("ipForwarding", "ce-router-nic"));
    // A restart changes nothing.
    bench.daemon.kill();
    bench.daemon.start();
    bench.apply(&whole);
    let before = bench.asked();
    bench.apply(&without);
    states(&bench, &["rolledBack", "rolledBack"]);
    let mut asked = bench.asked();
    let back = asked.split_off(before.len());
    assert_eq!(
        back,
        [
            "rollback assign-secondary-ip ce-router-nic",
            "rollback ensure-forwarding-enabled ce-router-nic"
        ]
    );
    bench.apply(&whole);
    states(
        &bench,
        &["rolledBack", "rolledBack", "succeeded", "succeeded"],
    );
    bench.daemon.stop();
}

#[test]
fn the_daemon_goes_on_by_itself() {
    isolated("actions::story::the_daemon_goes_on_by_itself", by_itself);
}

#[test]
fn from_a_claim_to_a_rollback() {
    isolated("actions::story::from_a_claim_to_a_rollback", story);
}
