//! User-defined routes: one `/32` of a route table that leads to this router.
//!
//! Facts: `routeTableRef`, `routeName`, `nextHop`, `route` (what to send to have it again); the last three
//! only where there is a route for the address.

use std::net::Ipv4Addr;

use api::action::ErrorClass;
use api::action::plan::Facts;
use api::action::protocol::{Effect, ExecuteSpec, Mode};
use serde_json::Value;

use super::converge::Step;
use super::id::ArmId;
use super::resource::{Resource, Route, new_route};
use super::{Cloud, address_of};
use crate::executor::Report;
use crate::fault::Fault;

/// What an action wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The route leads to us.
    Present,
    /// No route leads to us.
    Absent,
}

struct Task<'a> {
    cloud: &'a Cloud<'a>,
    spec: &'a ExecuteSpec,
    table: ArmId,
    prefix: String,
    /// Our address as an appliance.
    next_hop: Ipv4Addr,
}

pub(super) fn perform(cloud: &Cloud<'_>, spec: &ExecuteSpec, want: Want) -> Result<Report, Fault> {
    let task = Task::new(cloud, spec)?;
    let current = task.current()?;
    let (changed, message) = match (spec.mode, want) {
        (Mode::Observe, _) => (false, task.describe(current.as_ref())),
        (Mode::DryRun, Want::Present) => task.rehearse_ensure(current.as_ref())?,
        (Mode::DryRun, Want::Absent) => task.rehearse_remove(current.as_ref()),
        (Mode::Execute, Want::Present) => task.ensure(current.as_ref())?,
        (Mode::Execute, Want::Absent) => task.remove(current.as_ref())?,
        (Mode::Rollback, Want::Present) => task.undo_ensure(current.as_ref())?,
        (Mode::Rollback, Want::Absent) => task.undo_remove(current.as_ref())?,
    };
    let now = if spec.mode.mutates() {
        task.current()?
    } else {
        current
    };
    Ok(Report {
        changed,
        message,
        effect: task.effect(want, now.as_ref()),
        observed: task.facts(now.as_ref()),
        undo_available: changed && spec.mode != Mode::Rollback,
    })
}

impl<'a> Task<'a> {
    fn new(cloud: &'a Cloud<'a>, spec: &'a ExecuteSpec) -> Result<Self, Fault> {
        let nic = match (&spec.target.route_table_ref, spec.parameters.next_hop) {
            (Some(_), Some(_)) => None,
            _ => Some(cloud.nic(&cloud.nic_id(&spec.target)?)?),
        };
        let primary = || nic.as_ref()?.primary()?.address();
        let next_hop = spec.parameters.next_hop.or_else(primary).ok_or_else(|| {
            Fault::new(
                ErrorClass::Invalid,
                "the NIC has no primary address to lead the route to",
            )
        })?;
        let table = match &spec.target.route_table_ref {
            Some(text) => ArmId::parse(text, "routeTables")?,
            None => cloud.table_of(nic.as_ref().and_then(|nic| nic.subnet()))?,
        };
        Ok(Self {
            cloud,
            spec,
            table,
            prefix: format!("{}/32", address_of(spec)?),
            next_hop,
        })
    }

    /// The route for our address, whoever it leads to, when no operation on it is in progress any more. A table
    /// holds one route for a prefix.
    fn current(&self) -> Result<Option<Route>, Fault> {
        loop {
            match self.read()? {
                Some(route) if route.is_changing() => {
                    self.cloud.arm.await_operation(&self.id(route.name()))?
                }
                current => return Ok(current),
            }
        }
    }

    fn read(&self) -> Result<Option<Route>, Fault> {
        let table = self.cloud.arm.settled(&self.table)?.ok_or_else(|| {
            Fault::new(
                ErrorClass::NotFound,
                format!("there is no route table {}", self.table),
            )
            .hint("correct routeTableRef")
        })?;
        Ok(table
            .list("/properties/routes")
            .iter()
            .map(|route| Route::new(Resource::new(route.clone(), None)))
            .find(|route| route.prefix() == Some(&self.prefix)))
    }

