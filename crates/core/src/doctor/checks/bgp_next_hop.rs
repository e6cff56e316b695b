//! There is a way to every next hop that a best path could have.

use super::bgp;
use crate::doctor::findings::{Entry, Findings, Tally};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = bgp("bgp-next-hop", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let (Some(intent), Some(view)) = (&scene.effective.bgp, &scene.runtime.speaker) else {
        return;
    };
    let mut tally = Tally::default();
    for (address, way) in &view.next_hops {
        match way {
            Some(way) => tally.pass(address, format!("{address} {way}")),
            None => {
                let detail = "no way to it: routes with this next hop are not used";
                let remedy =
                    format!("ip route get {address}    # or `nextHopRewrite: peer-address`");
                tally.fail(findings, address, detail, remedy);
            }
        }
    }
    tally.finish(findings, &intent.owner);
}
