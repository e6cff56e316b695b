//! Executes addresses, routes and neighbours, many at a time.

use std::collections::{BTreeSet, HashMap};

use api::IfName;
use ipnet::IpNet;
use nix::errno::Errno;
use routerd_core::Step;
use routerd_core::effective::RouteTarget;
use routerd_core::observed::Route;
use routerd_core::plan::Action;

use super::{Host, apply, observe};
use crate::netlink::route::Mode;
use crate::netlink::{Error, Refusal, Request, address, link, neighbour, route};
use crate::sysctl::Promotion;

/// The step that failed, by index, and why.
type Failure = (usize, String);

/// How many steps from the first on can go into one batch.
pub(super) fn prefix(steps: &[Step]) -> usize {
    let bulk = |step: &&Step| {
        matches!(
            step.action,
            Action::AddAddress { .. }
                | Action::RemoveAddress { .. }
                | Action::SetRoute(_)
                | Action::RemoveRoute(_)
                | Action::AddProxyNeighbour { .. }
                | Action::RemoveProxyNeighbour { .. }
        )
    };
    steps.iter().take_while(bulk).count()
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
    let refusals = {
        let _kept = keep_secondaries(host, steps).map_err(|reason| (0, reason))?;
        send(host, &requests, &origins)?
    };
    let refused = refusals
        .into_iter()
        .filter(|(origin, refusal)| !is_done(&steps[*origin].action, refusal))
        .collect();
    replace(host, steps, &mut indices, refused)?;
    unbuilt.map_or(Ok(()), Err)
}

fn send(
    host: &mut Host,
    requests: &[Request],
    origins: &[usize],
) -> Result<Vec<(usize, Refusal)>, Failure> {
    let first = origins.first().copied().unwrap_or(0);
    let refused = host
        .route
        .batch(requests)
        .map_err(|error| (first, error.to_string()))?;
    Ok(refused
        .into_iter()
        .map(|(index, refusal)| (origins[index], refusal))
        .collect())
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
}

/// The request for a step; none if its interface took what is to be removed with it.
fn build(indices: &mut Indices, action: &Action) -> Result<Option<Request>, String> {
    Ok(match action {
        Action::AddAddress { ifname, net } => Some(address::add(indices.existing(ifname)?, *net)),
        Action::RemoveAddress { ifname, net } => indices
            .get(ifname)?
            .map(|index| address::remove(index, *net)),
        Action::SetRoute(route) => Some(set_route(indices, route, Mode::Create)?),
        Action::RemoveRoute(route) => match device(route) {
            Some(ifname) => indices
                .get(ifname)?
                .map(|index| route::remove(route, Some(index))),
            None => Some(route::remove(route, None)),
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

fn set_route(indices: &mut Indices, route: &Route, mode: Mode) -> Result<Request, String> {
    let index = device(route).map(|ifname| indices.existing(ifname));
    Ok(route::set(route, index.transpose()?, mode))
}

fn device(route: &Route) -> Option<&IfName> {
    match &route.target {
        RouteTarget::Unicast { device, .. } => device.as_ref(),
        RouteTarget::Blackhole => None,
    }
}

/// Whether the refusal means that the step's aim is reached: a crash may have left it half done, or the interface
/// went away in between.
fn is_done(action: &Action, refusal: &Refusal) -> bool {
    match action {
        Action::AddAddress { .. } => refusal.errno == Errno::EEXIST,
        Action::RemoveAddress { .. }
        | Action::RemoveRoute(_)
        | Action::RemoveProxyNeighbour { .. } => matches!(
            refusal.errno,
            Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT | Errno::ENODEV | Errno::ENXIO
        ),
        _ => false,
    }
}

/// Replaces routes of ours that stand where a new one was to go. A route of somebody else is never replaced.
fn replace(
    host: &mut Host,
    steps: &[Step],
    indices: &mut Indices,
    refused: Vec<(usize, Refusal)>,
) -> Result<(), Failure> {
    let mut ours = OurRoutes::default();
    let mut failures = Vec::new();
    let mut requests = Vec::new();
    let mut origins = Vec::new();
    for (origin, refusal) in refused {
        let Action::SetRoute(route) = &steps[origin].action else {
            failures.push((origin, refusal.to_string()));
            continue;
        };
        if refusal.errno != Errno::EEXIST {
            failures.push((origin, refusal.to_string()));
            continue;
        }
        let standing = ours
            .standing(host, route)
            .map_err(|error| (origin, error.to_string()))?;
        match standing {
            Some(standing) if standing == route => {}
            Some(_) => {
                let request =
                    set_route(indices, route, Mode::Replace).map_err(|reason| (origin, reason))?;
                requests.push(request);
                origins.push(origin);
            }
            None => failures.push((origin, "a route of somebody else stands there".to_owned())),
        }
    }
    let again = send(host, &requests, &origins)?;
    failures.extend(
        again
            .into_iter()
            .map(|(o, refusal)| (o, refusal.to_string())),
    );
    failures
        .into_iter()
        .min_by_key(|(origin, _)| *origin)
        .map_or(Ok(()), Err)
}

/// Our routes by table, read when first needed.
#[derive(Default)]
struct OurRoutes(HashMap<u32, Vec<Route>>);

impl OurRoutes {
    /// The route of ours with the same table, destination and metric.
    fn standing(&mut self, host: &mut Host, route: &Route) -> Result<Option<&Route>, Error> {
        let table = route.key.table;
        if !self.0.contains_key(&table) {
            let names = observe::names(&link::dump(&mut host.route)?);
            let mut routes = route::dump_owned(&mut host.route, &names, table)?;
            routes.sort_unstable();
            self.0.insert(table, routes);
        }
        let routes = self.0.get(&table).map(Vec::as_slice).unwrap_or_default();
        let found = routes.binary_search_by(|standing| standing.key.cmp(&route.key));
        Ok(found.ok().map(|index| &routes[index]))
    }
}

/// The kernel removes all secondary addresses of a subnet with its primary one unless told to promote them. Theirs
/// must survive the removal of ours.
fn keep_secondaries(host: &mut Host, steps: &[Step]) -> Result<Vec<Promotion>, String> {
    let removed: BTreeSet<(&IfName, IpNet)> = steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::RemoveAddress { ifname, net } => Some((ifname, *net)),
            _ => None,
        })
        .collect();
    if removed.is_empty() {
        return Ok(Vec::new());
    }
    let names = link::dump(&mut host.route).map(|entries| observe::names(&entries));
    let addresses = names
        .and_then(|names| address::dump(&mut host.route, &names, |_| false))
        .map_err(|error| error.to_string())?;
    let endangered: BTreeSet<&IfName> = addresses
        .iter()
        .filter(|kept| kept.secondary && !removed.contains(&(&kept.ifname, kept.net)))
        .filter(|kept| {
            let subnet = (&kept.ifname, kept.net.trunc());
            removed
                .iter()
                .any(|(ifname, net)| (*ifname, net.trunc()) == subnet)
        })
        .map(|kept| &kept.ifname)
        .collect();
    endangered
        .into_iter()
        .map(|ifname| Promotion::on(ifname).map_err(|error| error.to_string()))
        .collect()
}
