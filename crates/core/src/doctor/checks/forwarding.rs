//! The kernel passes on what comes in by capture interfaces and tunnels.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::sysctl::{Sysctl, SysctlKey};

pub(super) const CHECK: Entry = hybrid("forwarding", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for ifname in scene.forwarding_interfaces() {
        let setting = scene.host.sysctl(ifname, SysctlKey::Forwarding);
        let Some(setting) = setting.filter(|_| !findings.is_link_broken(ifname)) else {
            continue;
        };
        if setting != 0 {
            findings.pass(ifname, format!("what comes in by {ifname} is forwarded"));
        } else {
            let sysctl = Sysctl::on(ifname, SysctlKey::Forwarding);
            let detail = format!("forwarding is off: {sysctl}=0");
            findings.fail(ifname, detail, format!("sysctl -w {sysctl}=1"));
        }
    }
}
