//! Deliveries arrive in the time that the group's `FederationSLO` gives them.

use api::federation::Outbox;
use api::time::Timestamp;

use super::federation;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::federation::intent::{ObjectiveIntent, PeerIntent};

pub(super) const CHECK: Entry = federation("event-delivery", check);

const LOOK: &str = "routerctl federation deliveries summary";

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(state) = &scene.runtime.federation else {
        return;
    };
    let intent = &scene.effective.federation;
    for group in intent.groups.keys() {
        let objective = intent.objective(group);
        for (name, peer) in intent.receivers(group) {
            match state.outboxes.get(name) {
                Some(outbox) => examine(peer, outbox, &objective, state.now, findings),
                None => {
                    let detail = "nobody has looked after its outbox yet";
                    findings.warn(&peer.owner, detail, "systemctl start routerd");
                }
            }
        }
    }
}

fn examine(
    peer: &PeerIntent,
    outbox: &Outbox,
    objective: &ObjectiveIntent,
    now: Timestamp,
    findings: &mut Findings,
) {
    let lag = outbox.oldest.map_or(0, |oldest| now.millis_since(oldest));
    let left = outbox.first_expiry.map(|expiry| expiry.millis_since(now));
    let why = outbox.error.as_deref().unwrap_or("no attempt failed");
    let waits = format!(
        "{} wait, the oldest for {} s; {} failures in a row: {why}",
        outbox.pending,
        lag / 1_000,
        outbox.failures
    );
    let remedy = remedy(peer, outbox);
    if outbox.pending > 0 && lag > objective.lag_fail {
        findings.fail(&peer.owner, waits, remedy);
    } else if outbox.pending > 0 && left.is_some_and(|left| left < objective.expires_soon) {
        let seconds = left.unwrap_or_default() / 1_000;
        findings.warn(
            &peer.owner,
            format!("{waits}; the first expires in {seconds} s"),
            remedy,
        );
    } else if (outbox.pending > 0 && lag > objective.lag_warn) || outbox.failures > 0 {
        findings.warn(&peer.owner, waits, remedy);
    } else if outbox.dead > 0 {
        let detail = format!("{} expired before it took them", outbox.dead);
        let remedy = "routerctl federation event deliveries --state dead";
        findings.warn(&peer.owner, detail, remedy);
    } else if outbox.refused > 0 {
        let detail = format!("it refused {} for good", outbox.refused);
        let remedy = "routerctl federation event deliveries --state refused";
        findings.warn(&peer.owner, detail, remedy);
    } else {
        let detail = format!("{} delivered, {} wait", outbox.delivered, outbox.pending);
        findings.pass(&peer.owner, detail);
    }
}

/// What the error points at.
fn remedy(peer: &PeerIntent, outbox: &Outbox) -> String {
    let error = outbox.error.as_deref().unwrap_or_default();
    if error.contains("answered 401") {
        let here = "routerctl get eventgroups";
        return format!(
            "{here}    # and write the key into this node's EventPeer at {}",
            peer.node
        );
    }
    if error.contains(" skew:") {
        return "timedatectl status    # on both nodes".to_owned();
    }
    match peer.endpoint {
        Some(endpoint) if !error.is_empty() => format!("ping -c 3 {}", endpoint.ip()),
        _ => LOOK.to_owned(),
    }
}
