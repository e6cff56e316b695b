//! From what the configuration asks for to the kernel state wanted on this host: finds what was left out,
//! and says what has to wait. Does not look at what is already in place, except to keep it.

mod captures;
mod links;
mod plain;
mod routes;
mod settings;
mod stripes;
mod tunnels;

pub(crate) use tunnels::{Underlay, underlay_path_mtu};

use std::collections::BTreeSet;

use links::After;

use super::desired::Desired;
use crate::Effective;
use crate::host::Host;

/// Resolves a whole configuration.
pub(crate) fn resolve<'a>(effective: &'a Effective, host: &Host<'a>) -> Desired<'a> {
    let mut desired = Desired::default();
    tunnels::resolve_tunnels(effective, host, &mut desired);
    plain::resolve_plain_tunnels(effective, host, &mut desired);
    links::resolve_links(effective, host, &mut desired);
    let mut after = After::new(effective, host, &desired);
    links::resolve_addresses(effective, &mut after, &mut desired);
    routes::resolve_routes(effective, host, &after, &mut desired);
    captures::resolve_captures(effective, host, &after, &mut desired);
    settings::resolve_delivery(effective, host, &after, &mut desired);
    stripes::want_spreading(effective, &mut desired);
    let mut seen = BTreeSet::new();
    let waiting = std::mem::take(&mut desired.waiting);
    desired.waiting = waiting
        .into_iter()
        .filter(|w| seen.insert((w.owner.clone(), w.reason.clone())))
        .collect();
    desired
}
