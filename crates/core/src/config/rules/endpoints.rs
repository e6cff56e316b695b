//! Whether WireGuard peers can find each other: endpoints, ports, keepalives, and routes that would send a
//! tunnel's own packets into the tunnel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::{Diagnostic, IfName};
use ipnet::{IpNet, Ipv4Net};

use super::Context;
use crate::config::draft::{Draft, Peer};
use crate::config::sink::Sink;
use crate::effective::RouteKey;
use crate::kinds::field::RouteTable;
use crate::observed::FouPort;

pub(super) fn check(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    listen_ports(draft, sink);
    for (ifname, peers) in &draft.peers {
        let port = draft
            .effective
            .wireguard
            .get(ifname)
            .and_then(|tunnel| tunnel.listen_port);
        let mut seen = BTreeMap::<SocketAddr, &Peer>::new();
        for peer in peers {
            reachable(ifname, peer, port, sink);
            if let Some((endpoint, _)) = peer.endpoint {
                if let Some(first) = seen.get(&endpoint) {
                    shared_endpoint(peer, first, sink);
                } else {
                    seen.insert(endpoint, peer);
                }
                own_endpoint(draft, peer, endpoint, sink);
                loops(draft, ifname, peer, endpoint, sink);
            }
        }
    }
}

/// One UDP port, one socket; only fou tunnels share one with others of their kind, and so do gue tunnels.
fn listen_ports(draft: &Draft, sink: &mut Sink<'_>) {
    let mut seen = BTreeMap::<u16, (&IfName, Option<FouPort>)>::new();
    let wireguard = draft
        .effective
        .wireguard
        .iter()
        .filter_map(|(ifname, tunnel)| {
            let port = tunnel.listen_port?;
            Some((port, ifname, None, &tunnel.owner))
        });
    let plain = draft
        .effective
        .plain_tunnels
        .iter()
        .filter_map(|(ifname, tunnel)| {
            let (port, feeds) = FouPort::of(tunnel.encapsulation)?;
            Some((port, ifname, Some(feeds), &tunnel.owner))
        });
    for (port, ifname, feeds, owner) in wireguard.chain(plain) {
        match seen.get(&port) {
            Some((_, first)) if feeds.is_some() && *first == feeds => {}
            Some((first, _)) => {
                let message = format!("{first} listens on port {port} already");
                let found = Diagnostic::error("duplicate-listen-port", message)
                    .about(owner)
                    .hint("give one of them another port");
                let first = draft.effective.striped(ifname).unwrap_or(ifname);
                if let Some(device) = draft.device_of(first) {
                    sink.push(device.mark, found);
                }
            }
            None => {
                seen.insert(port, (ifname, feeds));
            }
        }
    }
}

fn reachable(ifname: &IfName, peer: &Peer, port: Option<u16>, sink: &mut Sink<'_>) {
    let keepalive = peer.keepalive.unwrap_or(0);
    let found = match (peer.endpoint, port) {
        (None, None) => Diagnostic::warning(
            "peer-out-of-reach",
            format!("it has no endpoint to be called at, and {ifname} no port to be called on"),
        )
        .hint("set the peer's `endpoint`, or `listenPort` of the interface"),
        (Some(_), None) if keepalive == 0 => Diagnostic::warning(
            "keepalive-missing",
            format!("{ifname} listens on no known port, and nothing keeps the way to it open"),
        )
        .hint(
            "set `persistentKeepalive: 25`: until this side sends, the other one cannot reach it",
        ),
        _ => return,
    };
    sink.push(peer.mark, found.about(&peer.id));
}

fn shared_endpoint(peer: &Peer, first: &Peer, sink: &mut Sink<'_>) {
    let Some((endpoint, mark)) = peer.endpoint else {
        return;
    };
    let message = format!("{endpoint} is the endpoint of {} too", first.id);
    let found = Diagnostic::warning("endpoint-shared", message)
        .about(&peer.id)
        .hint("one address and port is one machine: correct one of them");
    sink.push(mark, found);
}

fn own_endpoint(draft: &Draft, peer: &Peer, endpoint: SocketAddr, sink: &mut Sink<'_>) {
    let Some((_, mark)) = peer.endpoint else {
        return;
    };
    if let Some(own) = draft.owner_of(endpoint.ip()) {
        let message = format!("{} is an address of this router ({own})", endpoint.ip());
        let found = Diagnostic::error("peer-is-self", message)
            .about(&peer.id)
            .hint("write where the other router is reached");
        sink.push(mark, found);
    }
}

/// The encrypted packets of a tunnel must not be routed into it.
fn loops(draft: &Draft, ifname: &IfName, peer: &Peer, endpoint: SocketAddr, sink: &mut Sink<'_>) {
    let (IpAddr::V4(address), Some((_, mark))) = (endpoint.ip(), peer.endpoint) else {
        return;
    };
    let Some((key, device)) = best_route(draft, address) else {
        return;
    };
    if device != Some(ifname) || connected(draft, ifname, address, key.destination.prefix_len()) {
        return;
    }
    let owner = draft
        .effective
        .routes
        .get(key)
        .map(|route| route.owner.to_string());
    let message = format!(
        "{address} is routed into {ifname} itself, by {} ({})",
        key.destination,
        owner.unwrap_or_default()
    );
    let found = Diagnostic::warning("endpoint-inside-tunnel", message).about(&peer.id).hint(
        "the tunnel would swallow its own packets: add an IPv4Route to the endpoint through the underlay",
    );
    sink.push(mark, found);
}

/// The route that this configuration has for an address, and its device.
fn best_route(draft: &Draft, address: Ipv4Addr) -> Option<(&RouteKey, Option<&IfName>)> {
    let nets = (0..=32)
        .rev()
        .filter_map(|length| Ipv4Net::new(address, length).ok());
    let mut routes = nets.filter_map(|net| draft.routes_to(RouteTable::MAIN.0, net.trunc()).next());
    let best = routes.next();
    best.map(|(key, route)| (key, route.target.devices().next()))
}

/// Whether another interface is known to have the address in a subnet longer than `length`.
fn connected(draft: &Draft, tunnel: &IfName, address: Ipv4Addr, length: u8) -> bool {
    let others = draft
        .addresses
        .iter()
        .filter(|(ifname, _)| *ifname != tunnel);
    others.flat_map(|(_, list)| list).any(|own| match own.net {
        IpNet::V4(net) => net.prefix_len() >= length && net.contains(&address),
        IpNet::V6(_) => false,
    })
}
