//! Nobody else answers ARP for a captured address.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Tally};
use crate::doctor::scene::Scene;
use crate::effective::CaptureMethod;
use crate::status::mac_words;

pub(super) const CHECK: Entry = hybrid("arp-conflict", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut tally = Tally::default();
    for (address, intent, ifname) in scene.captures() {
        if !matches!(intent.method, CaptureMethod::ProxyArp { .. }) {
            continue;
        }
        let host = address.addr();
        if !scene.runtime.daemon {
            // Only the daemon hears them.
            findings.skip(
                &intent.owner,
                "nobody listens on the LAN while the daemon is down",
            );
            continue;
        }
        match scene.host.observed.arp_conflicts.get(&address) {
            None => tally.pass(&intent.owner, format!("nobody else answers for {host}")),
            Some(conflict) => {
                let (mac, age) = (mac_words(conflict.mac), conflict.age);
                let detail = format!("{mac} answers for {host} on {ifname} too, heard {age}s ago");
                let remedy = format!("arping -D -c 3 -I {ifname} {host}");
                tally.fail(findings, &intent.owner, detail, remedy);
            }
        }
    }
    tally.finish(findings, "captures");
}
