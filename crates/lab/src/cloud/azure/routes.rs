//! Route tables and their routes.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::dispatch::body;
use super::documents::resource;
use super::operation::Work;
use super::store::Progress;
use super::{Answer, Azure, Call, Refusal};
use crate::cloud::Response;
use crate::cloud::json::text;
use crate::fabric::FabricState;
use crate::fabric::routes::{Route, RouteTarget};
use crate::fabric::state::RouteTableId;

const WRITE: &str = "Microsoft.Network/routeTables/routes/write";
const DELETE: &str = "Microsoft.Network/routeTables/routes/delete";

/// Routes of a table.
const MAX_ROUTES: usize = 400;

impl Azure {
    /// `PUT …/routeTables/T/routes/R`.
    pub(super) fn put_route(&mut self, call: &Call<'_>, path: &str) -> Answer {
        self.roles.check(&call.principal, WRITE, path)?;
        let table = table_of(path);
        self.check_table(call, table)?;
        self.store.check_change(path, call.request)?;
        let goal = self.route_goal(path, body(call)?)?;
        let status = if self.store.get(path).is_some() {
            200
        } else {
            201
        };
        let operation = self.begin(call, Work::Route(path.to_owned()));
        self.store
            .put(path, goal, Progress::Updating(operation.clone()));
        let response = self.shown(status, path)?;
        Ok(self.accepted(call, response, &operation))
    }

    /// `DELETE …/routeTables/T/routes/R`.
    pub(super) fn delete_route(&mut self, call: &Call<'_>, path: &str) -> Answer {
        self.roles.check(&call.principal, DELETE, path)?;
        self.check_table(call, table_of(path))?;
        if self.store.get(path).is_none() {
            return Ok(Response::empty(204));
        }
        self.store.check_change(path, call.request)?;
        let operation = self.begin(call, Work::RemoveRoute(path.to_owned()));
        self.store
            .set_progress(path, Progress::Deleting(operation.clone()));
        Ok(self.accepted(call, Response::empty(202), &operation))
    }

    /// `PUT …/routeTables/T`: creates an empty table, or changes the tags of one. Its routes are changed one by
    /// one.
    pub(super) fn put_table(&mut self, call: &Call<'_>, path: &str, name: &str) -> Answer {
        self.roles
            .check(&call.principal, "Microsoft.Network/routeTables/write", path)?;
        self.store.check_change(path, call.request)?;
        let wanted = body(call)?;
        let id = self.site.resource_id("routeTables", name);
        let exists = self.store.get(path).is_some();
        if exists || !crate::cloud::json::list(&wanted, "/properties/routes").is_empty() {
            return Err(Refusal::new(
                405,
                "HttpMethodNotSupported",
                "The fabric changes the routes of a table one by one.",
            ));
        }
        let mut table = resource(
            &self.site,
            &id,
            "routeTables",
            json!({"disableBgpRoutePropagation": false, "routes": []}),
        );
        table["tags"] = wanted.get("tags").cloned().unwrap_or(json!({}));
        self.store.put(&id, table, Progress::Settled);
        self.shown(201, &id)
    }

    /// The table is there, and none of its routes is being changed by somebody else.
    fn check_table(&self, call: &Call<'_>, table: &str) -> Result<(), Refusal> {
        if self.store.get(table).is_none() {
            return Err(Refusal::not_found(table));
        }
        let busy = |progress: &Progress| match progress {
            Progress::Updating(operation) | Progress::Deleting(operation) => {
                Some(operation.clone())
            }
            _ => None,
        };
        let other = self
            .store
            .children(&format!("{table}/routes"))
            .find_map(|route| busy(&route.progress));
        match other {
            Some(operation) => Err(Refusal::busy(&format!(
                "{}{}/providers/Microsoft.Network/locations/{}/operations/{operation}",
                call.request.base,
                self.site.subscription_id(),
                self.site.location
            ))),
            None => Ok(()),
        }
    }

