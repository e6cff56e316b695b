//! An [`Observed`] with the indexes that planning, status and doctor look things up by. Owns what counts as
//! ours on the host; decides nothing about what should be there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use api::IfName;
use ipnet::IpNet;

use crate::effective::{RouteKey, RouteTarget};
use crate::ledger::LinkRecord;
use crate::observed::{Address, Link, NftTable, ProxyNeighbour, Route};
use crate::sysctl::{Sysctl, SysctlKey};
use crate::{BGP_PROTOCOL, Ledger, MSS_TABLE, OWNER_MARK, OWNER_PROTOCOL, Observed};

/// The host, indexed.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) ledger: &'a Ledger,
    addresses: BTreeMap<&'a IfName, Vec<&'a Address>>,
    routes: BTreeMap<&'a RouteKey, Vec<&'a Route>>,
    proxies: BTreeMap<(&'a IfName, Ipv4Addr), &'a ProxyNeighbour>,
    sources: BTreeSet<(Option<&'a IfName>, Ipv4Addr)>,
    holders: BTreeMap<IpAddr, &'a Address>,
    ways_out: BTreeMap<Ipv4Addr, &'a Route>,
}

impl<'a> Host<'a> {
    /// Indexes a snapshot.
    pub(crate) fn new(observed: &'a Observed, ledger: &'a Ledger) -> Self {
        let mut addresses: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for address in &observed.addresses {
            addresses.entry(&address.ifname).or_default().push(address);
        }
        let mut routes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for route in &observed.routes {
            routes.entry(&route.key).or_default().push(route);
        }
        let proxies = observed.proxy_neighbours.iter();
        Self {
            observed,
            ledger,
            addresses,
            routes,
            proxies: proxies.map(|p| ((&p.ifname, p.address), p)).collect(),
            sources: sources(observed),
            ways_out: ways_out(observed),
            holders: observed
                .addresses
                .iter()
                .map(|a| (a.net.addr(), a))
                .collect(),
        }
    }

    /// An interface.
    pub(crate) fn link(&self, ifname: &IfName) -> Option<&'a Link> {
        self.observed.links.get(ifname)
    }

    /// The addresses of an interface.
    pub(crate) fn addresses(&self, ifname: &IfName) -> &[&'a Address] {
        self.addresses.get(ifname).map_or(&[], Vec::as_slice)
    }

    /// One address of an interface.
    pub(crate) fn address(&self, ifname: &IfName, net: IpNet) -> Option<&'a Address> {
        let mut all = self.addresses(ifname).iter().copied();
        all.find(|address| address.net == net)
    }

    /// Whether somebody else put an address on an interface.
    pub(crate) fn has_foreign_address(&self, ifname: &IfName) -> bool {
        self.addresses(ifname).iter().any(|address| {
            let link_local =
                matches!(address.net, IpNet::V6(net) if net.addr().is_unicast_link_local());
            !address.owned && !link_local
        })
    }

    /// Whether somebody else put a route through an interface.
    pub(crate) fn has_foreign_route(&self, ifname: &IfName) -> bool {
        let routes = self.observed.routes.iter();
        let ours = |r: &Route| is_our_route(r) || is_of_bgp(r);
        let mut foreign = routes.filter(|r| !ours(r) && r.protocol != KERNEL_PROTOCOL);
        foreign.any(|route| route.target.leaves_by(ifname))
    }

    /// The default route of somebody else that leads through a gateway.
    pub(crate) fn way_out(&self, gateway: Ipv4Addr) -> Option<&'a Route> {
        self.ways_out.get(&gateway).copied()
    }

    /// Who holds an address on this host.
    pub(crate) fn holder(&self, address: IpAddr) -> Option<&'a Address> {
        self.holders.get(&address).copied()
    }

    /// The routes with this key; usually one.
    pub(crate) fn routes(&self, key: &RouteKey) -> &[&'a Route] {
        self.routes.get(key).map_or(&[], Vec::as_slice)
    }

    /// The proxy neighbour for an address on an interface.
    pub(crate) fn proxy(&self, ifname: &IfName, address: Ipv4Addr) -> Option<&'a ProxyNeighbour> {
        self.proxies.get(&(ifname, address)).copied()
    }

    /// Whether the host itself speaks from this address of this interface: a route of somebody else names it,
    /// or the kernel chose it when asked for a way out of the interface.
    pub(crate) fn sends_from(&self, ifname: &IfName, address: Ipv4Addr) -> bool {
        self.sources.contains(&(None, address)) || self.sources.contains(&(Some(ifname), address))
    }

    /// A setting of one interface, if it was observed.
    pub(crate) fn sysctl(&self, ifname: &IfName, key: SysctlKey) -> Option<i32> {
        self.setting(&Sysctl::on(ifname, key))
    }

    /// A setting, if it was observed.
    pub(crate) fn setting(&self, sysctl: &Sysctl) -> Option<i32> {
        self.observed.sysctls.get(sysctl).copied()
    }

    /// Whether routerd made this link.
    pub(crate) fn is_our_link(&self, ifname: &IfName, link: &Link) -> bool {
        if !is_tunnel_kind(&link.kind) {
            return false;
        }
        match &link.alias {
            Some(alias) => alias.starts_with(OWNER_MARK),
            // The mark is set right after the link is made: a crash in between leaves the ledger's word.
            None => self.ledger.links.get(ifname) == Some(&LinkRecord::Created),
        }
    }

    /// The table that has the name of our MSS table, if any.
    pub(crate) fn mss_table(&self) -> Option<&'a NftTable> {
        let mut tables = self.observed.tables.iter();
        tables.find(|t| t.family == "inet" && t.name == MSS_TABLE)
    }
}