    fn effect(&self, want: Want, current: Option<&Route>) -> Effect {
        let ours = current.is_some_and(|route| self.is_ours(route));
        let failed = current.is_some_and(Route::is_failed);
        match (want, ours) {
            (Want::Present, true) if failed => Effect::Partial,
            (Want::Present, true) | (Want::Absent, false) => Effect::Present,
            _ => Effect::Absent,
        }
    }

    fn is_ours(&self, route: &Route) -> bool {
        route.next_hop() == Some(self.next_hop)
    }

    fn default_name(&self) -> String {
        let name = &self.spec.parameters.name;
        name.clone()
            .unwrap_or_else(|| format!("routerd-{}", self.prefix.replace(['.', '/'], "-")))
    }

    fn id(&self, name: &str) -> ArmId {
        self.table.child("routes", name)
    }

    fn rehearse_ensure(&self, current: Option<&Route>) -> Result<(bool, String), Fault> {
        self.check_takeover(current)?;
        Ok(match current {
            Some(route) if self.is_ours(route) => (false, self.already(route)),
            _ => (
                true,
                format!(
                    "would route {} to {} in {}",
                    self.prefix,
                    self.next_hop,
                    self.table.name()
                ),
            ),
        })
    }

    fn ensure(&self, current: Option<&Route>) -> Result<(bool, String), Fault> {
        self.check_takeover(current)?;
        let name = current.map_or_else(|| self.default_name(), |route| route.name().to_owned());
        let id = self.id(&name);
        let converged = self.cloud.converge(&id, |resource| {
            let Some(route) = resource.cloned().map(Route::new) else {
                return Ok(Step::Put(new_route(&self.prefix, self.next_hop)));
            };
            if route.prefix() != Some(&self.prefix) {
                return Err(Fault::new(
                    ErrorClass::Conflict,
                    format!(
                        "{id} is a route for {}",
                        route.prefix().unwrap_or("nothing")
                    ),
                )
                .hint("give the route another name in parameters.name"));
            }
            if self.is_ours(&route) {
                return Ok(Step::Done);
            }
            self.check_takeover(Some(&route))?;
            Ok(Step::Put(route.with_next_hop(self.next_hop)))
        })?;
        let place = format!("{} (route {name})", self.table.name());
        Ok((
            converged.changed,
            if converged.changed {
                format!("routed {} to {} in {place}", self.prefix, self.next_hop)
            } else {
                format!(
                    "{} leads to {} in {place} already",
                    self.prefix, self.next_hop
                )
            },
        ))
    }

    /// A route that leads to somebody else is taken only when the plan says so.
    fn check_takeover(&self, current: Option<&Route>) -> Result<(), Fault> {
        let foreign = current.filter(|route| !self.is_ours(route));
        match foreign {
            Some(route) if !self.spec.parameters.allow_reassignment => Err(Fault::new(
                ErrorClass::Conflict,
                format!(
                    "{} leads {} to {} already",
                    self.id(route.name()),
                    self.prefix,
                    leads_to(route)
                ),
            )
            .hint("set allowReassignment to take the route over")),
            _ => Ok(()),
        }
    }

    fn rehearse_remove(&self, current: Option<&Route>) -> (bool, String) {
        match current.filter(|route| self.is_ours(route)) {
            Some(route) => (
                true,
                format!(
                    "would remove {} from {} (route {})",
                    self.prefix,
                    self.table.name(),
                    route.name()
                ),
            ),
            None => (false, self.not_ours(current)),
        }
    }

    fn remove(&self, current: Option<&Route>) -> Result<(bool, String), Fault> {
        let Some(route) = current.filter(|route| self.is_ours(route)) else {
            return Ok((false, self.not_ours(current)));
        };
        let id = self.id(route.name());
        let converged = self.cloud.converge(&id, |resource| {
            let ours = resource
                .cloned()
                .map(Route::new)
                .is_some_and(|route| self.is_ours(&route) && route.prefix() == Some(&self.prefix));
            Ok(if ours { Step::Delete } else { Step::Done })
        })?;
        Ok((
            converged.changed,
            format!(
                "removed {} from {} (route {})",
                self.prefix,
                self.table.name(),
                route.name()
            ),
        ))
    }

