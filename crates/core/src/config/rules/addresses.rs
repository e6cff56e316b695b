//! Addresses and subnets of this node against each other, against mobility domains and against routes.

use api::{Diagnostic, IfName};
use ipnet::{IpNet, Ipv4Net};

use super::Context;
use super::overlaps::enclosing;
use crate::config::draft::{Draft, OwnAddress};
use crate::config::sink::Sink;
use crate::kinds::field::RouteTable;

pub(super) fn check(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    overlapping_subnets(draft, sink);
    domain_in_overlay(draft, sink);
    behind_connected(draft, sink);
}

/// A host address brings no subnet with it.
fn has_subnet(own: &OwnAddress) -> bool {
    own.net.prefix_len() < own.net.max_prefix_len()
}

/// Two interfaces in one subnet: the kernel answers and sends by whichever route came first.
fn overlapping_subnets(draft: &Draft, sink: &mut Sink<'_>) {
    let all: Vec<(&IfName, &OwnAddress)> = draft
        .addresses
        .iter()
        .flat_map(|(ifname, list)| list.iter().map(move |own| (ifname, own)))
        .filter(|(_, own)| has_subnet(own))
        .collect();
    let mut nets: Vec<(IpNet, usize)> = all
        .iter()
        .enumerate()
        .map(|(index, (_, own))| (own.net.trunc(), index))
        .collect();
    for (outer, inner) in enclosing(&mut nets) {
        let ((ifname_a, a), (ifname_b, b)) = (all[nets[outer].1], all[nets[inner].1]);
        if ifname_a == ifname_b || a.may_overlap || b.may_overlap {
            continue;
        }
        let is_static = |own: &OwnAddress| own.id.kind == "IPv4StaticAddress";
        let (own, ifname, other, other_ifname) = if is_static(b) || b.mark > a.mark && !is_static(a)
        {
            (b, ifname_b, a, ifname_a)
        } else {
            (a, ifname_a, b, ifname_b)
        };
        let message = format!(
            "the subnet of {} on {ifname} overlaps with {} on {other_ifname} ({})",
            own.net, other.net, other.id
        );
        let found = if is_static(own) {
            Diagnostic::error("address-overlap", message)
                .hint("if that is meant, set `allowOverlap: true` and `allowOverlapReason`")
        } else {
            Diagnostic::warning("address-overlap", message)
                .hint("packets for the subnet leave by one of them only; give one a longer prefix, or `/32`")
        };
        sink.push(own.mark, found.about(&own.id));
    }
}

/// A tunnel whose connected subnet covers part of the shared subnet takes its neighbours away.
fn domain_in_overlay(draft: &Draft, sink: &mut Sink<'_>) {
    for (ifname, own) in draft
        .addresses
        .iter()
        .flat_map(|(i, list)| list.iter().map(move |o| (i, o)))
    {
        let IpNet::V4(net) = own.net else { continue };
        if !has_subnet(own) || !draft.effective.wireguard.contains_key(ifname) {
            continue;
        }
        let net = net.trunc();
        let overlaps = |prefix: Ipv4Net| prefix.contains(&net) || net.contains(&prefix);
        if let Some(domain) = draft
            .domains
            .values()
            .find(|domain| overlaps(domain.prefix))
        {
            let message = format!(
                "the subnet {net} of the tunnel overlaps with {} of {}",
                domain.prefix, domain.id
            );
            let found = Diagnostic::warning("overlay-in-domain", message).about(&own.id).hint(
                "machines of the shared subnet would be looked for in the tunnel; use other addresses, or `/32`",
            );
            sink.push(own.mark, found);
        }
    }
}

/// The kernel's own route to a connected subnet has metric 0 and wins over a delivery to exactly that subnet.
fn behind_connected(draft: &Draft, sink: &mut Sink<'_>) {
    for (ifname, own) in draft
        .addresses
        .iter()
        .flat_map(|(i, list)| list.iter().map(move |o| (i, o)))
    {
        let IpNet::V4(net) = own.net else { continue };
        if !has_subnet(own) {
            continue;
        }
        for (key, route) in draft.routes_to(RouteTable::MAIN.0, net.trunc()) {
            let Some(mark) = draft.route_marks.get(key).filter(|_| key.metric > 0) else {
                continue;
            };
            let message = format!(
                "{} is the subnet of {ifname} ({}), whose own route wins",
                key.destination, own.id
            );
            let found = Diagnostic::warning("route-behind-connected", message)
                .about(&route.owner)
                .hint("route longer prefixes, or claim single addresses");
            sink.push(*mark, found);
        }
    }
}
