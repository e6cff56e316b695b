//! Routes: who may have which key, and whether the kernel would take them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::IfName;
use ipnet::Ipv4Net;

use super::captures::takes_way_out;
use super::links::After;
use super::stripes;
use crate::effective::{RouteIntent, RouteKey, RouteTarget};
use crate::host::{Host, is_of_bgp, is_our_route, target_words};
use crate::observed::Route;
use crate::plan::desired::{Desired, RouteWish};
use crate::{Effective, OWNER_PROTOCOL};

/// The number of the table `main`.
pub(super) const MAIN_TABLE: u32 = 254;

/// All routes. Those without a gateway come first: they may be the way to the gateways of the others.
pub(super) fn resolve_routes<'a>(
    effective: &'a Effective,
    host: &Host<'a>,
    after: &After<'a>,
    desired: &mut Desired<'a>,
) {
    let (behind, direct): (Vec<_>, Vec<_>) = effective
        .routes
        .iter()
        .partition(|(_, intent)| gateway(intent).is_some());
    for (key, intent) in direct {
        let target = resolve_target(key, &intent.target, after, &OnLink::default());
        let target = target.map(|target| stripes::spread(target, effective, host, after));
        want(key, intent, target, effective, host, after, desired);
    }
    if behind.is_empty() {
        return;
    }
    let on_link = OnLink::new(effective, host, after, desired);
    for (key, intent) in behind {
        let target = resolve_target(key, &intent.target, after, &on_link);
        want(key, intent, target, effective, host, after, desired);
    }
}

fn gateway(intent: &RouteIntent) -> Option<Ipv4Addr> {
    intent.target.gateway()
}

fn want<'a>(
    key: &'a RouteKey,
    intent: &'a RouteIntent,
    target: Result<RouteTarget, String>,
    effective: &Effective,
    host: &Host<'a>,
    after: &After<'a>,
    desired: &mut Desired<'a>,
) {
    let claimed = intent.owner.kind == "RemoteAddressClaim";
    if claimed && let Some(reason) = takes_way_out(key.destination.addr(), host) {
        return desired.wait(&intent.owner, reason);
    }
    let target = match target {
        Ok(target) => target,
        Err(reason) => return desired.wait(&intent.owner, reason),
    };
    let own = || stripes::source(&target, effective);
    let route = Route {
        key: key.clone(),
        preferred_source: intent.preferred_source.or_else(own),
        target,
        protocol: OWNER_PROTOCOL,
    };
    let standing = host.routes(key);
    if !standing.contains(&&route)
        && let Err(reason) = check_admission(&route, standing, host, after)
    {
        return desired.wait(&intent.owner, reason);
    }
    let wish = RouteWish {
        owner: &intent.owner,
        route,
    };
    desired.routes.insert(key, wish);
}

/// Whether a route that is not in place can be put there.
fn check_admission(
    route: &Route,
    standing: &[&Route],
    host: &Host<'_>,
    after: &After<'_>,
) -> Result<(), String> {
    if let Some(source) = route
        .preferred_source
        .filter(|source| !after.is_own(*source))
    {
        return Err(format!(
            "preferred source {source} is not an address of this host"
        ));
    }
    // Where routerd held a route, a foreign one took its place: that is drift. Elsewhere it was there first.
    let held = host.ledger.routes.contains(&route.key);
    let foreign = standing
        .iter()
        .find(|route| !is_our_route(route) && !is_of_bgp(route));
    match foreign {
        Some(foreign) if !held => Err(format!(
            "a route of protocol {} is in the way: {} {} metric {}",
            foreign.protocol,
            route.key.destination,
            target_words(&foreign.target),
            route.key.metric,
        )),
        _ => Ok(()),
    }
}

fn resolve_target(
    key: &RouteKey,
    target: &RouteTarget,
    after: &After<'_>,
    on_link: &OnLink<'_>,
) -> Result<RouteTarget, String> {
    let RouteTarget::Unicast { device, gateway } = target else {
        return Ok(target.clone());
    };
    if let Some(device) = device {
        after.usable_link(device)?;
    }
    let Some(gateway) = gateway else {
        return Ok(target.clone());
    };
    let connected = after.connected_on(*gateway, device.as_ref());
    let routed = on_link.find(*gateway, device.as_ref());
    let best = connected.into_iter().chain(routed);
    let best = best.max_by_key(|(network, _)| network.prefix_len());
    let (_, device) = best.ok_or_else(|| unreachable_gateway(key, *gateway, device.as_ref()))?;
    Ok(RouteTarget::Unicast {
        device: Some(device.clone()),
        gateway: Some(*gateway),
    })
}

fn unreachable_gateway(key: &RouteKey, gateway: Ipv4Addr, device: Option<&IfName>) -> String {
    let network = device.map_or("any connected network".to_owned(), |device| {
        format!("a network of {device}")
    });
    let destination = key.destination;
    format!("gateway {gateway} of {destination} is not on {network}")
}

/// Devices by the prefixes that are routed to them without a gateway: besides connected networks, the only
/// places where the kernel accepts a gateway.
#[derive(Default)]
struct OnLink<'a>(BTreeMap<Ipv4Net, BTreeSet<&'a IfName>>);

impl<'a> OnLink<'a> {
    fn new(
        effective: &'a Effective,
        host: &Host<'a>,
        after: &After<'_>,
        desired: &Desired<'_>,
    ) -> Self {
        let routes = host.observed.routes.iter();
        let foreign = routes.filter(|r| !is_our_route(r) && !is_of_bgp(r));
        let foreign = foreign.map(|route| (&route.key, &route.target));
        let wanted = effective.routes.iter();
        let wanted = wanted.filter(|(key, _)| desired.routes.contains_key(*key));
        let wanted = wanted.map(|(key, intent)| (key, &intent.target));
        let mut networks: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (key, target) in foreign.chain(wanted) {
            if let RouteTarget::Unicast {
                device: Some(device),
                gateway: None,
            } = target
                && key.table == MAIN_TABLE
                && after.usable_link(device).is_ok()
            {
                networks.entry(key.destination).or_default().insert(device);
            }
        }
        Self(networks)
    }

    /// The longest prefix that holds an address.
    fn find(&self, address: Ipv4Addr, device: Option<&IfName>) -> Option<(Ipv4Net, &'a IfName)> {
        (0..=32).rev().find_map(|length| {
            let network = Ipv4Net::new(address, length).ok()?.trunc();
            let mut devices = self.0.get(&network)?.iter().copied();
            let found = devices.find(|found| device.is_none_or(|device| device == *found))?;
            Some((network, found))
        })
    }
}