    fn undo_ensure(&self, current: Option<&Route>) -> Result<(bool, String), Fault> {
        match self.prior_route()? {
            None => self.remove(current),
            Some(before) if self.is_ours(&before) => Ok((
                false,
                format!(
                    "{} led to {} before, left alone",
                    self.prefix, self.next_hop
                ),
            )),
            Some(before) => self.restore(&before),
        }
    }

    fn undo_remove(&self, current: Option<&Route>) -> Result<(bool, String), Fault> {
        match self.prior_route()? {
            Some(before) if self.is_ours(&before) => self.restore(&before),
            _ => Ok((false, self.not_ours(current))),
        }
    }

    /// Makes a route lead where it led, unless it leads to a third by now; one that is gone comes back whole.
    fn restore(&self, before: &Route) -> Result<(bool, String), Fault> {
        let name = self.spec.prior.get("priorRouteName").unwrap_or_default();
        let id = self.id(name);
        let converged = self.cloud.converge(&id, |resource| {
            let Some(route) = resource.cloned().map(Route::new) else {
                return Ok(Step::Put(before.for_put()));
            };
            if route.prefix() == before.prefix() && route.next_hop() == before.next_hop() {
                return Ok(Step::Done);
            }
            if self.is_ours(&route) {
                return Ok(Step::Put(route.leading_as(before)));
            }
            Err(Fault::new(
                ErrorClass::Conflict,
                format!(
                    "{id} leads to {} now, which is not ours to change",
                    leads_to(&route)
                ),
            ))
        })?;
        Ok((
            converged.changed,
            format!(
                "restored {} to {} in {} (route {name})",
                self.prefix,
                leads_to(before),
                self.table.name()
            ),
        ))
    }

    fn prior_route(&self) -> Result<Option<Route>, Fault> {
        let Some(text) = self.spec.prior.get("priorRoute") else {
            return Ok(None);
        };
        serde_json::from_str::<Value>(text)
            .map(|document| Some(Route::new(Resource::new(document, None))))
            .map_err(|error| {
                Fault::new(
                    ErrorClass::Invalid,
                    format!("the prior fact priorRoute is no route: {error}"),
                )
            })
    }

    fn already(&self, route: &Route) -> String {
        format!(
            "{} leads to {} in {} (route {}) already",
            self.prefix,
            self.next_hop,
            self.table.name(),
            route.name()
        )
    }

    fn not_ours(&self, current: Option<&Route>) -> String {
        format!("{}; no route of ours", self.describe(current))
    }

    fn describe(&self, current: Option<&Route>) -> String {
        let (prefix, table) = (&self.prefix, self.table.name());
        match current {
            Some(route) => format!("{prefix} leads to {} in {table}", leads_to(route)),
            None => format!("{table} has no route for {prefix}"),
        }
    }

    fn facts(&self, current: Option<&Route>) -> Facts {
        let mut facts = Facts::default();
        facts.set("routeTableRef", &self.table);
        if let Some(route) = current {
            facts.set("routeName", route.name());
            facts.set("nextHop", leads_to(route));
            facts.set("route", route.for_put());
        }
        facts
    }
}

fn leads_to(route: &Route) -> String {
    route.next_hop().map_or_else(
        || "something that is no appliance".to_owned(),
        |hop| hop.to_string(),
    )
}

impl Cloud<'_> {
    /// The route table of a subnet.
    pub(super) fn table_of(&self, subnet: Option<&str>) -> Result<ArmId, Fault> {
        let subnet = ArmId::parse(subnet.unwrap_or_default(), "subnets")?;
        let found = self
            .arm
            .get(subnet.as_str(), super::arm::NETWORK)
            .map_err(|fault| fault.context("look for the subnet's route table"))?;
        let table = found
            .as_ref()
            .and_then(|subnet| subnet.text("/properties/routeTable/id"));
        match table {
            Some(text) => ArmId::parse(text, "routeTables"),
            None => Err(Fault::new(
                ErrorClass::NotFound,
                format!("the subnet {subnet} has no route table"),
            )
            .hint("associate one with the subnet, or name one in routeTableRef")),
        }
    }
}
