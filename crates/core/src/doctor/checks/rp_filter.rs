//! Reverse path filtering is not strict: sources at other sites come in where their route does not lead out.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::sysctl::{Sysctl, SysctlKey};

pub(super) const CHECK: Entry = hybrid("rp-filter", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let key = SysctlKey::RpFilter;
    let all = scene.host.setting(&Sysctl::all(key)).unwrap_or(0);
    for ifname in scene.forwarding_interfaces() {
        let own = scene.host.sysctl(ifname, key);
        let Some(own) = own.filter(|_| !findings.is_link_broken(ifname)) else {
            continue;
        };
        // The kernel uses the larger of both; 1 is strict, 2 is loose.
        let sysctl = Sysctl::on(ifname, key);
        match own.max(all) {
            1 => {
                let detail = format!("strict: {sysctl}={own}, all={all}");
                findings.fail(ifname, detail, format!("sysctl -w {sysctl}=2"));
            }
            effective => findings.pass(ifname, format!("not strict: {effective}")),
        }
    }
}