/// Link kinds that routerd itself makes.
fn is_tunnel_kind(kind: &str) -> bool {
    matches!(kind, "wireguard" | "tun" | "ipip" | "gre")
}

/// Whether a link leads to other sites rather than to a LAN: no place to capture addresses.
pub(crate) fn is_point_to_point(link: &Link) -> bool {
    let tunnels = [
        "wireguard",
        "ipip",
        "gre",
        "sit",
        "ip6tnl",
        "ip6gre",
        "vti",
        "xfrm",
        "ppp",
    ];
    tunnels.contains(&link.kind.as_str()) || (link.kind == "tun" && link.mac.is_none())
}

/// Whether a table carries our mark.
pub(crate) fn is_our_table(table: &NftTable) -> bool {
    let comment = table.comment.as_deref();
    comment.is_some_and(|c| c.starts_with(OWNER_MARK))
}

/// Whether a route carries our mark.
pub(crate) fn is_our_route(route: &Route) -> bool {
    route.protocol == OWNER_PROTOCOL
}

/// Default routes of others, whole or in halves, by gateway.
fn ways_out(observed: &Observed) -> BTreeMap<Ipv4Addr, &Route> {
    let routes = observed.routes.iter();
    let wide = routes.filter(|r| r.key.destination.prefix_len() <= 1 && !is_our_route(r));
    wide.filter_map(|route| Some((route.target.gateway()?, route)))
        .collect()
}

/// Whether BGP chose a route.
pub(crate) fn is_of_bgp(route: &Route) -> bool {
    route.protocol == BGP_PROTOCOL
}

/// `dev X`, `via Y dev X` or `blackhole`, as `ip route` writes a target.
pub(crate) fn target_words(target: &RouteTarget) -> String {
    match target {
        RouteTarget::Blackhole => "blackhole".to_owned(),
        RouteTarget::Spread { devices } => {
            let hops = devices.iter().map(|device| format!("nexthop dev {device}"));
            hops.collect::<Vec<_>>().join(" ")
        }
        RouteTarget::Unicast { device, gateway } => {
            let via = gateway.map(|gateway| format!("via {gateway}"));
            let dev = device.as_ref().map(|device| format!("dev {device}"));
            let words: Vec<_> = via.into_iter().chain(dev).collect();
            words.join(" ")
        }
    }
}

/// The kernel's own connected routes name the address of their interface as a matter of course; every other
/// route that names one does so because somebody lives on it.
const KERNEL_PROTOCOL: u8 = 2;

/// Source addresses in use: by routes (wherever they lead), and by the kernel's choice for an interface.
fn sources(observed: &Observed) -> BTreeSet<(Option<&IfName>, Ipv4Addr)> {
    let routes = observed.routes.iter();
    let named = routes
        .filter(|route| !is_our_route(route) && route.protocol != KERNEL_PROTOCOL)
        .filter_map(|route| Some((None, route.preferred_source?)));
    let lookups = observed.lookups.values().filter(|lookup| !lookup.local);
    let chosen = lookups.filter_map(|lookup| match lookup.source {
        Some(IpAddr::V4(source)) => Some((Some(&lookup.device), source)),
        _ => None,
    });
    named.chain(chosen).collect()
}
