//! No route of a peer is refused.

use std::collections::BTreeMap;

use super::bgp;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = bgp("bgp-rejected", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let (Some(intent), Some(view)) = (&scene.effective.bgp, &scene.runtime.speaker) else {
        return;
    };
    let mut all_taken = true;
    for peer in &view.peers {
        let refused: u32 = peer.families.values().map(|family| family.rejected).sum();
        if refused == 0 || findings.is_broken(&Thing::Peer(peer.address)) {
            continue;
        }
        all_taken = false;
        let mut reasons = BTreeMap::new();
        for (reason, count) in peer.families.values().flat_map(|family| &family.reasons) {
            *reasons.entry(reason.to_string()).or_default() += count;
        }
        let mut reasons: Vec<(String, u64)> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let words: Vec<&str> = reasons.iter().map(|(reason, _)| reason.as_str()).collect();
        let detail = format!("{refused} routes are refused: {}", words.join(", "));
        let remedy = format!(
            "routerctl get bgp routes --rejected --received-from {}",
            peer.address
        );
        findings.warn(peer.address, detail, remedy);
    }
    if all_taken {
        findings.pass(&intent.owner, "no route is refused");
    }
}
