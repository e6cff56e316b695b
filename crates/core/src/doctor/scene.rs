//! What the checks look at.

use std::collections::{BTreeMap, BTreeSet};

use api::{IfName, MobileAddress, ResourceId};
use ipnet::Ipv4Net;

use super::Runtime;
use super::firewall::Flow;
use crate::effective::CaptureIntent;
use crate::host::Host;
use crate::observed::Route;
use crate::plan::{Desired, resolve};
use crate::{Effective, Ledger, Observed, Plan};

/// The number of the table `main`.
pub(super) const MAIN_TABLE: u32 = 254;

/// What brings back everything that routerd made.
pub(super) const RESTART: &str = "systemctl restart routerd";

/// The host, what is wanted of it, and the paths that captured packets take.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) effective: &'a Effective,
    pub(super) plan: &'a Plan,
    pub(super) runtime: &'a Runtime,
    pub(super) host: Host<'a>,
    pub(super) desired: Desired<'a>,
    pub(super) paths: Vec<Path<'a>>,
}

/// The way between a capture interface and a tunnel, both directions.
#[derive(Debug)]
pub(super) struct Path<'a> {
    pub(super) capture: &'a IfName,
    pub(super) tunnel: &'a IfName,
    pub(super) domain: Ipv4Net,
    pub(super) addresses: Vec<MobileAddress>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        effective: &'a Effective,
        observed: &'a Observed,
        plan: &'a Plan,
        runtime: &'a Runtime,
    ) -> Self {
        // To doctor, what is not marked is not ours.
        let host = Host::new(observed, Ledger::nothing());
        let desired = resolve(effective, &host);
        let paths = paths(effective, &desired);
        Self {
            effective,
            plan,
            runtime,
            host,
            desired,
            paths,
        }
    }

    /// Interfaces that forwarded packets come in by: of captures, and tunnels that deliver.
    pub(super) fn forwarding_interfaces(&self) -> BTreeSet<&'a IfName> {
        let captures = self.desired.captures.values().copied();
        captures.chain(self.effective.delivery.keys()).collect()
    }

    /// Every tunnel that anything is asked of.
    pub(super) fn tunnels(&self) -> BTreeSet<&'a IfName> {
        let wireguard = self.effective.wireguard.keys();
        let plain = self.effective.plain_tunnels.keys();
        let own = wireguard.chain(plain);
        own.chain(self.effective.delivery.keys()).collect()
    }

    /// The resource to name for a tunnel.
    pub(super) fn tunnel_owner(&self, tunnel: &IfName) -> String {
        let wireguard = self.effective.wireguard.get(tunnel);
        let plain = self.effective.plain_tunnels.get(tunnel);
        let owner = wireguard.map(|intent| &intent.owner);
        let owner = owner.or(plain.map(|intent| &intent.owner));
        owner.map_or(tunnel.to_string(), ToString::to_string)
    }

    /// Why a resource waits.
    pub(super) fn reason(&self, owner: &ResourceId) -> Option<&str> {
        let mut waiting = self.desired.waiting.iter();
        let found = waiting.find(|wait| wait.owner == *owner);
        found.map(|wait| wait.reason.as_str())
    }

    /// The captures on each interface.
    pub(super) fn captures(
        &self,
    ) -> impl Iterator<Item = (MobileAddress, &'a CaptureIntent, &'a IfName)> + '_ {
        self.effective
            .captures
            .iter()
            .filter_map(|(address, intent)| {
                let ifname = self.desired.captures.get(address)?;
                Some((*address, intent, *ifname))
            })
    }

    /// The routes of the main table that cover a network, best first.
    pub(super) fn covering(&self, network: Ipv4Net) -> Vec<&'a Route> {
        let routes = self.host.observed.routes.iter();
        let mut routes: Vec<_> = routes
            .filter(|route| route.key.table == MAIN_TABLE)
            .filter(|route| route.key.destination.contains(&network))
            .collect();
        routes.sort_by_key(|route| {
            let length = route.key.destination.prefix_len();
            (std::cmp::Reverse(length), route.key.metric)
        });
        routes
    }
}

impl Path<'_> {
    /// From the capture interface into the tunnel.
    pub(super) const OUT: &'static str = "into the tunnel";
    /// Out of the tunnel to the capture interface.
    pub(super) const BACK: &'static str = "out of the tunnel";

    /// What passes here: to and from each captured address.
    pub(super) fn flows(&self) -> impl Iterator<Item = (&'static str, Flow<'_>)> {
        let domain = Some(self.domain);
        let (capture, tunnel) = (Some(self.capture.as_str()), Some(self.tunnel.as_str()));
        self.addresses.iter().flat_map(move |address| {
            let host = Some(address.host_route());
            let out = Flow {
                iif: capture,
                oif: tunnel,
                source: domain,
                destination: host,
                ..Flow::default()
            };
            let back = Flow {
                iif: tunnel,
                oif: capture,
                source: host,
                destination: domain,
                ..Flow::default()
            };
            [(Self::OUT, out), (Self::BACK, back)]
        })
    }
}

fn paths<'a>(effective: &'a Effective, desired: &Desired<'a>) -> Vec<Path<'a>> {
    let mut paths: BTreeMap<_, Path<'a>> = BTreeMap::new();
    for (address, intent) in &effective.captures {
        let Some(&capture) = desired.captures.get(address) else {
            continue;
        };
        let path = paths.entry((capture, &intent.tunnel, intent.domain));
        let path = path.or_insert_with(|| Path {
            capture,
            tunnel: &intent.tunnel,
            domain: intent.domain,
            addresses: Vec::new(),
        });
        path.addresses.push(*address);
    }
    paths.into_values().collect()
}
