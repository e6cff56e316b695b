//! Allowed IPs, WireGuard's cryptokey routing: what is delivered through a peer is added to its list, and a
//! hand-written list that does not cover it is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::{Diagnostic, IfName};
use ipnet::{IpNet, Ipv4Net};

use super::Context;
use crate::config::draft::{Delivery, Draft, Path, Peer};
use crate::config::sink::Sink;

pub(super) fn derive(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    let mut by_device = BTreeMap::<&IfName, Vec<&Delivery>>::new();
    for delivery in &draft.deliveries {
        by_device
            .entry(&delivery.device)
            .or_default()
            .push(delivery);
    }
    let mut additions = Vec::new();
    for (device, deliveries) in by_device {
        if !draft.effective.wireguard.contains_key(device) {
            continue;
        }
        let peers = draft
            .peers
            .get(device)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if peers.is_empty() {
            report_no_peer(draft, device, deliveries[0], sink);
            continue;
        }
        let mut tunnel = Tunnel::new(peers, &draft.paths);
        for delivery in deliveries {
            if let Some(peer) = tunnel.peer_of(delivery, sink) {
                tunnel.add(peer, delivery, sink);
            }
        }
        tunnel.report_uncovered(sink);
        let keys = tunnel.additions.into_iter();
        additions.extend(keys.map(|(peer, net)| (device.clone(), peers[peer].key, net)));
    }
    for (device, key, net) in additions {
        let tunnel = draft.effective.wireguard.get_mut(&device);
        if let Some(peer) = tunnel.and_then(|tunnel| tunnel.peers.get_mut(&key)) {
            peer.allowed_ips.insert(net.into());
        }
    }
}

fn report_no_peer(draft: &Draft, device: &IfName, first: &Delivery, sink: &mut Sink<'_>) {
    if draft.lacks("WireGuardPeer") {
        return;
    }
    let message = format!("{device} has no peer: what is routed into it is dropped");
    let found = Diagnostic::warning("tunnel-without-peer", message).hint(format!(
        "declare a WireGuardPeer with `interface: {device}`"
    ));
    let path = first.path.as_ref().and_then(|name| draft.paths.get(name));
    match path {
        Some(path) => sink.push(path.mark, found.about(&path.id)),
        None => sink.push(first.mark, found.about(&first.owner)),
    }
}

/// The peers of one interface while deliveries are given to them.
struct Tunnel<'d> {
    peers: &'d [Peer],
    paths: &'d BTreeMap<String, Path>,
    by_name: BTreeMap<&'d str, usize>,
    /// Hand-written IPv4 prefixes and the peer that the kernel gives them to.
    written: BTreeMap<Ipv4Net, usize>,
    /// The same with every peer that lists them.
    listed: BTreeSet<(usize, Ipv4Net)>,
    /// The prefix lengths that occur, longest last.
    lengths: BTreeSet<u8>,
    /// The peer that each OverlayPeer means, once found or reported as missing.
    chosen: BTreeMap<String, Option<usize>>,
    additions: Vec<(usize, Ipv4Net)>,
    /// Deliveries that a hand-written list does not hold, by peer.
    uncovered: BTreeMap<usize, Vec<&'d Delivery>>,
}

impl<'d> Tunnel<'d> {
    fn new(peers: &'d [Peer], paths: &'d BTreeMap<String, Path>) -> Self {
        let mut written = BTreeMap::new();
        let mut listed = BTreeSet::new();
        for (index, peer) in peers.iter().enumerate() {
            for (net, _) in &peer.allowed_ips {
                if let IpNet::V4(net) = net {
                    written.entry(*net).or_insert(index);
                    listed.insert((index, *net));
                }
            }
        }
        let names = peers.iter().enumerate();
        Self {
            peers,
            paths,
            by_name: names
                .map(|(index, peer)| (peer.id.name.as_str(), index))
                .collect(),
            lengths: written.keys().map(Ipv4Net::prefix_len).collect(),
            written,
            listed,
            chosen: BTreeMap::new(),
            additions: Vec::new(),
            uncovered: BTreeMap::new(),
        }
    }

    /// The hand-written prefixes that may hold all of `net`, longest first.
    fn around(&self, net: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
        let lengths = self.lengths.range(..=net.prefix_len()).rev();
        let nets = lengths.filter_map(move |&length| Ipv4Net::new(net.addr(), length).ok());
        nets.map(|net| net.trunc())
    }

