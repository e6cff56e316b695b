//! One fault each on the two healthy sites of the seeds: the first line names it.

mod bgp;
mod federation;
mod firewall;
mod overlay;
mod path;
mod provider;

use std::collections::BTreeSet;
use std::path::Path;

use api::doctor::{CheckStatus, Report};
use proptest::prelude::*;

use super::checks::CHECKS;
use super::{Runtime, doctor, query};
use crate::Effective;
use crate::key::SecretKey;
use crate::observed::*;
use crate::plan;
use crate::plan::tests::random;
use crate::testing::*;

fn running() -> Runtime {
    Runtime {
        daemon: true,
        generation: Some(1),
        last_error: None,
        providers: Default::default(),
        federation: None,
        journal_fault: None,
        dynamic: Default::default(),
        speaker: None,
        rivals: Vec::new(),
    }
}

fn examine(node: &mut Node, effective: &Effective, area: Option<&str>) -> Report {
    let observed = node.look(&query(effective));
    let plan = plan::plan(effective, &observed, &node.ledger);
    doctor(area, effective, &observed, &plan, &running())
}

/// The same with more known about routerd itself.
fn examine_with(node: &mut Node, effective: &Effective, area: &str, runtime: &Runtime) -> Report {
    let observed = node.look(&query(effective));
    let plan = plan::plan(effective, &observed, &node.ledger);
    doctor(Some(area), effective, &observed, &plan, runtime)
}

/// A host whose firewall was read and holds nothing.
fn open_firewall(mut node: Node) -> Node {
    node.kernel.host.firewall = Some(Firewall::default());
    node.kernel.host.clock = Some(KernelClock {
        synchronised: true,
        max_error_ms: 12,
    });
    node
}

fn site_onprem() -> (Node, Effective) {
    (open_firewall(healthy_onprem()), onprem())
}

fn site_cloud() -> (Node, Effective) {
    (open_firewall(healthy_cloud()), cloud())
}

fn lines(report: &Report) -> Vec<String> {
    report.checks.iter().map(ToString::to_string).collect()
}

/// Everything that is wrong, in order.
fn faults(report: &Report) -> Vec<String> {
    let bad = |status| matches!(status, CheckStatus::Fail | CheckStatus::Warn);
    let faults = report.checks.iter().filter(|check| bad(check.status));
    faults.map(ToString::to_string).collect()
}

#[test]
fn a_healthy_cloud_site_prints_what_the_seeds_show() {
    let (mut node, effective) = site_cloud();
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(
        report.summary.to_string(),
        "overall=pass warn=0 fail=0 skip=1"
    );
    let own = SecretKey::from_bytes([101; 32]).public_key();
    let expected = [
        "skip provider provider: nothing is asked of a provider here",
        "pass overlay-interface WireGuardInterface/wg-hybrid: wg-hybrid is up, mtu 1440, driver user-space",
        &*format!("pass overlay-key WireGuardInterface/wg-hybrid: public key {own}"),
        "pass overlay-endpoint WireGuardPeer/other-site: 192.0.2.9:51820 dev eth0, path mtu 1500",
        "pass stale-table tables: no table routerd_* of a dead instance",
        "pass firewall-overlay WireGuardInterface/wg-hybrid: UDP port 51820 is not closed",
        "pass peer-handshake WireGuardPeer/other-site: latest handshake 10s ago",
        &*format!(
            "pass allowed-ips RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/32 goes to peer {}",
            peer_key(7)
        ),
        "pass capture-interface RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/32 is captured on eth0",
        "pass captured-address RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/32 absent from local interfaces",
        "pass delivery-route RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9 dev wg-hybrid metric 120",
        "pass route-choice RemoteAddressClaim/claim-10-77-60-9: the kernel sends 10.77.60.9/32 to wg-hybrid",
        "pass return-route wg-hybrid -> eth0: 10.77.60.0/24 leaves by eth0",
        "pass forwarding eth0: what comes in by eth0 is forwarded",
        "pass forwarding wg-hybrid: what comes in by wg-hybrid is forwarded",
        "pass firewall-forward eth0 <-> wg-hybrid: no rule ends the way of forwarded packets",
        "pass nat eth0 <-> wg-hybrid: no rule rewrites source or destination",
        "pass rp-filter eth0: not strict: 0",
        "pass rp-filter wg-hybrid: not strict: 0",
        "pass mss-clamp eth0 -> wg-hybrid: routerd_mss covers eth0 -> wg-hybrid",
        "pass path-mtu WireGuardInterface/wg-hybrid: mtu 1440, underlay carries 1500",
        "pass redirects eth0: no redirects are sent",
        "pass default-route default route: not through a tunnel: via 10.77.60.1 dev eth0",
        "pass clock-skew clock: the kernel's clock is kept in step, to 12 ms",
    ];
    assert_eq!(lines(&report), expected);
}

