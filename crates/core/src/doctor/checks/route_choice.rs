//! The kernel really chooses the delivery route: no better route, no policy rule is in front of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::{IfName, MobileAddress};

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Tally, Thing};
use crate::doctor::scene::{MAIN_TABLE, Scene};
use crate::effective::{CaptureIntent, RouteTarget};
use crate::host::{is_our_route, target_words};

pub(super) const CHECK: Entry = hybrid("route-choice", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut tallies: BTreeMap<&IfName, Tally> = BTreeMap::new();
    for (address, intent) in &scene.effective.captures {
        let undeliverable = findings.is_link_broken(&intent.tunnel)
            || findings.is_broken(&Thing::Delivery(*address));
        if undeliverable {
            continue;
        }
        let tally = tallies.entry(&intent.tunnel).or_default();
        let way = scene.host.observed.lookups.get(&IpAddr::V4(address.addr()));
        let chosen = way.map(|way| &way.device);
        let chosen = chosen.map(|device| scene.effective.striped(device).unwrap_or(device));
        if chosen == Some(&intent.tunnel) {
            let detail = format!("the kernel sends {address} to {}", intent.tunnel);
            tally.pass(&intent.owner, detail);
            continue;
        }
        let (detail, remedy) = fault(*address, intent, chosen, scene);
        tally.fail(findings, &intent.owner, detail, remedy);
        findings.breaks(Thing::Delivery(*address));
    }
    for (tunnel, tally) in tallies {
        tally.finish(findings, tunnel);
    }
}

/// What is in front of the delivery route.
fn fault(
    address: MobileAddress,
    intent: &CaptureIntent,
    chosen: Option<&IfName>,
    scene: &Scene<'_>,
) -> (String, String) {
    let tunnel = &intent.tunnel;
    let instead = match chosen {
        Some(device) => format!("the kernel sends {address} to {device}, not to {tunnel}"),
        None => format!("the kernel drops {address} instead of sending it to {tunnel}"),
    };
    let best = scene.covering(address.host_route()).into_iter().next();
    if let Some(route) = best.filter(|route| !is_our_route(route)) {
        let target = target_words(&route.target);
        let (destination, metric) = (route.key.destination, route.key.metric);
        let words = match route.target {
            RouteTarget::Blackhole => format!("blackhole {destination} metric {metric}"),
            RouteTarget::Unicast { .. } | RouteTarget::Spread { .. } => {
                format!("{destination} {target} metric {metric}")
            }
        };
        let detail = format!(
            "{instead}: the route {words} of protocol {} is better",
            route.protocol
        );
        return (detail, format!("ip route delete {words}"));
    }
    let tables = scene.host.observed.routes.iter();
    let elsewhere = tables.filter(|route| route.key.table != MAIN_TABLE);
    let mut elsewhere = elsewhere.filter(|r| r.key.destination.contains(&address.addr()));
    let detail = match elsewhere.next() {
        Some(route) => format!("{instead}: a policy rule prefers table {}", route.key.table),
        None => format!("{instead}: a policy rule is in front"),
    };
    (
        detail,
        format!("ip rule show && ip route get {}", address.addr()),
    )
}
