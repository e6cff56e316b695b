//! Captured addresses: where each is captured, its proxy neighbour, and its absence from the OS.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::{IfName, MobileAddress};
use ipnet::{IpNet, Ipv4Net};

use super::links::After;
use super::routes::MAIN_TABLE;
use super::settings;
use crate::effective::{CaptureIntent, CaptureMethod, DeliveryIntent, RouteKey, RouteTarget};
use crate::host::{Host, is_point_to_point, target_words};
use crate::kinds::OVERLAY_METRIC;
use crate::observed::{Address, Route};
use crate::plan::desired::{Desired, RouteWish};
use crate::{BGP_PROTOCOL, Effective, OWNER_PROTOCOL};

/// All captures.
pub(super) fn resolve_captures<'a>(
    effective: &'a Effective,
    host: &Host<'a>,
    after: &After<'a>,
    desired: &mut Desired<'a>,
) {
    let mut interfaces = CaptureInterfaces::new(effective, host, after);
    for (address, intent) in &effective.captures {
        if let Some(reason) = takes_way_out(address.addr(), host) {
            desired.wait(&intent.owner, reason);
            continue;
        }
        match interfaces.find(intent) {
            Ok(ifname) => {
                desired.captures.insert(*address, ifname);
                if matches!(intent.method, CaptureMethod::ProviderSecondaryIp { .. }) {
                    resolve_absence(*address, intent, ifname, effective, host, desired);
                }
                resolve_attraction(*address, intent, ifname, host, after, desired);
            }
            Err(reason) => desired.wait(&intent.owner, reason),
        }
    }
}

/// Why an address cannot be brought here from another site: sites that share a subnet often share the address of its
/// gateway too, and the way out of this one would lead to the other.
pub(super) fn takes_way_out(address: Ipv4Addr, host: &Host<'_>) -> Option<String> {
    let route = host.way_out(address)?;
    let (destination, target) = (route.key.destination, target_words(&route.target));
    Some(format!(
        "{address} is this host's own gateway ({destination} {target}): claimed from another site, it would take this \
         host's way out along; remove the claim, or the route"
    ))
}

/// Where the speaker's route to an address leads.
fn best_path<'a>(address: MobileAddress, host: &Host<'a>) -> Option<&'a RouteTarget> {
    let key = RouteKey {
        table: MAIN_TABLE,
        destination: address.host_route(),
        metric: OVERLAY_METRIC,
    };
    let mut routes = host.routes(&key).iter();
    let found = routes.find(|route| route.protocol == BGP_PROTOCOL);
    found.map(|route| &route.target)
}

/// The route that goes the way of BGP's.
fn follow<'a>(intent: &'a CaptureIntent, key: &RouteKey, target: &RouteTarget) -> RouteWish<'a> {
    RouteWish {
        owner: &intent.owner,
        route: Route {
            key: key.clone(),
            target: target.clone(),
            preferred_source: None,
            protocol: OWNER_PROTOCOL,
        },
    }
}

/// What makes packets for the address come here and go on.
fn resolve_attraction<'a>(
    address: MobileAddress,
    intent: &'a CaptureIntent,
    ifname: &'a IfName,
    host: &Host<'a>,
    after: &After<'a>,
    desired: &mut Desired<'a>,
) {
    // Nothing may be attracted that cannot be delivered.
    if let Err(reason) = after.usable_link(&intent.tunnel) {
        return desired.wait(&intent.owner, reason);
    }
    if let DeliveryIntent::Bgp { outrank } = &intent.delivery {
        let Some(target) = best_path(address, host) else {
            let reason = format!("BGP has no path to {address}");
            return desired.wait(&intent.owner, reason);
        };
        if let Some(key) = outrank {
            let wish = follow(intent, key, target);
            desired.routes.insert(key, wish);
        }
    }
    settings::want_on_capture(intent, ifname, after, desired);
    if matches!(intent.method, CaptureMethod::ProxyArp { .. }) {
        let proxy = (ifname, address.addr());
        desired.proxies.insert(proxy, &intent.owner);
    }
}

