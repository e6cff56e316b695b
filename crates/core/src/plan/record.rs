//! The ledger before and after a plan.

use super::desired::Desired;
use super::diff::{link_restore, setting_restore, wanted_ports};
use super::{Action, PeerChange, Plan, WireGuardChange};
use crate::effective::Effective;
use crate::host::Host;
use crate::ledger::{Changed, LinkRecord, PeerKey};
use crate::sysctl::{Scope, Sysctl, SysctlKey};
use crate::{Ledger, Observed};

/// What must be known after a crash at any point of the plan.
pub(super) fn record(ledger: &Ledger, plan: &Plan, observed: &Observed) -> Ledger {
    let host = Host::new(observed, ledger);
    let mut ledger = ledger.clone();
    for step in &plan.steps {
        match &step.action {
            Action::CreateWireGuard { ifname, .. } | Action::CreateTunnel { ifname, .. } => {
                ledger.links.insert(ifname.clone(), LinkRecord::Created);
            }
            Action::SetLink { ifname, mtu, up } => {
                record_link(&mut ledger, ifname, &host, *mtu, *up);
            }
            Action::SetSysctl {
                sysctl,
                value,
                from,
            } => record_setting(&mut ledger, sysctl, *from, *value, observed),
            Action::AddRoute(route) | Action::ReplaceRoute(route) => {
                ledger.routes.insert(route.key.clone());
            }
            Action::SetWireGuard { ifname, change } => {
                record_endpoints(&mut ledger, ifname, change);
            }
            Action::AddFouPort { port, .. } => {
                ledger.fou_ports.insert(*port);
            }
            Action::GenerateKey { .. }
            | Action::TakeOverWireGuard { .. }
            | Action::TakeOverTunnel { .. }
            | Action::ChangeTunnel { .. }
            | Action::RemoveFouPort { .. }
            | Action::DeleteLink { .. }
            | Action::AddAddress { .. }
            | Action::RemoveAddress { .. }
            | Action::RemoveRoute(_)
            | Action::AddProxyNeighbour { .. }
            | Action::RemoveProxyNeighbour { .. }
            | Action::SetMssTable { .. }
            | Action::RemoveTable { .. } => {}
        }
    }
    ledger
}

fn record_link(
    ledger: &mut Ledger,
    ifname: &api::IfName,
    host: &Host<'_>,
    mtu: Option<u32>,
    up: Option<bool>,
) {
    let Some(link) = host.link(ifname) else {
        return;
    };
    let (old_mtu, old_up, addressed) = match ledger.links.get(ifname) {
        Some(LinkRecord::Created) => return,
        Some(LinkRecord::Adopted { mtu, up, addressed }) => (*mtu, *up, *addressed),
        None => (None, None, host.has_foreign_address(ifname)),
    };
    let record = LinkRecord::Adopted {
        mtu: mtu.map_or(old_mtu, |to| Some(Changed::follow(old_mtu, link.mtu, to))),
        up: up.map_or(old_up, |to| Some(Changed::follow(old_up, link.up, to))),
        addressed,
    };
    ledger.links.insert(ifname.clone(), record);
}

fn record_setting(ledger: &mut Ledger, sysctl: &Sysctl, from: i32, to: i32, observed: &Observed) {
    if let Scope::Interface(ifname) = &sysctl.scope
        && ledger.links.get(ifname) == Some(&LinkRecord::Created)
    {
        return;
    }
    let changed = Changed::follow(ledger.sysctls.get(sysctl).copied(), from, to);
    ledger.sysctls.insert(sysctl.clone(), changed);
    if sysctl.key == SysctlKey::Forwarding {
        record_global_forwarding(ledger, observed);
    }
}

/// A witness, never a change of ours: whether the whole host forwarded when we began to set interfaces.
fn record_global_forwarding(ledger: &mut Ledger, observed: &Observed) {
    let global = Sysctl::all(SysctlKey::Forwarding);
    if let Some(&now) = observed.sysctls.get(&global) {
        let witness = Changed {
            prior: now,
            set: now,
        };
        ledger.sysctls.entry(global).or_insert(witness);
    }
}

fn record_endpoints(ledger: &mut Ledger, ifname: &api::IfName, change: &WireGuardChange) {
    for (public_key, peer) in &change.peers {
        let key = PeerKey {
            ifname: ifname.clone(),
            public_key: *public_key,
        };
        match peer {
            PeerChange::Set {
                endpoint: Some(endpoint),
                ..
            } => {
                ledger.endpoints.insert(key, *endpoint);
            }
            PeerChange::Set { .. } | PeerChange::Remove => {}
        }
    }
}

/// Forgets what was given back and what went away by itself.
pub(super) fn settle(desired: &Desired<'_>, effective: &Effective, host: &Host<'_>) -> Ledger {
    let mut ledger = host.ledger.clone();
    ledger
        .links
        .retain(|ifname, record| match host.link(ifname) {
            None => effective.makes(ifname),
            Some(link) => match record {
                LinkRecord::Created => host.is_our_link(ifname, link),
                LinkRecord::Adopted { .. } => {
                    desired.links.contains_key(ifname)
                        || desired.uses(ifname)
                        || link_restore(ifname, record, link, desired, host) != (None, None)
                }
            },
        });
    let global = Sysctl::all(SysctlKey::Forwarding);
    ledger.sysctls.retain(|sysctl, _| {
        let wanted = desired.settings.contains_key(sysctl) && host.setting(sysctl).is_some();
        wanted || *sysctl == global || setting_restore(sysctl, host).is_some()
    });
    let forwarding = |sysctl: &Sysctl| sysctl.key == SysctlKey::Forwarding && *sysctl != global;
    if !ledger.sysctls.keys().any(forwarding) {
        ledger.sysctls.remove(&global);
    }
    let ports = wanted_ports(desired);
    ledger
        .fou_ports
        .retain(|port| ports.contains_key(port) || host.observed.fou_ports.contains_key(port));
    let routes = &effective.routes;
    ledger.routes.retain(|key| routes.contains_key(key));
    ledger.endpoints.retain(|key, _| {
        let tunnel = effective.wireguard.get(&key.ifname);
        tunnel.is_some_and(|tunnel| tunnel.peers.contains_key(&key.public_key))
    });
    ledger
}
