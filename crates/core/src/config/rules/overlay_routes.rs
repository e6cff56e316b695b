//! The overlay address of the other node: routed into the tunnel unless something else routes it.

use ipnet::{IpNet, Ipv4Net};

use super::Context;
use crate::config::draft::{Draft, Path};
use crate::config::sink::Sink;
use crate::effective::{RouteIntent, RouteKey, RouteTarget};
use crate::kinds::OVERLAY_METRIC;
use crate::kinds::field::RouteTable;

pub(super) fn derive(draft: &mut Draft, _: &Context<'_>, _: &mut Sink<'_>) {
    let routes: Vec<_> = draft
        .paths
        .values()
        .filter_map(|path| route(draft, path))
        .collect();
    for (key, route) in routes {
        draft.effective.routes.entry(key).or_insert(route);
    }
}

fn route(draft: &Draft, path: &Path) -> Option<(RouteKey, RouteIntent)> {
    let remote = Ipv4Net::from(path.remote_address?);
    if !draft.effective.wireguard.contains_key(&path.device) {
        return None;
    }
    let connected = |net: IpNet| net.prefix_len() < 32 && net.contains(&IpNet::V4(remote));
    let mut own = draft.addresses_of(&path.device).iter();
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
        owner: path.id.clone(),
        target: RouteTarget::Unicast {
            device: Some(path.device.clone()),
            gateway: None,
        },
        preferred_source: path.source,
    };
    Some((key, intent))
}
