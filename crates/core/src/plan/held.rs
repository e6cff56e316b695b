//! What each resource is on this host: the steps that would make it if nothing of ours were there.

use std::collections::{BTreeMap, BTreeSet};

use api::ResourceId;

use super::{Step, plan};
use crate::host::{Host, is_our_route, is_our_table};
use crate::ledger::LinkRecord;
use crate::{Effective, Ledger, Observed};

/// The steps behind what stands on the host, by owner. What is still to be done is not among them.
pub(super) fn held(
    effective: &Effective,
    observed: &Observed,
    ledger: &Ledger,
) -> BTreeMap<ResourceId, Vec<Step>> {
    let missing = plan(effective, observed, ledger).steps;
    let mut held: BTreeMap<ResourceId, Vec<Step>> = BTreeMap::new();
    let bare = without_ours(observed, ledger);
    for step in plan(effective, &bare, &Ledger::default()).steps {
        if !missing.contains(&step) {
            held.entry(step.owner.clone()).or_default().push(step);
        }
    }
    held
}

/// The host as it would be without us.
fn without_ours(observed: &Observed, ledger: &Ledger) -> Observed {
    let host = Host::new(observed, ledger);
    let is_ours = |name: &&api::IfName| {
        let link = observed.links.get(*name);
        link.is_some_and(|link| host.is_our_link(name, link))
    };
    let ours: BTreeSet<_> = observed.links.keys().filter(is_ours).cloned().collect();
    let mut bare = observed.clone();
    bare.links.retain(|name, _| !ours.contains(name));
    bare.wireguard.retain(|name, _| !ours.contains(name));
    bare.plain_tunnels.retain(|name, _| !ours.contains(name));
    bare.fou_ports
        .retain(|port, _| !ledger.fou_ports.contains(port));
    bare.addresses
        .retain(|a| !a.owned && !ours.contains(&a.ifname));
    bare.routes.retain(|route| !is_our_route(route));
    bare.proxy_neighbours.retain(|proxy| !proxy.owned);
    bare.tables.retain(|table| !is_our_table(table));
    bare.mss = None;
    for (sysctl, changed) in &ledger.sysctls {
        if let Some(value) = bare.sysctls.get_mut(sysctl) {
            *value = changed.restore(*value).unwrap_or(*value);
        }
    }
    for (name, record) in &ledger.links {
        if let (Some(link), LinkRecord::Adopted { mtu, up, .. }) =
            (bare.links.get_mut(name), record)
        {
            link.mtu = mtu.and_then(|m| m.restore(link.mtu)).unwrap_or(link.mtu);
            link.up = up.and_then(|u| u.restore(link.up)).unwrap_or(link.up);
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use crate::plan::{held, query};
    use crate::testing::*;

    fn texts(node: &mut Node) -> Vec<String> {
        let wanted = onprem();
        let observed = node.look(&query(&wanted));
        let held = held(&wanted, &observed, &node.ledger);
        held.values().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_planned_is_held_and_what_is_gone_is_not() {
        let mut node = Node::new(onprem_host());
        assert_eq!(texts(&mut node), Vec::<String>::new());
        let plan = node.apply(&onprem());
        let made = plan.steps.iter().map(ToString::to_string);
        // The key file is nobody's object: it stays when everything else goes.
        let mut made: Vec<String> = made.filter(|t| !t.starts_with("wg genkey")).collect();
        let mut held = texts(&mut node);
        made.sort();
        held.sort();
        assert_eq!(held, made);

        node.kernel.host.proxy_neighbours.clear();
        let proxy = "ip neighbour add proxy 10.77.60.7 dev ens21 protocol 82";
        assert!(made.iter().any(|text| text == proxy));
        assert!(!texts(&mut node).iter().any(|text| text == proxy));
    }
}
