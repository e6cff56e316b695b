//! Nobody translates addresses between sites: mobility needs source and destination untouched.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::firewall::translation;
use crate::doctor::scene::{Path, Scene};
use crate::observed::{Firewall, FirewallChain, FirewallRule, Hook};

pub(super) const CHECK: Entry = hybrid("nat", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(firewall) = &scene.host.observed.firewall else {
        return;
    };
    for path in &scene.paths {
        let subject = format!("{} <-> {}", path.capture, path.tunnel);
        match rewriter(path, firewall) {
            None => findings.pass(subject, "no rule rewrites source or destination"),
            Some((chain, rule)) => {
                let place = format!("{} {} {}", chain.family, chain.table, chain.chain);
                let detail = format!("addresses are rewritten by {place}: {}", rule.text);
                findings.warn(subject, detail, spare(path, chain));
            }
        }
    }
}

fn rewriter<'a>(
    path: &Path<'_>,
    firewall: &'a Firewall,
) -> Option<(&'a FirewallChain, &'a FirewallRule)> {
    let chains = firewall.chains.iter();
    let mut chains = chains.filter(|c| matches!(c.hook, Hook::Prerouting | Hook::Postrouting));
    chains.find_map(|chain| {
        let mut flows = path.flows();
        let rule = flows.find_map(|(_, flow)| translation(chain, &flow))?;
        Some((chain, rule))
    })
}

/// The command that keeps traffic inside the domain out of a chain.
fn spare(path: &Path<'_>, chain: &FirewallChain) -> String {
    let (domain, name) = (path.domain, &chain.chain);
    let FirewallChain { family, table, .. } = chain;
    if chain.is_of_iptables() {
        format!("iptables -t {table} -I {name} 1 -s {domain} -d {domain} -j ACCEPT")
    } else {
        format!(
            "nft insert rule {family} {table} {name} ip saddr {domain} ip daddr {domain} accept"
        )
    }
}
