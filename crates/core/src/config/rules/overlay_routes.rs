//! The overlay address of the other node: routed into the tunnel unless something else routes it.

use std::net::Ipv4Addr;

use api::{IfName, ResourceId};
use ipnet::{IpNet, Ipv4Net};

use super::Context;
use crate::config::draft::Draft;
use crate::config::sink::Sink;
use crate::effective::{RouteIntent, RouteKey, RouteTarget};
use crate::kinds::OVERLAY_METRIC;
use crate::kinds::field::RouteTable;

pub(super) fn derive(draft: &mut Draft, _: &Context<'_>, _: &mut Sink<'_>) {
    let paths = draft.paths.values().map(|path| Wanted {
        owner: &path.id,
        device: &path.device,
        remote: path.remote_address,
        source: path.source,
    });
    // The other end of a plain tunnel inside WireGuard.
    let tunnels = draft.effective.plain_tunnels.values();
    let inner = tunnels.filter_map(|tunnel| {
        Some(Wanted {
            owner: &tunnel.owner,
            device: tunnel.underlay.as_ref()?,
            remote: Some(tunnel.remote),
            source: None,
        })
    });
    let inner = inner.filter(|wanted| draft.is_wireguard(wanted.device));
    let routes: Vec<_> = paths
        .chain(inner)
        .filter_map(|wanted| route(draft, &wanted))
        .collect();
    for (key, route) in routes {
        draft.effective.routes.entry(key).or_insert(route);
    }
}

/// An address that a tunnel leads to.
struct Wanted<'a> {
    owner: &'a ResourceId,
    device: &'a IfName,
    remote: Option<Ipv4Addr>,
    source: Option<Ipv4Addr>,
}

fn route(draft: &Draft, wanted: &Wanted<'_>) -> Option<(RouteKey, RouteIntent)> {
    let remote = Ipv4Net::from(wanted.remote?);
    if !draft.effective.makes(wanted.device) {
        return None;
    }
    let connected = |net: IpNet| net.prefix_len() < 32 && net.contains(&IpNet::V4(remote));
    let mut own = draft.addresses_of(wanted.device).iter();
    let main = RouteTable::MAIN.0;
    if own.any(|own| connected(own.net)) || draft.routes_to(main, remote).next().is_some() {
        return None;
    }
    let key = RouteKey {
        table: main,
        destination: remote,
        metric: OVERLAY_METRIC,
    };
    let intent = RouteIntent {
        owner: wanted.owner.clone(),
        target: RouteTarget::Unicast {
            device: Some(wanted.device.clone()),
            gateway: None,
        },
        preferred_source: wanted.source,
    };
    Some((key, intent))
}
