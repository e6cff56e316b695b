use api::status::{Phase, ResourceStatus};
use serde_json::json;

use super::status;
use crate::Effective;
use crate::observed::ArpConflict;
use crate::plan;
use crate::testing::*;

fn statuses(node: &mut Node, effective: &Effective) -> Vec<ResourceStatus> {
    let observed = node.look(&plan::query(effective));
    let plan = plan::plan(effective, &observed, &node.ledger);
    status(effective, &observed, &plan)
}

fn one(node: &mut Node, effective: &Effective, kind: &str) -> ResourceStatus {
    let all = statuses(node, effective);
    all.into_iter().find(|s| s.id.kind == kind).expect("listed")
}

#[test]
fn nothing_applied_yet_is_pending() {
    let mut node = Node::new(onprem_host());
    let claim = one(&mut node, &onprem(), "RemoteAddressClaim");
    assert_eq!(claim.phase, Phase::Pending);
    assert!(
        claim.message.starts_with("not applied: "),
        "{}",
        claim.message
    );
    assert!(claim.message.ends_with(" more"), "{}", claim.message);
}

#[test]
fn a_healthy_site_is_ready_and_shows_its_facts() {
    let mut node = healthy_onprem();
    let all = statuses(&mut node, &onprem());
    let lines = all
        .iter()
        .map(|s| format!("{} {:?} {}", s.id, s.phase, s.message));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "RemoteAddressClaim/claim-10-77-60-7 Ready 10.77.60.7 dev wg-hybrid metric 120",
            "WireGuardInterface/wg-hybrid Ready up, mtu 1440, 1 of 1 peers alive",
            "WireGuardPeer/other-site Ready latest handshake 10s ago",
        ]
    );
    let facts = &all[0].facts;
    assert_eq!(facts["captureInterface"], json!("ens21"));
    assert_eq!(facts["capture"], json!("proxy-arp"));
    assert_eq!(facts["mss"], json!(1400));
    let facts = &all[1].facts;
    assert_eq!(facts["driver"], json!("user-space"));
    assert_eq!(facts["underlayPMTU"], json!(1500));
    assert_eq!(facts["mtu"], json!(1440));
    assert_eq!(facts["listenPort"], json!(51820));
    assert!(facts["publicKey"].is_string());
    let facts = &all[2].facts;
    assert_eq!(facts["latestHandshake"], json!("10s"));
    assert_eq!(
        facts["allowedIPs"],
        json!(["10.77.60.7/32", "10.99.0.0/30"])
    );
}

#[test]
fn what_waits_says_for_what() {
    let mut node = Node::new(crate::fake::FakeKernel::new());
    let claim = one(&mut node, &cloud(), "RemoteAddressClaim");
    assert_eq!(claim.phase, Phase::Pending);
    assert!(
        claim
            .message
            .starts_with("no interface that is up has an address")
    );
}

#[test]
fn what_is_in_place_but_wrong_is_degraded() {
    let mut node = healthy_onprem();
    let peer = peer_of(&mut node);
    peer.handshake_age = None;
    let peer = one(&mut node, &onprem(), "WireGuardPeer");
    assert_eq!(
        (peer.phase, peer.message.as_str()),
        (Phase::Degraded, "no handshake yet")
    );

    let conflict = ArpConflict {
        ifname: name("ens21"),
        mac: [2, 0, 0, 0, 0, 9],
        age: 3,
    };
    node.kernel
        .host
        .arp_conflicts
        .insert(mobile("10.77.60.7"), conflict);
    let claim = one(&mut node, &onprem(), "RemoteAddressClaim");
    assert_eq!(claim.phase, Phase::Degraded);
    assert_eq!(
        claim.message,
        "02:00:00:00:00:09 answers ARP for it on ens21"
    );
}
