//! Proxied ARP answers come at once.

use std::collections::BTreeSet;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::effective::CaptureMethod;
use crate::sysctl::{Sysctl, SysctlKey};

pub(super) const CHECK: Entry = hybrid("proxy-delay", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let by_arp = scene
        .captures()
        .filter(|(_, intent, _)| matches!(intent.method, CaptureMethod::ProxyArp { .. }));
    let interfaces: BTreeSet<_> = by_arp.map(|(_, _, ifname)| ifname).collect();
    for ifname in interfaces {
        let sysctl = Sysctl::on(ifname, SysctlKey::ProxyDelay);
        match scene.host.setting(&sysctl) {
            None => {}
            Some(0) => findings.pass(ifname, "proxied answers come at once"),
            Some(delay) => {
                let detail = format!("proxied answers come up to {}0 ms late", delay);
                findings.warn(ifname, detail, format!("sysctl -w {sysctl}=0"));
            }
        }
    }
}
