//! Nobody translates addresses: mobility needs source and destination untouched.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = hybrid("nat", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(firewall) = &scene.host.observed.firewall else {
        return;
    };
    if scene.paths.is_empty() {
        return;
    }
    for chain in &firewall.nat_chains {
        let detail = format!("chain {chain} may rewrite addresses of captured traffic");
        findings.warn("nat", detail, format!("nft list chain {chain}"));
    }
    if firewall.nat_chains.is_empty() {
        findings.pass("nat", "no rule translates addresses");
    }
}
