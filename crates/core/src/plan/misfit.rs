//! Links of ours that would have to become something that a link cannot become: they go first, with all that
//! hangs on them, and the plan goes on as if they had not been there.

use std::collections::BTreeSet;

use api::IfName;

use crate::host::Host;
use crate::sysctl::Scope;
use crate::{Effective, Observed};

/// A WireGuard interface that was a plain tunnel, the other way round, or a plain tunnel of another type of link.
pub(super) fn misfits(effective: &Effective, host: &Host<'_>) -> BTreeSet<IfName> {
    let observed = host.observed;
    let links = observed.links.iter();
    let ours = links.filter(|(ifname, link)| host.is_our_link(ifname, link));
    let misfits = ours.filter(|(ifname, link)| {
        let plain = effective.plain_tunnels.get(*ifname);
        if let Some(intent) = plain {
            let kind = link.kind.as_str();
            observed.wireguard.contains_key(*ifname)
                || (kind != "tun" && kind != intent.encapsulation.link_kind())
        } else {
            effective.wireguard.contains_key(*ifname)
                && (observed.plain_tunnels.contains_key(*ifname)
                    || !matches!(link.kind.as_str(), "tun" | "wireguard"))
        }
    });
    misfits.map(|(ifname, _)| ifname.clone()).collect()
}

/// The host as it is once these links are gone.
pub(super) fn without(observed: &Observed, gone: &BTreeSet<IfName>) -> Observed {
    let mut rest = observed.clone();
    rest.links.retain(|ifname, _| !gone.contains(ifname));
    rest.wireguard.retain(|ifname, _| !gone.contains(ifname));
    rest.plain_tunnels
        .retain(|ifname, _| !gone.contains(ifname));
    rest.addresses
        .retain(|address| !gone.contains(&address.ifname));
    rest.proxy_neighbours
        .retain(|proxy| !gone.contains(&proxy.ifname));
    rest.routes
        .retain(|route| !route.target.devices().any(|device| gone.contains(device)));
    rest.sysctls.retain(|sysctl, _| match &sysctl.scope {
        Scope::Interface(ifname) => !gone.contains(ifname),
        _ => true,
    });
    rest
}