    fn route_goal(&self, path: &str, mut wanted: Value) -> Result<Value, Refusal> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let route = read(&wanted).map_err(|why| {
            Refusal::invalid(
                "InvalidRequestFormat",
                format!("Route {path} is not valid: {why}."),
            )
        })?;
        let siblings = format!("{}/routes", table_of(path));
        let others = || {
            self.store
                .children(&siblings)
                .filter(|other| !other.id.eq_ignore_ascii_case(path))
        };
        if let Some(other) =
            others().find(|other| read(&other.body).is_ok_and(|own| own.prefix == route.prefix))
        {
            return Err(Refusal::invalid(
                "RouteConflict",
                format!(
                    "Route {name} has the same address prefix {} as {}.",
                    route.prefix, other.id
                ),
            ));
        }
        if others().count() >= MAX_ROUTES {
            return Err(Refusal::invalid(
                "RouteLimitExceeded",
                format!("A route table may have at most {MAX_ROUTES} routes."),
            ));
        }
        wanted["name"] = json!(name);
        wanted["id"] = json!(path);
        wanted["type"] = json!("Microsoft.Network/routeTables/routes");
        wanted["properties"]["hasBgpOverride"] = json!(false);
        if let Some(object) = wanted.as_object_mut() {
            object.remove("etag");
        }
        Ok(wanted)
    }

    /// A route reaches the packets.
    pub(super) fn apply_route(
        &self,
        fabric: &mut FabricState,
        id: &str,
    ) -> Result<(), (String, String)> {
        let Some(document) = self.store.get(id) else {
            return Ok(());
        };
        let failed = |why: String| ("InternalServerError".to_owned(), why);
        let route = read(&document.body).map_err(failed)?;
        let (table, name) = names(&document.id);
        fabric.add_route_table(table.clone());
        fabric
            .put_route(&table, &name, route)
            .map_err(|error| failed(error.to_string()))
    }

    /// A route leaves the packets.
    pub(super) fn apply_removal(
        &self,
        fabric: &mut FabricState,
        id: &str,
    ) -> Result<(), (String, String)> {
        let (table, name) = self
            .store
            .get(id)
            .map_or_else(|| names(id), |document| names(&document.id));
        fabric
            .remove_route(&table, &name)
            .map(drop)
            .map_err(|error| ("InternalServerError".to_owned(), error.to_string()))
    }
}

/// The path of a route's table.
fn table_of(path: &str) -> &str {
    path.rsplitn(3, '/').nth(2).unwrap_or_default()
}

fn names(id: &str) -> (RouteTableId, String) {
    let parts: Vec<&str> = id.rsplitn(4, '/').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    (RouteTableId(part(2).to_owned()), part(0).to_owned())
}

fn read(body: &Value) -> Result<Route, String> {
    let prefix = text(body, "/properties/addressPrefix").unwrap_or_default();
    let prefix = prefix
        .parse()
        .map_err(|_| format!("'{prefix}' is not an address prefix"))?;
    let kind = text(body, "/properties/nextHopType").unwrap_or_default();
    let address = text(body, "/properties/nextHopIpAddress");
    let target = match (kind.to_ascii_lowercase().as_str(), address) {
        ("virtualappliance", Some(address)) => RouteTarget::Address(
            address
                .parse::<Ipv4Addr>()
                .map_err(|_| format!("'{address}' is not an address"))?,
        ),
        ("virtualappliance", None) => {
            return Err("a virtual appliance needs nextHopIpAddress".to_owned());
        }
        (_, Some(_)) => return Err("only a virtual appliance takes nextHopIpAddress".to_owned()),
        ("internet", None) => RouteTarget::Internet,
        ("vnetlocal", None) => RouteTarget::Local,
        ("none", None) => RouteTarget::Nothing,
        _ => return Err(format!("'{kind}' is no next hop type of this fabric")),
    };
    Ok(Route {
        prefix,
        target,
        priority: 0,
    })
}
