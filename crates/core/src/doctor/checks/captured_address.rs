//! The host does not hold a captured address itself: it would keep the packets.

use std::net::IpAddr;

use api::MobileAddress;
use ipnet::IpNet;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Tally, Thing};
use crate::doctor::scene::Scene;
use crate::observed::Address;
use crate::sysctl::{Sysctl, SysctlKey};

pub(super) const CHECK: Entry = hybrid("captured-address", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut tally = Tally::default();
    for (address, intent) in &scene.effective.captures {
        match holder(*address, scene) {
            None => tally.pass(
                &intent.owner,
                format!("{address} absent from local interfaces"),
            ),
            Some((detail, remedy)) => {
                tally.fail(findings, &intent.owner, detail, remedy);
                findings.breaks(Thing::Delivery(*address));
            }
        }
    }
    tally.finish(findings, "captures");
}

/// The command that takes an address away and nothing else.
fn removal(held: &Address, scene: &Scene<'_>) -> String {
    let (net, ifname) = (held.net, &held.ifname);
    let delete = format!("ip address delete {net} dev {ifname}");
    let others = scene.host.addresses(ifname).iter();
    let mut others = others.filter(|other| other.net != net && matches!(other.net, IpNet::V4(_)));
    if others.clone().next().is_none() {
        // The host lives on it: then the claim is for the wrong address.
        return format!("ip address show dev {ifname}");
    }
    let promoted = others.any(|other| other.secondary && other.net.trunc() == net.trunc());
    if promoted && !held.secondary {
        let sysctl = Sysctl::on(ifname, SysctlKey::PromoteSecondaries);
        return format!("sysctl -w {sysctl}=1 && {delete}");
    }
    delete
}

fn holder(address: MobileAddress, scene: &Scene<'_>) -> Option<(String, String)> {
    let ip = IpAddr::V4(address.addr());
    if let Some(held) = scene.host.holder(ip) {
        let (net, ifname) = (held.net, &held.ifname);
        let detail = format!("{net} is on {ifname} of this host, which keeps its packets");
        return Some((detail, removal(held, scene)));
    }
    let way = scene.host.observed.lookups.get(&ip);
    way.filter(|way| way.local).map(|way| {
        let device = &way.device;
        let detail = format!("a local route on {device} keeps packets for {address} on this host");
        let remedy = format!("ip route delete local {address} dev {device} table local");
        (detail, remedy)
    })
}
