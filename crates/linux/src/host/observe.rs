//! One snapshot of the host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use api::IfName;
use routerd_core::kernel::KernelError;
use routerd_core::observed::Link;
use routerd_core::observed::{Features, Lookup, Query, Route};
use routerd_core::path_mtu::PathTarget;
use routerd_core::sysctl::{Sysctl, SysctlKey};
use routerd_core::{BGP_PROTOCOL, OWNER_MARK, Observed};

use super::{Host, clock, failed};
use crate::netlink::link::{self, Entry, Names};
use crate::netlink::{address, neighbour, route};
use crate::{nft, plain, sysctl, wireguard};

/// The speaker may have very many routes, and watches them itself.
fn routes(host: &mut Host, names: &Names, query: &Query) -> Result<Vec<Route>, KernelError> {
    let wanted =
        |protocol, destination| protocol != BGP_PROTOCOL || query.bgp.contains(&destination);
    route::dump(&mut host.route, names, wanted).map_err(failed("dump routes"))
}

pub(super) fn observe(host: &mut Host, query: &Query) -> Result<Observed, KernelError> {
    let entries = link::dump(&mut host.route).map_err(failed("dump links"))?;
    let names: Names = names(&entries);
    let lookups = lookups(host, &names, &entries, query)?;
    let sysctls = settings(host, &names, &entries)?;
    let addresses = address::dump(&mut host.route, &names, unmarked_is_ours(&entries))
        .map_err(failed("dump addresses"))?;
    let neighbours =
        neighbour::dump(&mut host.route, &names).map_err(failed("dump proxy neighbours"))?;
    let routes = routes(host, &names, query)?;
    let links = entries
        .into_iter()
        .map(|entry| (entry.name, entry.link))
        .collect();
    let (path_limits, path_mtus) = paths(host, &links, &lookups, query);
    let nftables = host
        .nftables
        .observe()
        .map_err(failed("observe nftables"))?;
    Ok(Observed {
        path_limits,
        path_mtus,
        features: Features {
            kernel_wireguard: wireguard::kernel_driver_available(),
            kernel_tunnels: plain::offered(&query.tunnels),
        },
        addresses: addresses.into_iter().collect(),
        routes,
        proxy_neighbours: neighbours.into_iter().collect(),
        sysctls,
        tables: nftables.tables.clone(),
        mss: nftables.mss.clone(),
        wireguard: host
            .wireguard
            .observe(&links)
            .map_err(failed("observe WireGuard"))?,
        plain_tunnels: host
            .wireguard
            .plain()
            .observe(&links, &names)
            .map_err(failed("observe tunnels"))?,
        fou_ports: plain::ports(&query.tunnels),
        key_files: query
            .key_files
            .iter()
            .map(|path| (path.clone(), wireguard::inspect(path)))
            .collect(),
        lookups,
        firewall: query.firewall.then(nft::observe_firewall),
        clock: query.clock.then(clock::observe).flatten(),
        links,
        ..Observed::default()
    })
}

pub(super) fn names(entries: &[Entry]) -> Names {
    entries
        .iter()
        .map(|entry| (entry.link.index, entry.name.clone()))
        .collect()
}

/// Has measured what the query asks for, and tells what was found so far.
fn paths(
    host: &Host,
    links: &BTreeMap<IfName, Link>,
    lookups: &BTreeMap<IpAddr, Lookup>,
    query: &Query,
) -> (BTreeMap<IfName, u32>, BTreeMap<PathTarget, u32>) {
    let Some(paths) = &host.paths else {
        return Default::default();
    };
    if host.leads {
        let targets = query.paths.iter();
        let wanted = targets.filter_map(|target| {
            let link = links.get(&target.ifname).filter(|link| link.up)?;
            Some((target.clone(), link.mtu))
        });
        let endpoints = query.endpoints.iter();
        let endpoints = endpoints.filter_map(|endpoint| {
            let lookup = lookups.get(&IpAddr::V4(*endpoint.ip()))?;
            Some((*endpoint, links.get(&lookup.device)?.mtu))
        });
        paths.measure(&wanted.collect(), endpoints.collect());
    }
    paths.found()
}

/// Before Linux 5.18 addresses carry no protocol number. There, those on links that we made count as ours; those
/// that we put on other links stay when we go.
fn unmarked_is_ours(entries: &[Entry]) -> impl Fn(u32) -> bool {
    let marks_exist = addresses_carry_protocol();
    let ours: Vec<u32> = entries
        .iter()
        .filter(|entry| {
            let alias = entry.link.alias.as_deref();
            alias.is_some_and(|alias| alias.starts_with(OWNER_MARK))
        })
        .map(|entry| entry.link.index)
        .collect();
    move |index| !marks_exist && ours.contains(&index)
}

fn addresses_carry_protocol() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let release = nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0u32));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 18)
    })
}

fn settings(
    host: &mut Host,
    names: &Names,
    entries: &[Entry],
) -> Result<BTreeMap<Sysctl, i32>, KernelError> {
    let shared = sysctl::read_shared().map_err(failed("read net.ipv4.conf"))?;
    let delays = neighbour::proxy_delays(&mut host.route).map_err(failed("dump proxy delays"))?;
    let mut settings: BTreeMap<Sysctl, i32> = shared.into_iter().collect();
    for entry in entries {
        let of_link = entry.settings.iter();
        settings.extend(of_link.map(|(key, value)| (Sysctl::on(&entry.name, *key), *value)));
    }
    for (index, delay) in delays {
        let sysctl = match index {
            None => Some(Sysctl::default_of(SysctlKey::ProxyDelay)),
            Some(index) => names
                .get(&index)
                .map(|name| Sysctl::on(name, SysctlKey::ProxyDelay)),
        };
        settings.extend(sysctl.map(|sysctl| (sysctl, delay)));
    }
    Ok(settings)
}

fn lookups(
    host: &mut Host,
    names: &Names,
    entries: &[Entry],
    query: &Query,
) -> Result<BTreeMap<IpAddr, Lookup>, KernelError> {
    let mtu = |index| {
        let mut links = entries.iter().map(|entry| &entry.link);
        links.find(|link| link.index == index).map(|link| link.mtu)
    };
    let mut found = BTreeMap::new();
    for destination in &query.lookups {
        let answer = route::lookup(&mut host.route, names, mtu, *destination)
            .map_err(failed(format!("look up {destination}")))?;
        found.extend(answer.map(|lookup| (*destination, lookup)));
    }
    Ok(found)
}
