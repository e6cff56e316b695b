//! Executes addresses, routes and neighbours, many at a time.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use api::IfName;
use nix::errno::Errno;
use routerd_core::Step;
use routerd_core::effective::RouteTarget;
use routerd_core::observed::Route;
use routerd_core::plan::Action;

use super::last_address::Endangered;
use super::{Host, apply, observe};
use crate::netlink::{Error, Refusal, Request, address, link, neighbour, route};

/// The step that failed, by index, and why.
type Failure = (usize, String);

/// How many steps from the first on can go into one batch. Removals of addresses go by themselves: what they endanger
/// depends on the steps before them.
pub(super) fn prefix(steps: &[Step]) -> usize {
    let removes_address = |step: &Step| matches!(step.action, Action::RemoveAddress { .. });
    let bulk = |step: &Step| {
        matches!(
            step.action,
            Action::AddAddress { .. }
                | Action::AddRoute(_)
                | Action::ReplaceRoute(_)
                | Action::RemoveRoute(_)
                | Action::AddProxyNeighbour { .. }
                | Action::RemoveProxyNeighbour { .. }
        )
    };
    let removals = steps
        .iter()
        .take_while(|step| removes_address(step))
        .count();
    if removals > 0 {
        removals
    } else {
        steps.iter().take_while(|step| bulk(step)).count()
    }
}

/// Executes such steps. On failure names the first that failed.
pub(super) fn apply(host: &mut Host, steps: &[Step]) -> Result<(), Failure> {
    let mut indices = Indices::default();
    let mut requests = Vec::with_capacity(steps.len());
    let mut origins = Vec::with_capacity(steps.len());
    let mut unbuilt = None;
    for (origin, step) in steps.iter().enumerate() {
        match build(&mut indices, &step.action) {
            Ok(Some(request)) => {
                requests.push(request);
                origins.push(origin);
            }
            // Nothing left to remove.
            Ok(None) => {}
            Err(reason) => {
                unbuilt = Some((origin, reason));
                break;
            }
        }
    }
    let at_first = |error: Error| (origins.first().copied().unwrap_or(0), error.to_string());
    let endangered = Endangered::by(host, steps).map_err(at_first)?;
    let refusals = host.route.batch(&requests).map_err(at_first)?;
    endangered.restore(host);
    let mut ours = OurRoutes::default();
    for (index, refusal) in refusals {
        let origin = origins[index];
        judge(host, &mut ours, &steps[origin].action, &refusal)
            .map_err(|reason| (origin, reason))?;
    }
    unbuilt.map_or(Ok(()), Err)
}

/// Interface indices, looked up once.
#[derive(Default)]
struct Indices(HashMap<IfName, Option<u32>>);

impl Indices {
    fn get(&mut self, ifname: &IfName) -> Result<Option<u32>, String> {
        if let Some(index) = self.0.get(ifname) {
            return Ok(*index);
        }
        let index = apply::index(ifname).map_err(|errno| errno.desc().to_owned())?;
        self.0.insert(ifname.clone(), index);
        Ok(index)
    }

    fn existing(&mut self, ifname: &IfName) -> Result<u32, String> {
        self.get(ifname)?
            .ok_or_else(|| format!("no such interface: {ifname}"))
    }

    fn of_devices(&mut self, route: &Route) -> Result<Vec<u32>, String> {
        let devices = route.target.devices();
        devices.map(|ifname| self.existing(ifname)).collect()
    }
}

/// The request for a step; none if its interface took what is to be removed with it.
fn build(indices: &mut Indices, action: &Action) -> Result<Option<Request>, String> {
    Ok(match action {
        Action::AddAddress { ifname, net } => Some(address::add(indices.existing(ifname)?, *net)),
        Action::RemoveAddress { ifname, net } => indices
            .get(ifname)?
            .map(|index| address::remove(index, *net)),
        Action::AddRoute(route) => Some(route::add(route, &indices.of_devices(route)?)),
        Action::ReplaceRoute(route) => Some(route::replace(route, &indices.of_devices(route)?)),
        Action::RemoveRoute(route) => match device(route) {
            Some(ifname) => indices
                .get(ifname)?
                .map(|index| route::remove(route, &[index])),
            None => Some(route::remove(route, &[])),
        },
        Action::AddProxyNeighbour { ifname, address } => {
            Some(neighbour::add(indices.existing(ifname)?, *address))
        }
        Action::RemoveProxyNeighbour { ifname, address } => indices
            .get(ifname)?
            .map(|index| neighbour::remove(index, *address)),
        _ => None,
    })
}

/// The device whose end takes the route with it.
fn device(route: &Route) -> Option<&IfName> {
    match &route.target {
        RouteTarget::Unicast { device, .. } => device.as_ref(),
        RouteTarget::Spread { .. } | RouteTarget::Blackhole => None,
    }
}

/// A refusal may mean that the step's aim is reached: a crash left it half done, or the interface went away in
/// between. Otherwise returns the reason.
fn judge(
    host: &mut Host,
    ours: &mut OurRoutes,
    action: &Action,
    refusal: &Refusal,
) -> Result<(), String> {
    let done = match action {
        Action::AddAddress { .. } => refusal.errno == Errno::EEXIST,
        Action::AddRoute(route) if refusal.errno == Errno::EEXIST => ours
            .contains(host, route)
            .map_err(|error| error.to_string())?,
        Action::RemoveAddress { .. }
        | Action::RemoveRoute(_)
        | Action::RemoveProxyNeighbour { .. } => matches!(
            refusal.errno,
            Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT | Errno::ENODEV | Errno::ENXIO
        ),
        _ => false,
    };
    if done {
        Ok(())
    } else {
        Err(refusal.to_string())
    }
}

/// Our routes by table, read when first needed.
#[derive(Default)]
struct OurRoutes(HashMap<u32, BTreeSet<Route>>);

impl OurRoutes {
    fn contains(&mut self, host: &mut Host, route: &Route) -> Result<bool, Error> {
        let routes = match self.0.entry(route.key.table) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let names = observe::names(&link::dump(&mut host.route)?);
                let routes = route::dump_owned(&mut host.route, &names, *unread.key())?;
                unread.insert(routes.into_iter().collect())
            }
        };
        Ok(routes.contains(route))
    }
}
