//! Where to look for clients, and who is none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use api::IfName;
use api::time::Timestamp;
use ipnet::IpNet;

use super::{Lease, Scope};
use crate::effective::ObserverIntent;
use crate::{Effective, Observed, dynamic};

/// An interface on which clients are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// `ifindex`.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The address that questions are asked from.
    pub address: Ipv4Addr,
}

/// The interfaces with an address in the prefix, and who on them is no client: this host and the member routers by
/// their hardware addresses; this host's own addresses, those that it captures, and its gateways.
pub fn scope(
    intent: &ObserverIntent,
    effective: &Effective,
    observed: &Observed,
) -> (BTreeMap<IfName, Lan>, Scope) {
    let inside = |net: &IpNet| match net.addr() {
        IpAddr::V4(address) => intent.prefix.contains(&address).then_some(address),
        IpAddr::V6(_) => None,
    };
    let mut lans = BTreeMap::new();
    for found in &observed.addresses {
        let link = observed.links.get(&found.ifname);
        let usable = link.filter(|link| link.up && link.carrier);
        if let (Some(address), Some(link)) = (inside(&found.net), usable)
            && let Some(mac) = link.mac
        {
            let lan = Lan {
                index: link.index,
                mac,
                address,
            };
            lans.entry(found.ifname.clone()).or_insert(lan);
        }
    }
    let own = observed.addresses.iter().filter_map(|a| inside(&a.net));
    let captured = effective.captures.keys().map(|address| address.addr());
    let gateways = dynamic::gateways(observed);
    let macs = observed.links.values().filter_map(|link| link.mac);
    let scope = Scope {
        prefixes: vec![intent.prefix],
        excluded: own.chain(captured).chain(gateways).collect(),
        router_macs: macs.chain(effective.router_macs.iter().copied()).collect(),
    };
    (lans, scope)
}

/// Leases by address and client, with their ends.
type Leases = BTreeMap<(Ipv4Addr, [u8; 6]), Option<Timestamp>>;

/// What lease files say that is news: leases that are new or were extended since they were read last. At the first
/// reading nothing is: nobody knows when a client asked for its lease.
#[derive(Debug, Default)]
pub struct LeaseBook {
    known: Option<Leases>,
}

impl LeaseBook {
    /// Takes what the files say now: the leases that are news, and, at the first reading, those to ask for.
    pub fn read(&mut self, leases: &[Lease]) -> (Vec<Lease>, Vec<Ipv4Addr>) {
        let now: Leases = leases
            .iter()
            .map(|lease| ((lease.address, lease.mac), lease.ends))
            .collect();
        let Some(before) = self.known.replace(now) else {
            let all: BTreeSet<Ipv4Addr> = leases.iter().map(|lease| lease.address).collect();
            return (Vec::new(), all.into_iter().collect());
        };
        let is_news = |lease: &&Lease| before.get(&(lease.address, lease.mac)) != Some(&lease.ends);
        (leases.iter().filter(is_news).copied().collect(), Vec::new())
    }
}
