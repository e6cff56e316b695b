//! What a cloud has against what is asked of it, and whose clock is right.

use std::time::Duration;

use api::action::plan::Facts;
use api::action::protocol::Effect;
use api::plugin::Capability;

use super::{examine_with, faults, lines, running, site_cloud};
use crate::Effective;
use crate::action::{Book, intents};
use crate::doctor::{Answer, Looked, Runtime};
use crate::effective::{CaptureMethod, Declared, PluginIntent};
use crate::observed::KernelClock;
use crate::testing::*;

const NIC: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/ce-router-nic";

/// The cloud site with a profile, asking for forwarding and one address.
fn with_profile(executor: bool) -> Effective {
    let mut effective = cloud();
    let profile = id("CloudProviderProfile", "azure-lab");
    let declared = Declared {
        api_version: "hybrid.routerd.net/v1alpha1".to_owned(),
        labels: Default::default(),
        annotations: Default::default(),
        spec: serde_json::json!({"provider": "azure"}),
        place: None,
    };
    effective.resources.insert(profile.clone(), declared);
    for capture in effective.captures.values_mut() {
        capture.method = CaptureMethod::ProviderSecondaryIp {
            provider: Some(profile.clone()),
            nic_ref: Some(NIC.to_owned()),
        };
    }
    if executor {
        let plugin = PluginIntent {
            owner: id("Plugin", "azure-executor"),
            executable: "/usr/local/libexec/routerd/azure-provider-executor".into(),
            timeout: Duration::from_secs(120),
            env: Default::default(),
            capabilities: [Capability::ExecuteProviderAction].into(),
            context: Default::default(),
            user: None,
            sandbox: true,
        };
        effective
            .plugins
            .insert("azure-executor".to_owned(), plugin);
    }
    effective
}

/// Every intent answered alike.
fn answered(effective: &Effective, said: Result<Looked, String>) -> Runtime {
    let plans = intents(effective, "", &Book::default(), false).plans;
    let answer = Answer { age: 3, said };
    let providers = plans
        .into_iter()
        .map(|plan| (plan.idempotency_key, answer.clone()));
    Runtime {
        providers: providers.collect(),
        ..running()
    }
}

fn looked(effect: Effect, facts: &[(&str, &str)], clock_offset: Option<i64>) -> Looked {
    let mut all = Facts::default();
    for (name, value) in facts {
        all.set(name, value);
    }
    Looked {
        effect,
        facts: all,
        clock_offset,
    }
}

fn provider_lines(effective: &Effective, runtime: &Runtime) -> Vec<String> {
    let (mut node, _) = site_cloud();
    let report = examine_with(&mut node, effective, "hybrid", runtime);
    let about = |line: &String| line.split(' ').nth(1) == Some("provider");
    lines(&report).into_iter().filter(about).collect()
}

#[test]
fn what_the_cloud_has_passes_in_one_line() {
    let effective = with_profile(true);
    let present = looked(Effect::Present, &[("ipForwarding", "true")], None);
    assert_eq!(
        provider_lines(&effective, &answered(&effective, Ok(present))),
        [
            "pass provider CloudProviderProfile/azure-lab: the NIC may forward, seen 3s ago and 1 more"
        ]
    );
}

#[test]
fn what_the_cloud_lacks_fails_with_what_it_has_instead() {
    let effective = with_profile(true);
    let representation = format!("{{\"id\": \"{}\"}}", "x".repeat(500));
    let facts = [("ipForwarding", "false"), ("ipConfig", &*representation)];
    let absent = looked(Effect::Absent, &facts, None);
    assert_eq!(
        provider_lines(&effective, &answered(&effective, Ok(absent))),
        [
            "fail provider CloudProviderProfile/azure-lab: the NIC may not forward (ipForwarding=false), seen 3s ago\
             \n     fix: routerctl action list",
            "fail provider RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9 is not assigned to the NIC \
             (ipForwarding=false), seen 3s ago\n     fix: routerctl action list",
        ]
    );
    let half = looked(Effect::Partial, &[], None);
    let lines = provider_lines(&effective, &answered(&effective, Ok(half)));
    assert!(
        lines[1].contains("a change of 10.77.60.9 stopped half-way"),
        "{lines:?}"
    );
}

#[test]
fn an_executor_that_cannot_look_is_a_warning() {
    let effective = with_profile(true);
    let refused = Err("authorization: networkInterfaces/read is missing".to_owned());
    let (mut node, _) = site_cloud();
    let report = examine_with(
        &mut node,
        &effective,
        "hybrid",
        &answered(&effective, refused),
    );
    assert_eq!(
        report.summary.to_string(),
        "overall=pass warn=2 fail=0 skip=0"
    );
    assert!(faults(&report)[0].ends_with("fix: routerctl action preflight azure-lab"));
}

#[test]
fn silence_is_skipped_with_its_reason() {
    let one = |effective: &Effective, runtime: &Runtime| {
        let mut lines = provider_lines(effective, runtime);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    };
    let without = one(&with_profile(false), &running());
    assert!(without.contains("no Plugin/azure-executor"), "{without}");
    let quiet = one(&with_profile(true), &running());
    assert!(
        quiet.contains("azure-executor has not answered for 2"),
        "{quiet}"
    );
    let down = Runtime {
        daemon: false,
        ..running()
    };
    let down = one(&with_profile(true), &down);
    assert!(down.contains("the daemon is down"), "{down}");
}

#[test]
fn the_clock_is_compared_with_the_clouds() {
    let effective = with_profile(true);
    let line = |offset| {
        let present = looked(Effect::Present, &[], Some(offset));
        let (mut node, _) = site_cloud();
        let runtime = answered(&effective, Ok(present));
        let report = examine_with(&mut node, &effective, "hybrid", &runtime);
        let check = report
            .checks
            .iter()
            .find(|check| check.code == "clock-skew");
        check.map(|check| format!("{} {}", check.status, check.detail))
    };
    for (offset, expected) in [
        (0, "pass as the provider's clock"),
        (-9, "pass 9s ahead of the provider's clock"),
        (10, "warn 10s behind the provider's clock"),
        (-300, "fail 300s ahead of the provider's clock"),
    ] {
        assert_eq!(line(offset).as_deref(), Some(expected));
    }
}

#[test]
fn a_clock_that_nobody_can_compare_is_no_finding() {
    let (mut node, effective) = site_cloud();
    let clock = KernelClock {
        synchronised: false,
        max_error_ms: 16_000,
    };
    for clock in [Some(clock), None] {
        node.kernel.host.clock = clock;
        let report = examine_with(&mut node, &effective, "hybrid", &running());
        let check = report
            .checks
            .iter()
            .find(|check| check.code == "clock-skew");
        assert_eq!(
            check.map(|c| c.status),
            Some(api::doctor::CheckStatus::Skip)
        );
    }
}
