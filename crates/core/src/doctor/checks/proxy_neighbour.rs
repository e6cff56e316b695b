//! The kernel answers ARP for addresses that are captured by proxy ARP.

use std::collections::BTreeMap;

use api::IfName;

use super::hybrid;
use crate::OWNER_PROTOCOL;
use crate::doctor::findings::{Entry, Findings, Tally, Thing};
use crate::doctor::scene::Scene;
use crate::effective::CaptureMethod;

pub(super) const CHECK: Entry = hybrid("proxy-neighbour", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut tallies: BTreeMap<&IfName, Tally> = BTreeMap::new();
    for (address, intent, ifname) in scene.captures() {
        let by_arp = matches!(intent.method, CaptureMethod::ProxyArp { .. });
        // Without a tunnel nothing is attracted on purpose.
        let moot =
            findings.is_broken(&Thing::Capture(address)) || findings.is_link_broken(&intent.tunnel);
        if !by_arp || moot {
            continue;
        }
        let tally = tallies.entry(ifname).or_default();
        if scene.host.proxy(ifname, address.addr()).is_some() {
            let detail = format!("{} is answered for on {ifname}", address.addr());
            tally.pass(&intent.owner, detail);
        } else {
            let host = address.addr();
            let detail = format!("nobody answers ARP for {host} on {ifname}: no proxy neighbour");
            let remedy =
                format!("ip neighbour add proxy {host} dev {ifname} protocol {OWNER_PROTOCOL}");
            tally.fail(findings, &intent.owner, detail, remedy);
        }
    }
    for (ifname, tally) in tallies {
        tally.finish(findings, ifname);
    }
}
