//! Plugins that a person runs: what they are told, what is taken of their word, what is recorded.

use super::bench::{Bench, OPEN, plan};
use crate::namespace::isolated;

/// Says what it was told, and proposes an action.
fn proposer(capabilities: &str) -> (String, String) {
    let plan = plan("ensure-forwarding-enabled", "nic");
    let program = format!(
        "#!/bin/sh
read -r request
echo careful >&2
printf %s \"$request\" > $OWN_DIR/request
echo '{{\"kind\": \"PluginResult\", \"status\": {{\"observedAt\": \"2026-05-31T01:00:00Z\", \"ttl\": \"5m\", \"actionPlans\": [{plan}]}}}}'
"
    );
    let resource = format!(
        "---
apiVersion: plugin.routerd.net/v1alpha1
kind: Plugin
metadata: {{name: proposer}}
spec:
  executable: EXECUTABLE
  env: {{OWN_DIR: OWN}}
  capabilities: [{capabilities}]
"
    );
    (program, resource)
}

fn apply(bench: &Bench, capabilities: &str) {
    let (program, resource) = proposer(capabilities);
    let executable = bench.program("proposer", &program);
    let resource = resource
        .replace("EXECUTABLE", &executable.display().to_string())
        .replace(
            "OWN_DIR: OWN",
            &format!("OWN_DIR: {}", bench.path("state/own").display()),
        );
    let policy = OPEN.replace("requireApproval: false", "requireApproval: true");
    bench.apply(&(bench.configuration(&policy, "10s") + &resource));
}

fn by_hand() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    apply(&bench, "observe.cloud");
    let said = bench.said(1, &["plugin", "run", "proposer"]);
    assert!(
        said.contains("its result has actionPlans, and it may not `propose.providerAction`"),
        "{said}"
    );
    assert!(bench.states().is_empty());
    // It looks at clouds: it is told of the profile, and of nothing else.
    let request = std::fs::read_to_string(bench.path("state/own/request")).expect("a request");
    let request: serde_json::Value = serde_json::from_str(&request).expect("JSON");
    let resources = request["spec"]["context"]["resources"]
        .as_array()
        .expect("resources")
        .len();
    assert_eq!(
        (resources, &request["spec"]["trigger"]["type"]),
        (1, &"manual".into())
    );

    apply(&bench, "propose.providerAction");
    taken(&bench);
    recorded(&bench);
    bench.daemon.stop();
}

fn taken(bench: &Bench) {
    let dry = bench.said(0, &["plugin", "run", "proposer", "--dry-run"]);
    assert!(
        dry.contains("actionPlans:") && !dry.contains("imported"),
        "{dry}"
    );
    assert!(bench.states().is_empty());
    let said = bench.said(0, &["plugin", "run", "proposer"]);
    assert!(said.contains("action 1: imported"), "{said}");
    let said = bench.said(0, &["plugin", "run", "proposer"]);
    assert!(said.contains("action 1: known already"), "{said}");
    let shown = bench.said(0, &["action", "show", "1"]);
    assert!(
        shown.contains("Proposed by: Plugin/proposer at "),
        "{shown}"
    );

    // An executor is not asked anything else, and what does not exist is said so.
    let said = bench.said(1, &["plugin", "run", "azure-executor"]);
    assert!(said.contains("executes provider actions"), "{said}");
    let said = bench.said(1, &["plugin", "run", "nobody"]);
    assert!(said.contains("there is no Plugin/nobody"), "{said}");
}

fn recorded(bench: &Bench) {
    let runs = bench.json(&["plugin", "runs", "proposer"]);
    let oks: Vec<_> = runs
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| run["ok"].clone())
        .collect();
    assert_eq!(oks, [true, true, true, false]);
    assert_eq!(runs[0]["stderr"], "careful\n");
    assert_eq!(
        runs[0]["sandbox"],
        "user nobody, no-new-privs, mount, pid, ipc, uts, net"
    );
    // A program that somebody else could replace is not run.
    let list = bench.said(0, &["plugin", "list"]);
    assert!(list.contains("proposer        ready"), "{list}");
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(bench.path("proposer"), open).expect("mode");
    let list = bench.said(0, &["plugin", "list"]);
    assert!(list.contains("is writable by others than root"), "{list}");
    let said = bench.said(1, &["plugin", "run", "proposer"]);
    assert!(said.contains("not started"), "{said}");
}

#[test]
fn a_plugin_run_by_hand_is_held_to_its_capabilities() {
    isolated(
        "actions::plugins::a_plugin_run_by_hand_is_held_to_its_capabilities",
        by_hand,
    );
}
