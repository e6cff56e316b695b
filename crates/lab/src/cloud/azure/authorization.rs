//! `Microsoft.Authorization`: what the caller may do at a scope, and role assignments.

use serde_json::json;

use super::dispatch::{body, page};
use super::roles::{Assignment, is_within, permissions};
use super::{Answer, Azure, Call, Refusal};
use crate::cloud::Response;
use crate::cloud::json::text;

impl Azure {
    pub(super) fn authorization(&mut self, call: &Call<'_>, scope: &str, rest: &str) -> Answer {
        let subscription = self.site.subscription.clone();
        let parts: Vec<&str> = rest.split('/').collect();
        match (call.request.method.as_str(), &parts[..]) {
            ("GET", ["permissions"]) => {
                self.may(call, "permissions/read", scope)?;
                let held = self.roles.reaching(&call.principal, scope);
                Ok(page(held.into_iter().map(permissions).collect()))
            }
            ("GET", ["roleDefinitions"]) => {
                self.may(call, "roleDefinitions/read", scope)?;
                let wanted = call
                    .request
                    .parameter("$filter")
                    .and_then(|filter| filter.split('\'').nth(1));
                let names = self.roles.definitions.iter();
                let found = names
                    .filter(|(_, role)| wanted.is_none_or(|name| name == role.name))
                    .filter_map(|(name, _)| self.roles.definition(name, &subscription));
                Ok(page(found.collect()))
            }
            ("GET", ["roleDefinitions", name]) => {
                self.may(call, "roleDefinitions/read", scope)?;
                let found = self.roles.definition(name, &subscription);
                found.map_or_else(|| Err(missing(name)), |role| Ok(Response::json(200, &role)))
            }
            ("GET", ["roleAssignments"]) => {
                self.may(call, "roleAssignments/read", scope)?;
                let all = self.roles.assignments.iter();
                let found = all
                    .filter(|(_, one)| is_within(scope, &one.scope) || is_within(&one.scope, scope))
                    .filter_map(|(name, _)| self.roles.assignment(name, &subscription));
                Ok(page(found.collect()))
            }
            ("PUT", ["roleAssignments", name]) => self.put_assignment(call, scope, name),
            ("GET", ["roleAssignments", name]) => {
                self.may(call, "roleAssignments/read", scope)?;
                let found = self.roles.assignment(name, &subscription);
                found.map_or_else(|| Err(missing(name)), |one| Ok(Response::json(200, &one)))
            }
            ("DELETE", ["roleAssignments", name]) => {
                self.may(call, "roleAssignments/delete", scope)?;
                let shown = self.roles.assignment(name, &subscription);
                self.roles.assignments.remove(*name);
                Ok(shown.map_or_else(|| Response::empty(204), |one| Response::json(200, &one)))
            }
            _ => Err(missing(rest)),
        }
    }

    fn put_assignment(&mut self, call: &Call<'_>, scope: &str, name: &str) -> Answer {
        self.may(call, "roleAssignments/write", scope)?;
        let wanted = body(call)?;
        let role = text(&wanted, "/properties/roleDefinitionId")
            .and_then(|id| id.rsplit('/').next())
            .filter(|role| self.roles.definitions.contains_key(*role));
        let principal = text(&wanted, "/properties/principalId");
        let (Some(role), Some(principal)) = (role, principal) else {
            return Err(Refusal::invalid(
                "RoleDefinitionDoesNotExist",
                "The specified role definition does not exist, or no principal is named.",
            ));
        };
        let assignment = Assignment {
            principal: principal.to_owned(),
            role: role.to_owned(),
            scope: scope.to_owned(),
        };
        let same = self
            .roles
            .assignments
            .iter()
            .find(|(_, one)| **one == assignment);
        if same.is_some_and(|(other, _)| other != name) {
            return Err(Refusal::new(
                409,
                "RoleAssignmentExists",
                "The role assignment already exists.",
            ));
        }
        self.roles.assignments.insert(name.to_owned(), assignment);
        let shown = self.roles.assignment(name, &self.site.subscription);
        Ok(Response::json(201, &shown.unwrap_or(json!({}))))
    }

    fn may(&self, call: &Call<'_>, action: &str, scope: &str) -> Result<(), Refusal> {
        let permission = format!("Microsoft.Authorization/{action}");
        self.roles.check(&call.principal, &permission, scope)
    }
}

fn missing(what: &str) -> Refusal {
    Refusal::new(404, "NotFound", format!("'{what}' was not found."))
}
