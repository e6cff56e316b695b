//! It is known where each address is captured, and that interface is up.

use std::collections::BTreeMap;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Tally, Thing};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = hybrid("capture-interface", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut lost = Tally::default();
    let mut found: BTreeMap<_, Tally> = BTreeMap::new();
    for (address, intent) in &scene.effective.captures {
        let Some(&ifname) = scene.desired.captures.get(address) else {
            let reason = scene.reason(&intent.owner).unwrap_or("there is none");
            let reason = format!("no capture interface: {reason}");
            lost.fail(findings, &intent.owner, reason, "ip -br address");
            findings.breaks(Thing::Capture(*address));
            continue;
        };
        let tally = found.entry(ifname).or_default();
        let link = scene.host.link(ifname);
        if link.is_some_and(|link| link.up) {
            tally.pass(&intent.owner, format!("{address} is captured on {ifname}"));
        } else {
            let detail = format!("capture interface {ifname} is down");
            tally.fail(
                findings,
                &intent.owner,
                detail,
                format!("ip link set {ifname} up"),
            );
            findings.breaks(Thing::Capture(*address));
        }
    }
    lost.finish(findings, "captures");
    for (ifname, tally) in found {
        tally.finish(findings, ifname);
    }
}
