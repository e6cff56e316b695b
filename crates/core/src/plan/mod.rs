//! From what is wanted and what is there to a list of steps.
//!
//! A plan is data so specific that execution makes no choices. Planning twice in a row gives an empty
//! plan.
//!
//! `resolve` says what should be there ([`Desired`]), `diff` compares it with what is there, `steps` puts the
//! result in order, `record` keeps the ledger.

mod desired;
mod diff;
mod held;
mod misfit;
mod record;
mod resolve;
mod step;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub use step::{Action, AllowedIpsChange, PeerChange, PresharedKeyChange, Step, WireGuardChange};

pub(crate) use desired::Desired;
pub(crate) use diff::DEAD_AFTER;
pub(crate) use resolve::{Underlay, resolve, underlay_path_mtu};

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::plan::{PlanView, Waiting};
use api::{IfName, MobileAddress, ResourceId};

use crate::effective::{CaptureMethod, DeliveryIntent};
use crate::host::Host;
use crate::key::KeySource;
use crate::observed::Query;
use crate::path_mtu::PathTarget;
use crate::{Effective, Ledger, Observed, bgp};

/// What to do, and what cannot be done yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of execution.
    pub steps: Vec<Step>,
    /// What is wanted but has to wait for something.
    pub waiting: Vec<Waiting>,
}

impl Plan {
    /// The plan as people and scripts read it.
    pub fn view(&self) -> PlanView {
        PlanView {
            steps: self.steps.iter().map(Step::line).collect(),
            waiting: self.waiting.clone(),
        }
    }
}

/// What has to be observed to plan for this configuration.
pub fn query(effective: &Effective) -> Query {
    let mut query = Query {
        bgp: bgp::concerned(effective),
        ..Query::default()
    };
    for (ifname, intent) in &effective.wireguard {
        if let KeySource::File(path) = &intent.private_key {
            query.key_files.insert(path.clone());
        }
        for peer in intent.peers.values() {
            query.key_files.extend(peer.preshared_key.clone());
            query
                .lookups
                .extend(peer.endpoint.map(|endpoint| endpoint.ip()));
            // All stripes go the same way.
            let first = effective.striped(ifname).is_none();
            if let Some(SocketAddr::V4(endpoint)) = peer.endpoint.filter(|_| first) {
                query.endpoints.insert(endpoint);
            }
        }
    }
    for (ifname, peers) in &effective.inside {
        query.paths.extend(peers.keys().map(|inside| PathTarget {
            ifname: ifname.clone(),
            inside: *inside,
        }));
    }
    for tunnel in effective.plain_tunnels.values() {
        query.tunnels.insert(tunnel.encapsulation.needs());
        query.lookups.insert(tunnel.remote.into());
    }
    query
}

/// The steps from what is there to what is wanted. An empty [`Effective`] gives back the host as it was,
/// but for private key files: they are kept.
pub fn plan(effective: &Effective, observed: &Observed, ledger: &Ledger) -> Plan {
    let host = Host::new(observed, ledger);
    let mut gone = misfit::misfits(effective, &host);
    if gone.is_empty() {
        match plan_on(effective, &host) {
            Ok(plan) => return plan,
            Err(in_the_way) => gone = in_the_way,
        }
    }
    let mut plan = loop {
        let rest = misfit::without(observed, &gone);
        match plan_on(effective, &Host::new(&rest, ledger)) {
            Ok(plan) => break plan,
            Err(in_the_way) => gone.extend(in_the_way),
        }
    };
    let removals = gone.into_iter().map(|ifname| Step {
        owner: ResourceId::new("routerd", "cleanup"),
        action: Action::DeleteLink { ifname },
    });
    plan.steps.splice(0..0, removals);
    plan
}

/// The plan, or the links that have to go before there can be one.
fn plan_on(effective: &Effective, host: &Host<'_>) -> Result<Plan, BTreeSet<IfName>> {
    let desired = resolve(effective, host);
    let in_the_way = misfit::in_the_way(&desired, host);
    if !in_the_way.is_empty() {
        return Err(in_the_way);
    }
    Ok(Plan {
        steps: diff::diff(&desired, host),
        waiting: desired.waiting,
    })
}

/// The ledger as it must stand on disk before `plan` is executed.
pub fn record(ledger: &Ledger, plan: &Plan, observed: &Observed) -> Ledger {
    record::record(ledger, plan, observed)
}

/// The ledger after a plan was executed: entries that were restored are forgotten.
pub fn settle(ledger: &Ledger, effective: &Effective, observed: &Observed) -> Ledger {
    let host = Host::new(observed, ledger);
    let desired = resolve(effective, &host);
    record::settle(&desired, effective, &host)
}

/// What stands on the host for each resource, as the steps that would make it: what `describe` shows.
pub fn held(
    effective: &Effective,
    observed: &Observed,
    ledger: &Ledger,
) -> BTreeMap<ResourceId, Vec<Step>> {
    held::held(effective, observed, ledger)
}

/// The captured addresses that this node answers and announces by ARP, by capture interface; the value
/// says whether to announce it when it becomes active. Only what is delivered is answered for.
pub fn responders(
    effective: &Effective,
    observed: &Observed,
) -> BTreeMap<IfName, BTreeMap<MobileAddress, bool>> {
    let host = Host::new(observed, Ledger::nothing());
    let desired = resolve(effective, &host);
    let routes = observed.routes.iter();
    let delivered: BTreeSet<_> = routes
        .flat_map(|route| {
            let devices = route.target.devices();
            devices.map(|device| (route.key.destination, device))
        })
        .collect();
    let mut responders: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (address, intent) in &effective.captures {
        let CaptureMethod::ProxyArp { gratuitous } = intent.method else {
            continue;
        };
        let Some(&ifname) = desired.captures.get(address) else {
            continue;
        };
        let up = host.link(ifname).is_some_and(|link| link.up);
        let answered = host.proxy(ifname, address.addr()).is_some();
        let by = |device| delivered.contains(&(address.host_route(), device));
        let delivered = match intent.delivery {
            DeliveryIntent::Route => by(&intent.tunnel),
            DeliveryIntent::Bgp { .. } => observed.links.keys().any(by),
        };
        if up && answered && delivered {
            let addresses = responders.entry(ifname.clone()).or_default();
            addresses.insert(*address, gratuitous);
        }
    }
    responders
}
