//! From the kernel state that is wanted and the one that is there to the steps in between. Decides what of
//! the host is ours to change; see `docs/ownership.md`.

mod addresses;
mod links;
mod plain;
mod ports;
mod routes;
mod settings;
mod tunnels;

use std::collections::BTreeMap;

use super::desired::Desired;
use super::steps::{Stage, Steps};
use super::{Action, Step};
use crate::MSS_TABLE;
use crate::host::{Host, is_our_table};

pub(crate) use links::link_restore;
pub(crate) use ports::{exclusive_ports, wanted_ports};
pub(crate) use settings::setting_restore;
pub(crate) use tunnels::DEAD_AFTER;

/// All steps in the order of execution.
pub(crate) fn diff(desired: &Desired<'_>, host: &Host<'_>) -> Vec<Step> {
    let mut steps = Steps::default();
    tunnels::diff_tunnels(desired, host, &mut steps);
    plain::diff_plain(desired, host, &mut steps);
    links::diff_links(desired, host, &mut steps);
    addresses::diff_addresses(desired, host, &mut steps);
    routes::diff_routes(desired, host, &mut steps);
    diff_proxies(desired, host, &mut steps);
    diff_tables(desired, host, &mut steps);
    settings::diff_settings(desired, host, &mut steps);
    steps.in_order()
}

/// A foreign proxy neighbour for the same address does the same work: it is left, and not doubled.
fn diff_proxies(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    for ((ifname, address), owner) in &desired.proxies {
        if host.proxy(ifname, *address).is_none() {
            let action = Action::AddProxyNeighbour {
                ifname: (*ifname).clone(),
                address: *address,
            };
            steps.push(Stage::AddProxy, owner, action);
        }
    }
    let ours = host.observed.proxy_neighbours.iter().filter(|p| p.owned);
    for proxy in ours {
        if !desired
            .proxies
            .contains_key(&(&proxy.ifname, proxy.address))
        {
            let action = Action::RemoveProxyNeighbour {
                ifname: proxy.ifname.clone(),
                address: proxy.address,
            };
            steps.clean_up(Stage::RemoveProxy, action);
        }
    }
}

fn diff_tables(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    let clamps: BTreeMap<_, _> = desired
        .clamps
        .iter()
        .map(|(ifname, wish)| ((*ifname).clone(), wish.clamp))
        .collect();
    let first = desired.clamps.values().next();
    if let Some(first) = first
        && host.observed.mss.as_ref() != Some(&clamps)
    {
        let action = Action::SetMssTable { clamps };
        steps.push(Stage::SetClamp, first.owner, action);
    }
    for table in host.observed.tables.iter().filter(|t| is_our_table(t)) {
        let is_mss = table.family == "inet" && table.name == MSS_TABLE;
        if !is_mss || first.is_none() {
            let action = Action::RemoveTable {
                family: table.family.clone(),
                name: table.name.clone(),
            };
            steps.clean_up(Stage::RemoveTable, action);
        }
    }
}
