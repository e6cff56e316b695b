//! A group receives: its listener has its address, its NATS server answers, its node has a key.

use super::federation;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::federation::intent::{Auth, Transport};

pub(super) const CHECK: Entry = federation("event-group", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(state) = &scene.runtime.federation else {
        return;
    };
    for group in scene.effective.federation.groups.values() {
        let trouble = state.troubles.get(&group.owner.to_string());
        if let Some(trouble) = trouble {
            let remedy = match &group.transport {
                Transport::Direct => "routerctl status    # is the tunnel with this address up?",
                Transport::Nats(_) => "systemctl status nats-server    # on the server's machine",
            };
            findings.fail(&group.owner, trouble.as_str(), remedy);
        } else if group.auth == Auth::NodeKey && !state.has_key {
            let detail = "this node has no key: nothing that it sends is signed";
            findings.fail(
                &group.owner,
                detail,
                "systemctl restart routerd    # it makes one",
            );
        } else {
            let words = match (&group.transport, group.listen) {
                (Transport::Nats(_), _) => "receives by way of NATS".to_owned(),
                (Transport::Direct, Some(address)) => format!("receives on {address}"),
                (Transport::Direct, None) => "only sends: it has no `listen`".to_owned(),
            };
            findings.pass(&group.owner, words);
        }
    }
}
