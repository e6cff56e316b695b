//! Watched paths are up, and no living peer is taken for dead.

use super::bgp;
use crate::bgp::BfdView;
use crate::doctor::findings::{Entry, Findings, Tally, Thing};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = bgp("bgp-bfd", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let (Some(intent), Some(view)) = (&scene.effective.bgp, &scene.runtime.speaker) else {
        return;
    };
    let mut tally = Tally::default();
    for session in &view.bfd {
        // A peer without a session is said to be so already, whatever its path is like.
        if findings.is_broken(&Thing::Peer(session.peer)) {
            continue;
        }
        let subject = format!("BFD {}", session.peer);
        if let Some(why) = &session.failure {
            tally.fail(
                findings,
                subject,
                why,
                format!("ip route get {}", session.peer),
            );
        } else if session.state != "up" {
            let (detail, remedy) = silent(session);
            tally.fail(findings, subject, detail, remedy);
        } else if session.patience > 1 || session.false_alarms > 0 {
            let detail = format!(
                "{} false alarms: intervals are {} times as long as asked for, detection takes {:?}",
                session.false_alarms, session.patience, session.detection_time
            );
            let remedy = "uptime    # here and there: too busy? else longer intervals in `bfd`";
            findings.warn(subject, detail, remedy);
        } else {
            let detail = format!("{}, detects in {:?}", session.scope, session.detection_time);
            tally.pass(subject, detail);
        }
    }
    tally.finish(findings, &intent.owner);
    if let Some(scheduling) = &view.bfd_scheduling
        && !scheduling.starts_with("real-time")
    {
        let detail = format!("BFD runs like other programs, and may be late: {scheduling}");
        let remedy = "systemctl show routerd -p RestrictRealtime -p CapabilityBoundingSet";
        findings.warn(&intent.owner, detail, remedy);
    }
}

fn silent(session: &BfdView) -> (String, String) {
    let peer = session.peer;
    let port = if session.scope == "multihop" {
        4784
    } else {
        3784
    };
    match session.remote_state.as_str() {
        "admin-down" => (
            "the peer holds it down".to_owned(),
            "routerctl get bgp bfd    # and the peer's own configuration of BFD".to_owned(),
        ),
        _ => (
            format!(
                "{}: {}; nothing is heard on UDP port {port}",
                session.state, session.diagnostic
            ),
            format!("tcpdump -c 5 -ni any host {peer} and udp port {port}"),
        ),
    }
}
