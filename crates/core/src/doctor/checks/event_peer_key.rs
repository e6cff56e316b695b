//! What a peer sends can be believed: its public key is known.

use super::federation;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::federation::intent::{Auth, Transport};

pub(super) const CHECK: Entry = federation("event-peer-key", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let federation = &scene.effective.federation;
    for peer in federation.peers.values() {
        let Some(group) = federation.groups.get(&peer.group) else {
            continue;
        };
        let hears = group.listen.is_some() || group.transport != Transport::Direct;
        match (&group.auth, peer.keys.len()) {
            (Auth::Hmac(_), _) => findings.pass(&peer.owner, "signs with the group's secret"),
            (Auth::NodeKey, 0) if hears => {
                let detail = "it has no `publicKey`: whatever it sends is refused with 401";
                let remedy =
                    "routerctl get eventgroups    # there; write its key into `publicKey` here";
                findings.warn(&peer.owner, detail, remedy);
            }
            (Auth::NodeKey, 0) => findings.skip(&peer.owner, "nothing is received here"),
            (Auth::NodeKey, 1) => findings.pass(&peer.owner, "its key is known"),
            (Auth::NodeKey, _) => {
                findings.pass(
                    &peer.owner,
                    "two of its keys are believed while it changes them",
                );
            }
        }
    }
}
