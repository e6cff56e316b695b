//! Every event of this node that a peer's filters admit is in that peer's outbox.

use super::federation;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = federation("event-missing", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(state) = &scene.runtime.federation else {
        return;
    };
    for (name, missing) in &state.missing {
        let Some(peer) = scene.effective.federation.peers.get(name) else {
            continue;
        };
        if *missing == 0 {
            findings.pass(&peer.owner, "all that its filters admit is in its outbox");
            continue;
        }
        let detail = format!("{missing} events that its filters admit are not in its outbox");
        let remedy = if scene.runtime.daemon {
            "systemctl restart routerd"
        } else {
            "systemctl start routerd    # the daemon fills outboxes"
        };
        findings.fail(&peer.owner, detail, remedy);
    }
}
