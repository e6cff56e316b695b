//! Route tables of a cloud and how each cloud chooses among them and its own system routes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::decide::DropReason;
use super::state::{Cloud, FabricState, Nic, NicId, Subnet};

/// Where a route of a cloud's table leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteTarget {
    /// To a network interface (AWS ENI, GCP instance).
    Nic(NicId),
    /// To whatever NIC holds this private address at that moment (Azure virtual appliance, OCI private IP,
    /// GCP next-hop IP). Nobody holds it: a black hole.
    Address(Ipv4Addr),
    /// Inside the network as if no route had been written (Azure `VnetLocal`).
    Local,
    /// To the internet gateway.
    Internet,
    /// Dropped (Azure `None`, AWS blackhole).
    Nothing,
}

/// A route that a user wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its destination.
    pub prefix: Ipv4Net,
    /// Where it leads.
    pub target: RouteTarget,
    /// GCP: the lower one wins among equal destinations. 0 elsewhere.
    pub priority: u32,
}

/// Routes by the name that the cloud knows them by.
pub type RouteTable = BTreeMap<String, Route>;

/// Where the network takes a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextHop {
    /// To this NIC.
    Nic(NicId),
    /// Out of the network.
    Internet,
}

/// Ranges that Azure sends nowhere unless the network or a user's route says otherwise.
const AZURE_NONE: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// Chooses where a packet from `nic` to `destination` goes.
pub(super) fn next_hop(
    state: &FabricState,
    nic: &Nic,
    destination: Ipv4Addr,
) -> Result<NextHop, DropReason> {
    let subnet = state.subnet_of(nic).ok_or(DropReason::NoRoute)?;
    let target = match state.cloud() {
        Cloud::Aws => aws(state, subnet, destination),
        Cloud::Azure => azure(state, subnet, destination),
        Cloud::Oci => oci(state, subnet, destination),
        Cloud::Gcp => gcp(state, subnet, destination),
    };
    resolve(state, target?, destination)
}

/// The local route takes what stays in the subnet; beyond it the longest prefix wins, the local route
/// being as long as the VPC's range.
fn aws(
    state: &FabricState,
    subnet: &Subnet,
    destination: Ipv4Addr,
) -> Result<RouteTarget, DropReason> {
    if subnet.prefix.contains(&destination) {
        return Ok(RouteTarget::Local);
    }
    let local = local_prefix(state, destination);
    match longest(state, subnet, destination) {
        Some(route) if local.is_none_or(|l| route.prefix.prefix_len() > l.prefix_len()) => {
            Ok(route.target.clone())
        }
        _ if local.is_some() => Ok(RouteTarget::Local),
        _ => Err(DropReason::NoRoute),
    }
}

/// The longest prefix wins, a user's route before a system route of the same length; a `/32` works even
/// inside the subnet.
fn azure(
    state: &FabricState,
    subnet: &Subnet,
    destination: Ipv4Addr,
) -> Result<RouteTarget, DropReason> {
    let everything = Ipv4Net::default();
    let system = local_prefix(state, destination)
        .map(|p| (p, RouteTarget::Local))
        .into_iter()
        .chain(AZURE_NONE.map(|p| (p, RouteTarget::Nothing)))
        .chain([(everything, RouteTarget::Internet)])
        .filter(|(p, _)| p.contains(&destination))
        // `max_by_key` takes the last of equals; a network that uses exactly 10/8 is local, not nowhere.
        .rev()
        .max_by_key(|(p, _)| p.prefix_len());
    let user = longest(state, subnet, destination);
    match (user, system) {
        (Some(u), Some((s, _))) if u.prefix.prefix_len() >= s.prefix_len() => Ok(u.target.clone()),
        (_, Some((_, target))) => Ok(target),
        (Some(u), None) => Ok(u.target.clone()),
        (None, None) => Err(DropReason::NoRoute),
    }
}

/// Same-subnet traffic never consults the table; to another subnet of the VCN a rule at least as long as
/// the VCN's range wins over the implied local route.
fn oci(
    state: &FabricState,
    subnet: &Subnet,
    destination: Ipv4Addr,
) -> Result<RouteTarget, DropReason> {
    if subnet.prefix.contains(&destination) {
        return Ok(RouteTarget::Local);
    }
    let local = local_prefix(state, destination);
    match longest(state, subnet, destination) {
        Some(route) if local.is_none_or(|l| route.prefix.prefix_len() >= l.prefix_len()) => {
            Ok(route.target.clone())
        }
        _ if local.is_some() => Ok(RouteTarget::Local),
        _ => Err(DropReason::NoRoute),
    }
}

/// A subnet's range belongs to the subnet, except that a hybrid subnet lets addresses that nobody holds
/// fall through to the static routes. A network's space is exactly its subnets.
fn gcp(
    state: &FabricState,
    subnet: &Subnet,
    destination: Ipv4Addr,
) -> Result<RouteTarget, DropReason> {
    let within = state
        .subnets()
        .values()
        .find(|s| s.prefix.contains(&destination));
    let route = longest(state, subnet, destination);
    match (within, route) {
        (Some(s), Some(r)) if s.hybrid && state.holder(destination).is_none() => {
            Ok(r.target.clone())
        }
        (Some(_), _) => Ok(RouteTarget::Local),
        (None, Some(r)) => Ok(r.target.clone()),
        (None, None) => Err(DropReason::NoRoute),
    }
}

/// Turns a target into a NIC, the internet, or a reason why the packet ends here.
fn resolve(
    state: &FabricState,
    target: RouteTarget,
    destination: Ipv4Addr,
) -> Result<NextHop, DropReason> {
    let holder = |address| state.holder(address).cloned().map(NextHop::Nic);
    match target {
        RouteTarget::Nic(id) if state.nics().contains_key(&id) => Ok(NextHop::Nic(id)),
        RouteTarget::Nic(_) => Err(DropReason::RouteTargetGone),
        RouteTarget::Address(address) => holder(address).ok_or(DropReason::RouteTargetGone),
        RouteTarget::Local => holder(destination).ok_or(DropReason::AddressNotAssigned),
        RouteTarget::Internet => Ok(NextHop::Internet),
        RouteTarget::Nothing => Err(DropReason::RouteToNothing),
    }
}

/// The user's route with the longest prefix; among equals the lowest priority.
fn longest<'a>(
    state: &'a FabricState,
    subnet: &Subnet,
    destination: Ipv4Addr,
) -> Option<&'a Route> {
    let table = state.route_tables().get(subnet.route_table.as_ref()?)?;
    table
        .values()
        .filter(|r| r.prefix.contains(&destination))
        .min_by_key(|r| (u8::MAX - r.prefix.prefix_len(), r.priority))
}

/// The part of the network's own space that holds an address.
fn local_prefix(state: &FabricState, address: Ipv4Addr) -> Option<Ipv4Net> {
    let mut prefixes = state.prefixes().iter();
    prefixes.find(|p| p.contains(&address)).copied()
}