#[test]
fn a_healthy_on_prem_site_passes_everything() {
    let (mut node, effective) = site_onprem();
    for area in [Some("hybrid"), None] {
        let report = examine(&mut node, &effective, area);
        assert_eq!(faults(&report), Vec::<String>::new());
        assert_eq!(report.summary.skip, 1);
    }
    let report = examine(&mut node, &effective, None);
    let ran: BTreeSet<_> = report
        .checks
        .iter()
        .map(|check| check.code.as_str())
        .collect();
    // These sites have no speaker, no event group and no dynamic part, which is nothing to speak of.
    let all = CHECKS.iter();
    let all = all.filter(|check| !["bgp", "dynamic", "federation"].contains(&check.area));
    let all: BTreeSet<_> = all.map(|check| check.code).collect();
    assert_eq!(ran, all, "every check says something about a healthy site");
}

/// Harms a healthy site and compares everything that doctor finds wrong.
fn fault(site: (Node, Effective), harm: impl FnOnce(&mut Node, &mut Effective), expected: &[&str]) {
    let (mut node, mut effective) = site;
    harm(&mut node, &mut effective);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(faults(&report), expected);
}

#[test]
fn routerd_itself() {
    let (mut node, effective) = site_cloud();
    node.kernel.host.proxy_neighbours.clear();
    node.kernel.host.routes.retain(|route| route.protocol != 82);
    let observed = node.look(&query(&effective));
    let plan = plan::plan(&effective, &observed, &node.ledger);
    let dead = Runtime::default();
    let report = doctor(None, &effective, &observed, &plan, &dead);
    let codes = report.checks.iter().map(|check| check.code.as_str());
    let codes: Vec<_> = codes.take(4).collect();
    assert_eq!(codes, ["delivery-route", "daemon", "generation", "drift"]);
    let failing = Runtime {
        last_error: Some("add route: Operation not permitted".to_owned()),
        ..running()
    };
    let report = doctor(Some("runtime"), &effective, &observed, &plan, &failing);
    assert_eq!(report.checks[0].code, "reconcile");
    let edited = Runtime {
        journal_fault: Some("row 3 is not as it was written".to_owned()),
        ..running()
    };
    let report = doctor(Some("runtime"), &effective, &observed, &plan, &edited);
    assert_eq!(report.checks[0].code, "action-journal");
    assert_eq!(report.checks[0].status, CheckStatus::Fail);
}

#[test]
fn many_alike_are_one_line() {
    let mut effective = onprem();
    for i in 20..40 {
        claim(&mut effective, &format!("10.77.60.{i}"), proxy_arp());
    }
    let mut node = Node::new(onprem_host());
    node.settle(&effective);
    peer_of(&mut node).handshake_age = Some(1);
    let mut node = open_firewall(node);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(faults(&report), Vec::<String>::new());
    let routes = lines(&report)
        .into_iter()
        .filter(|line| line.contains("delivery-route"));
    assert_eq!(
        routes.collect::<Vec<_>>(),
        ["pass delivery-route wg-hybrid: 10.77.60.7 dev wg-hybrid metric 120 and 20 more"]
    );
    node.kernel.host.routes.retain(|route| route.protocol != 82);
    let faults = faults(&examine(&mut node, &effective, Some("hybrid")));
    assert_eq!(faults.len(), 6, "{faults:#?}");
    assert!(faults[5].starts_with("fail delivery-route wg-hybrid: and 16 more like these"));
}

#[test]
fn nothing_configured_is_healthy() {
    let (mut node, _) = site_cloud();
    let effective = Effective::default();
    node.settle(&effective);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(
        report.summary.to_string(),
        "overall=pass warn=0 fail=0 skip=1"
    );
}

#[test]
fn every_code_has_its_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor");
    let mut pages = BTreeSet::new();
    for check in CHECKS {
        let file = docs.join(format!("{}.md", check.code));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for part in [
            &*format!("# {}\n", check.code),
            "## What it means\n",
            "## How it happens\n",
            "## How to fix it\n",
        ] {
            assert!(text.contains(part), "{} lacks {part:?}", file.display());
        }
        pages.insert(file);
    }
    assert_eq!(pages.len(), CHECKS.len(), "codes are unique");
    for entry in std::fs::read_dir(docs).expect("docs/doctor") {
        let path = entry.expect("entry").path();
        let known = path.ends_with("README.md")
            || pages
                .iter()
                .any(|page| page.file_name() == path.file_name());
        assert!(known, "{} is the page of no check", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn doctor_never_panics_and_every_fault_has_a_remedy(
        kernel in random::host(true),
        effective in random::effective(),
    ) {
        let mut node = Node::new(kernel);
        for _ in 0..2 {
            let report = examine(&mut node, &effective, None);
            for check in &report.checks {
                let wrong = matches!(check.status, CheckStatus::Fail | CheckStatus::Warn);
                prop_assert_eq!(wrong, check.remedy.is_some());
            }
            node.settle(&effective);
        }
    }
}
