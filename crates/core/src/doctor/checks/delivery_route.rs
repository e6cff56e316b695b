//! Every delivered destination has its route into the tunnel.

use std::collections::BTreeMap;

use api::{IfName, MobileAddress};

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Tally, Thing};
use crate::doctor::scene::Scene;
use crate::effective::{RouteIntent, RouteKey, RouteTarget};
use crate::host::{is_our_route, target_words};
use crate::status::route_words;

pub(super) const CHECK: Entry = hybrid("delivery-route", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut tallies: BTreeMap<&IfName, Tally> = BTreeMap::new();
    for (key, intent) in &scene.effective.routes {
        let Some(tunnel) = delivering(intent, scene) else {
            continue;
        };
        if findings.is_link_broken(tunnel) {
            continue;
        }
        let tally = tallies.entry(tunnel).or_default();
        match fault(key, intent, scene) {
            None => tally.pass(&intent.owner, route_words(key, intent)),
            Some((detail, remedy)) => {
                tally.fail(findings, &intent.owner, detail, remedy);
                let address = MobileAddress::from(key.destination.addr());
                findings.breaks(Thing::Delivery(address));
            }
        }
    }
    for (tunnel, tally) in tallies {
        tally.finish(findings, tunnel);
    }
}

/// The tunnel that a route leads into.
fn delivering<'a>(intent: &'a RouteIntent, scene: &Scene<'_>) -> Option<&'a IfName> {
    match &intent.target {
        RouteTarget::Unicast {
            device: Some(device),
            ..
        } => scene
            .effective
            .delivery
            .contains_key(device)
            .then_some(device),
        _ => None,
    }
}

fn fault(key: &RouteKey, intent: &RouteIntent, scene: &Scene<'_>) -> Option<(String, String)> {
    let standing = scene.host.routes(key);
    let in_place = |wanted| standing.contains(&wanted);
    if let Some(wish) = scene.desired.routes.get(key)
        && in_place(&wish.route)
    {
        return None;
    }
    let words = route_words(key, intent);
    if let Some(foreign) = standing.iter().find(|route| !is_our_route(route)) {
        let target = target_words(&foreign.target);
        let (destination, metric) = (key.destination, key.metric);
        let detail = format!(
            "no route {words}: in its place is one {target} of protocol {}",
            foreign.protocol
        );
        let remedy = format!("ip route delete {destination} {target} metric {metric}");
        return Some((detail, remedy));
    }
    let reason = scene.reason(&intent.owner);
    let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
    let table = if key.table == 254 {
        String::new()
    } else {
        format!(" table {}", key.table)
    };
    let remedy = format!(
        "ip route replace {words}{table} proto {}",
        crate::OWNER_PROTOCOL
    );
    Some((format!("no route {words}{reason}"), remedy))
}
