//! Next hops of routes: they have to be somebody else, and on the link.

use std::net::Ipv4Addr;

use api::{Diagnostic, IfName};
use ipnet::IpNet;

use super::Context;
use crate::config::draft::Draft;
use crate::config::sink::Sink;
use crate::effective::RouteTarget;

pub(super) fn check(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    for (key, route) in &draft.effective.routes {
        let RouteTarget::Unicast {
            device,
            gateway: Some(gateway),
        } = &route.target
        else {
            continue;
        };
        let Some(mark) = draft.route_marks.get(key) else {
            continue;
        };
        if let Some(found) = next_hop(draft, device.as_ref(), *gateway) {
            sink.push(*mark, found.about(&route.owner));
        }
    }
}

fn next_hop(draft: &Draft, device: Option<&IfName>, gateway: Ipv4Addr) -> Option<Diagnostic> {
    if let Some(own) = draft.owner_of(gateway) {
        let message = format!("the gateway {gateway} is an address of this router ({own})");
        let found = Diagnostic::error("gateway-is-self", message);
        return Some(found.hint("write the address of the next router"));
    }
    let device = device?;
    let known = draft.addresses_of(device);
    let on_link = |net: IpNet| net.contains(&IpNet::from(std::net::IpAddr::from(gateway)));
    if known.is_empty() || known.iter().any(|own| on_link(own.net)) {
        return None;
    }
    let message = format!(
        "the gateway {gateway} is in no subnet of {device}: the kernel refuses such a route"
    );
    let found = Diagnostic::warning("gateway-off-link", message);
    Some(found.hint("write a gateway of that subnet, or give the interface an address there"))
}
