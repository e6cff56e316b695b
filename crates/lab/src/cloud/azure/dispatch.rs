//! From a path to what answers it.

use serde_json::{Value, json};

use super::store::Document;
use super::{Answer, Azure, Call, Refusal};
use crate::cloud::Response;
use crate::fabric::FabricState;

const NETWORK: &str = "Microsoft.Network";

impl Azure {
    pub(super) fn dispatch(&mut self, fabric: &FabricState, call: &Call<'_>) -> Answer {
        if call.request.parameter("api-version").is_none() {
            return Err(Refusal::invalid(
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            ));
        }
        let path = call.request.path.trim_end_matches('/');
        if let Some((scope, rest)) = split(path, "/providers/Microsoft.Authorization/") {
            return self.authorization(call, scope, rest);
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let same = |at: usize, word: &str| {
            parts
                .get(at)
                .is_some_and(|part| part.eq_ignore_ascii_case(word))
        };
        if parts.len() == 1 && same(0, "tenants") {
            return Ok(page(vec![json!({
                "id": format!("/tenants/{}", self.site.tenant),
                "tenantId": self.site.tenant,
            })]));
        }
        if !same(0, "subscriptions") {
            return Err(unknown_path(path));
        }
        if parts.len() == 1 {
            return Ok(page(vec![self.subscription()]));
        }
        if !same(1, &self.site.subscription) {
            return Err(Refusal::new(
                404,
                "SubscriptionNotFound",
                format!("The subscription '{}' could not be found.", parts[1]),
            ));
        }
        if parts.len() == 2 {
            return Ok(Response::json(200, &self.subscription()));
        }
        if same(2, "resourceGroups") {
            return self.in_group(fabric, call, path, &parts);
        }
        match parts[2..] {
            ["providers", provider, "locations", _, "operations", id]
                if provider.eq_ignore_ascii_case(NETWORK) =>
            {
                self.operation_status(id)
            }
            [
                "providers",
                provider,
                "locations",
                _,
                "operationResults",
                id,
            ] if provider.eq_ignore_ascii_case(NETWORK) => self.operation_result(call, id),
            ["providers", provider, kind] if provider.eq_ignore_ascii_case(NETWORK) => {
                self.list(call, kind, &self.site.subscription_id())
            }
            _ => Err(unknown_path(path)),
        }
    }

    fn in_group(
        &mut self,
        fabric: &FabricState,
        call: &Call<'_>,
        path: &str,
        parts: &[&str],
    ) -> Answer {
        let group = self.group();
        let Some(name) = parts.get(3) else {
            self.roles.check(
                &call.principal,
                "Microsoft.Resources/subscriptions/resourceGroups/read",
                &self.site.subscription_id(),
            )?;
            return Ok(page(vec![group]));
        };
        if !name.eq_ignore_ascii_case(&self.site.group) {
            return Err(Refusal::new(
                404,
                "ResourceGroupNotFound",
                format!("Resource group '{name}' could not be found."),
            ));
        }
        let provider = parts
            .get(5)
            .is_some_and(|part| part.eq_ignore_ascii_case(NETWORK));
        match parts.get(6..) {
            None if parts.len() == 4 => {
                self.roles.check(
                    &call.principal,
                    "Microsoft.Resources/subscriptions/resourceGroups/read",
                    &self.site.group_id(),
                )?;
                Ok(Response::json(200, &group))
            }
            Some([kind]) if provider => self.list(call, kind, &self.site.group_id()),
            Some([kind, name]) if provider => self.resource(call, path, kind, name),
            Some([_, name, child, rest @ ..]) if provider => {
                self.child(fabric, call, path, (name, child, rest))
            }
            _ => Err(unknown_path(path)),
        }
    }

    fn resource(&mut self, call: &Call<'_>, path: &str, kind: &str, name: &str) -> Answer {
        match (
            call.request.method.as_str(),
            kind.to_ascii_lowercase().as_str(),
        ) {
            ("GET", _) => self.read(call, path, kind),
            ("PUT", "networkinterfaces") => self.put_nic(call, path),
            ("PATCH", "networkinterfaces" | "routetables") => self.patch_tags(call, path, kind),
            ("PUT", "routetables") => self.put_table(call, path, name),
            _ => Err(not_offered(call)),
        }
    }

    fn child(
        &mut self,
        fabric: &FabricState,
        call: &Call<'_>,
        path: &str,
        (_, child, rest): (&str, &str, &[&str]),
    ) -> Answer {
        let method = call.request.method.as_str();
        match (method, child.to_ascii_lowercase().as_str(), rest) {
            ("GET", "routes", []) => self.children(call, path, "routeTables/routes"),
            ("GET", "routes", [_]) => self.read(call, path, "routeTables/routes"),
            ("PUT", "routes", [_]) => self.put_route(call, path),
            ("DELETE", "routes", [_]) => self.delete_route(call, path),
            ("GET", "subnets", []) => self.children(call, path, "virtualNetworks/subnets"),
            ("GET", "subnets", [_]) => self.read(call, path, "virtualNetworks/subnets"),
            ("GET", "ipconfigurations", [name]) => self.read_config(call, path, name),
            ("GET", "checkipaddressavailability", []) => self.check_address(fabric, call, path),
            ("POST", "moveipconfigurations", []) => self.move_configs(call, path),
            _ => Err(not_offered(call)),
        }
    }

    /// One resource.
    fn read(&self, call: &Call<'_>, path: &str, kind: &str) -> Answer {
        let permission = format!("{NETWORK}/{kind}/read");
        self.roles.check(&call.principal, &permission, path)?;
        self.shown(200, path)
    }

    /// A resource as the body of an answer.
    pub(super) fn shown(&self, status: u16, path: &str) -> Answer {
        let document = self
            .store
            .get(path)
            .ok_or_else(|| Refusal::not_found(path))?;
        let body = self.store.render_document(document);
        Ok(Response::json(status, &body).header("etag", document.etag()))
    }

    fn list(&self, call: &Call<'_>, kind: &str, scope: &str) -> Answer {
        let permission = format!("{NETWORK}/{kind}/read");
        self.roles.check(&call.principal, &permission, scope)?;
        self.pages(call, self.store.of_type(kind).collect())
    }

    fn children(&self, call: &Call<'_>, path: &str, kind: &str) -> Answer {
        let permission = format!("{NETWORK}/{kind}/read");
        self.roles.check(&call.principal, &permission, path)?;
        let parent = path.rsplit_once('/').map_or(path, |(parent, _)| parent);
        if self.store.get(parent).is_none() {
            return Err(Refusal::not_found(parent));
        }
        self.pages(call, self.store.children(path).collect())
    }

    fn pages(&self, call: &Call<'_>, documents: Vec<&Document>) -> Answer {
        let start: usize = match call.request.parameter("$skiptoken") {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                Refusal::invalid("InvalidSkipToken", "The $skiptoken is not one of ours.")
            })?,
        };
        let end = (start + self.site.page_size).min(documents.len());
        let values: Vec<Value> = documents
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .map(|document| self.store.render_document(document))
            .collect();
        let mut body = json!({"value": values});
        if end < documents.len() {
            let version = call.request.parameter("api-version").unwrap_or_default();
            body["nextLink"] = json!(format!(
                "{}{}?api-version={version}&$skiptoken={end}",
                call.request.base, call.request.path
            ));
        }
        Ok(Response::json(200, &body))
    }

    fn patch_tags(&mut self, call: &Call<'_>, path: &str, kind: &str) -> Answer {
        let permission = format!("{NETWORK}/{kind}/write");
        self.roles.check(&call.principal, &permission, path)?;
        self.store.check_change(path, call.request)?;
        let tags = body(call)?.get("tags").cloned().unwrap_or(json!({}));
        let document = self
            .store
            .get(path)
            .ok_or_else(|| Refusal::not_found(path))?;
        let (mut changed, progress) = (document.body.clone(), document.progress.clone());
        changed["tags"] = tags;
        self.store.put(path, changed, progress);
        self.shown(200, path)
    }

    fn subscription(&self) -> Value {
        json!({
            "id": self.site.subscription_id(),
            "subscriptionId": self.site.subscription,
            "tenantId": self.site.tenant,
            "displayName": "routerd lab",
            "state": "Enabled",
            "subscriptionPolicies": {"locationPlacementId": "Public_2014-09-01", "quotaId": "Lab", "spendingLimit": "Off"},
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
        })
    }

    fn group(&self) -> Value {
        json!({
            "id": self.site.group_id(),
            "name": self.site.group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.site.location,
            "properties": {"provisioningState": "Succeeded"},
        })
    }
}

/// A list that fits on one page.
pub(super) fn page(values: Vec<Value>) -> Response {
    Response::json(200, &json!({"value": values}))
}

/// The body of a request.
pub(super) fn body(call: &Call<'_>) -> Result<Value, Refusal> {
    match serde_json::from_slice(&call.request.body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(Refusal::invalid(
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized.",
        )),
    }
}

fn split<'p>(path: &'p str, marker: &str) -> Option<(&'p str, &'p str)> {
    let at = path
        .to_ascii_lowercase()
        .rfind(&marker.to_ascii_lowercase())?;
    Some((&path[..at], &path[at + marker.len()..]))
}

fn unknown_path(path: &str) -> Refusal {
    Refusal::new(
        404,
        "InvalidResourceType",
        format!("The resource type could not be found for '{path}'."),
    )
}

fn not_offered(call: &Call<'_>) -> Refusal {
    Refusal::new(
        405,
        "HttpMethodNotSupported",
        format!(
            "The fabric does not offer {} {}.",
            call.request.method, call.request.path
        ),
    )
}
