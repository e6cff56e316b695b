//! The router does not tell clients to go around it.

use std::collections::BTreeSet;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::sysctl::{Sysctl, SysctlKey};

pub(super) const CHECK: Entry = hybrid("redirects", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let key = SysctlKey::SendRedirects;
    let interfaces: BTreeSet<_> = scene.captures().map(|(_, _, ifname)| ifname).collect();
    for ifname in interfaces {
        // The kernel sends them if either says so.
        let scopes = [Sysctl::on(ifname, key), Sysctl::all(key)];
        let on = scopes
            .iter()
            .filter(|sysctl| scene.host.setting(sysctl) == Some(1));
        let on: Vec<_> = on.map(|sysctl| format!("{sysctl}=0")).collect();
        if on.is_empty() {
            findings.pass(ifname, "no redirects are sent");
        } else {
            let detail = "redirects teach clients a way around this router";
            findings.warn(ifname, detail, format!("sysctl -w {}", on.join(" ")));
        }
    }
}