/// The captured address must not be on the OS: the kernel would keep the packets for itself.
fn resolve_absence<'a>(
    address: MobileAddress,
    intent: &'a CaptureIntent,
    ifname: &'a IfName,
    effective: &Effective,
    host: &Host<'a>,
    desired: &mut Desired<'a>,
) {
    for found in host.addresses(ifname) {
        if found.net.addr() != address.addr() {
            continue;
        }
        match check_removal(found, effective, host) {
            Ok(()) => {
                desired.unwanted.insert((ifname, found.net), &intent.owner);
            }
            Err(reason) => desired.wait(
                &intent.owner,
                format!("{} stays on {ifname}: {reason}", found.net),
            ),
        }
    }
}

/// Whether an address can be taken off its interface without taking away what the router itself lives on.
fn check_removal(found: &Address, effective: &Effective, host: &Host<'_>) -> Result<(), String> {
    let IpNet::V4(net) = found.net else {
        return Err("it is not an IPv4 address".to_owned());
    };
    let ifname = &found.ifname;
    if effective
        .addresses
        .contains_key(&(ifname.clone(), found.net))
    {
        return Err("the configuration wants it there".to_owned());
    }
    // Removing the first address of a subnet takes the others of the subnet with it.
    if !found.secondary && net.prefix_len() < 32 {
        return Err(format!("it is the primary address of {}", net.trunc()));
    }
    if host.sends_from(ifname, net.addr()) {
        return Err("the host sends from it".to_owned());
    }
    let rest = host.addresses(ifname).iter().any(|other| {
        let place = (ifname.clone(), other.net);
        let stays = !other.owned || effective.addresses.contains_key(&place);
        let captured = match other.net {
            IpNet::V4(net) => effective.captures.contains_key(&net.addr().into()),
            IpNet::V6(_) => true,
        };
        stays && !captured
    });
    if !rest {
        return Err("the interface has no other address".to_owned());
    }
    Ok(())
}

/// Finds capture interfaces; what was found for a domain is remembered.
struct CaptureInterfaces<'a, 'b> {
    after: &'b After<'a>,
    candidates: Vec<&'a IfName>,
    found: BTreeMap<Ipv4Net, Result<&'a IfName, String>>,
}

impl<'a, 'b> CaptureInterfaces<'a, 'b> {
    fn new(effective: &'a Effective, host: &Host<'a>, after: &'b After<'a>) -> Self {
        let candidates = after.names().filter(|ifname| {
            let tunnel = effective.makes(ifname) || effective.delivery.contains_key(*ifname);
            let link = host.link(ifname);
            !tunnel && link.is_some_and(|link| link.kind != "loopback" && !is_point_to_point(link))
        });
        Self {
            after,
            candidates: candidates.collect(),
            found: BTreeMap::new(),
        }
    }

    fn find(&mut self, intent: &'a CaptureIntent) -> Result<&'a IfName, String> {
        if let Some(ifname) = &intent.interface {
            return self.after.link(ifname).map(|_| ifname);
        }
        if let Some(found) = self.found.get(&intent.domain) {
            return found.clone();
        }
        let found = self.discover(intent.domain);
        self.found.insert(intent.domain, found.clone());
        found
    }

    /// The one interface that is up and has an address in the domain.
    fn discover(&self, domain: Ipv4Net) -> Result<&'a IfName, String> {
        let inside = self.candidates.iter().copied().filter(|ifname| {
            self.after.usable_link(ifname).is_ok() && self.after.is_member(ifname, domain)
        });
        match inside.collect::<Vec<_>>().as_slice() {
            [one] => Ok(one),
            [] => Err(format!(
                "no interface that is up has an address in {domain}: name one as capture.interface"
            )),
            many => {
                let names: Vec<_> = many.iter().map(|ifname| ifname.as_str()).collect();
                let names = names.join(" and ");
                Err(format!(
                    "{names} have an address in {domain}: name one as capture.interface"
                ))
            }
        }
    }
}