    /// The peer whose hand-written list holds all of a prefix, by longest match.
    fn holder(&self, net: Ipv4Net) -> Option<usize> {
        self.around(net)
            .find_map(|net| self.written.get(&net).copied())
    }

    fn holder_of(&self, address: Ipv4Addr) -> Option<usize> {
        self.holder(Ipv4Net::from(address))
    }

    /// The peer that a delivery goes to; reported where that cannot be said.
    fn peer_of(&mut self, delivery: &Delivery, sink: &mut Sink<'_>) -> Option<usize> {
        if self.peers.len() == 1 {
            return Some(0);
        }
        let path = delivery.path.as_ref().and_then(|name| self.paths.get(name));
        let by_path = path.and_then(|path| self.peer_of_path(path));
        let by_gateway = || self.holder_of(delivery.gateway?);
        let found = by_path
            .or_else(by_gateway)
            .or_else(|| self.holder(delivery.destination));
        if found.is_none() {
            self.report_unknown_peer(delivery, path, sink);
        }
        found
    }

    fn peer_of_path(&mut self, path: &Path) -> Option<usize> {
        if let Some(chosen) = self.chosen.get(&path.id.name) {
            return *chosen;
        }
        let mut names = path.peer_names.iter();
        let by_name = names.find_map(|name| self.by_name.get(name.as_str()).copied());
        let chosen = by_name.or_else(|| self.holder_of(path.remote_address?));
        self.chosen.insert(path.id.name.clone(), chosen);
        chosen
    }

    fn report_unknown_peer(&self, delivery: &Delivery, path: Option<&Path>, sink: &mut Sink<'_>) {
        let (device, count) = (&delivery.device, self.peers.len());
        let message = format!("{device} has {count} peers, and nothing says which one is meant");
        let found = Diagnostic::error("ambiguous-peer", message);
        match path {
            Some(path) => {
                let names: Vec<_> = path
                    .peer_names
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect();
                let hint = format!(
                    "name a WireGuardPeer {}, or set `remote.address` to an address in its allowedIPs",
                    names.join(" or ")
                );
                sink.push(path.mark, found.about(&path.id).hint(hint));
            }
            None => {
                let hint = format!("add {} to the allowedIPs of one peer", delivery.destination);
                sink.push(delivery.mark, found.about(&delivery.owner).hint(hint));
            }
        }
    }

    /// Gives a delivery to a peer.
    fn add(&mut self, peer: usize, delivery: &'d Delivery, sink: &mut Sink<'_>) {
        let net = delivery.destination;
        let holder = self.holder(net);
        if holder == Some(peer) {
            return;
        }
        if let Some(other) = self.written.get(&net) {
            let message = format!(
                "{net} goes to {}, but stands in the allowedIPs of {}",
                self.peers[peer].id, self.peers[*other].id
            );
            let found = Diagnostic::error("allowed-ip-of-other-peer", message)
                .about(&delivery.owner)
                .hint("remove it from that list, or deliver it through the other peer");
            sink.push(delivery.mark, found);
            return;
        }
        self.additions.push((peer, net));
        let covered = self
            .around(net)
            .any(|net| self.listed.contains(&(peer, net)));
        if !covered && !self.peers[peer].allowed_ips.is_empty() {
            self.uncovered.entry(peer).or_default().push(delivery);
        }
    }

    fn report_uncovered(&self, sink: &mut Sink<'_>) {
        const SHOWN: usize = 3;
        for (peer, deliveries) in &self.uncovered {
            let peer = &self.peers[*peer];
            let shown = deliveries.iter().take(SHOWN);
            let mut list: Vec<String> = shown
                .map(|delivery| format!("{} ({})", delivery.destination, delivery.owner))
                .collect();
            if deliveries.len() > SHOWN {
                list.push(format!("{} more", deliveries.len() - SHOWN));
            }
            let message = format!("allowedIPs does not hold {}", list.join(", "));
            let found = Diagnostic::warning("allowed-ips-incomplete", message)
                .about(&peer.id)
                .hint("routerd adds what it delivers through this peer; list it too, or remove `allowedIPs`");
            sink.push(peer.list_mark, found);
        }
    }
}
