//! Role-based access: who may do what, where.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::Refusal;

/// The built-in role `Network Contributor`.
pub const NETWORK_CONTRIBUTOR: &str = "4d97b98b-1d4f-4787-a291-c67834d212e7";
/// The built-in role `Reader`.
pub const READER: &str = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
/// The built-in role `Owner`.
pub const OWNER: &str = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";

/// What a role allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// For people.
    pub name: String,
    /// Patterns of what is allowed.
    pub actions: Vec<String>,
    /// Patterns of what is not allowed all the same.
    pub not_actions: Vec<String>,
}

impl Role {
    fn new(name: &str, actions: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            actions: actions.iter().map(|&action| action.to_owned()).collect(),
            not_actions: Vec::new(),
        }
    }

    fn allows(&self, permission: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, permission));
        any(&self.actions) && !any(&self.not_actions)
    }
}

/// One role of one principal at one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The principal's object id.
    pub principal: String,
    /// The role definition's name (a GUID).
    pub role: String,
    /// A resource id, a resource group or a subscription; children are included.
    pub scope: String,
}

/// All roles and assignments.
#[derive(Debug)]
pub(super) struct Roles {
    pub(super) definitions: BTreeMap<String, Role>,
    /// By name (a GUID).
    pub(super) assignments: BTreeMap<String, Assignment>,
}

impl Roles {
    pub(super) fn builtin() -> Self {
        let definitions = [
            (OWNER, Role::new("Owner", &["*"])),
            (READER, Role::new("Reader", &["*/read"])),
            (
                NETWORK_CONTRIBUTOR,
                Role::new(
                    "Network Contributor",
                    &[
                        "Microsoft.Authorization/*/read",
                        "Microsoft.Network/*",
                        "Microsoft.ResourceHealth/availabilityStatuses/read",
                        "Microsoft.Resources/deployments/*",
                        "Microsoft.Resources/subscriptions/resourceGroups/read",
                    ],
                ),
            ),
        ];
        Self {
            definitions: definitions
                .into_iter()
                .map(|(name, role)| (name.to_owned(), role))
                .collect(),
            assignments: BTreeMap::new(),
        }
    }

    /// The roles of a principal that reach `scope`.
    pub(super) fn reaching(&self, principal: &str, scope: &str) -> Vec<&Role> {
        self.assignments
            .values()
            .filter(|assignment| assignment.principal == principal)
            .filter(|assignment| is_within(scope, &assignment.scope))
            .filter_map(|assignment| self.definitions.get(&assignment.role))
            .collect()
    }

    fn allows(&self, principal: &str, permission: &str, scope: &str) -> bool {
        self.reaching(principal, scope)
            .iter()
            .any(|role| role.allows(permission))
    }

    /// Refuses what the principal may not do.
    pub(super) fn check(
        &self,
        principal: &str,
        permission: &str,
        scope: &str,
    ) -> Result<(), Refusal> {
        if self.allows(principal, permission, scope) {
            return Ok(());
        }
        Err(Refusal::new(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{principal}' with object id '{principal}' does not have authorization to \
                 perform action '{permission}' over scope '{scope}' or the scope is invalid. If access was \
                 recently granted, please refresh your credentials."
            ),
        ))
    }

    /// Refuses a write that refers to something the principal may not refer to.
    pub(super) fn check_linked(
        &self,
        principal: &str,
        (permission, scope): (&str, &str),
        linked: &[(&str, String)],
    ) -> Result<(), Refusal> {
        let missing: Vec<_> = linked
            .iter()
            .filter(|(action, on)| !self.allows(principal, action, on))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let join = |texts: Vec<&str>| texts.join(",");
        let actions = join(missing.iter().map(|(action, _)| *action).collect());
        let scopes = join(missing.iter().map(|(_, on)| on.as_str()).collect());
        Err(Refusal::new(
            403,
            "LinkedAuthorizationFailed",
            format!(
                "The client '{principal}' with object id '{principal}' has permission to perform action \
                 '{permission}' on scope '{scope}'; however, it does not have permission to perform \
                 action(s) '{actions}' on the linked scope(s) '{scopes}' (respectively) or the linked \
                 scope(s) are invalid."
            ),
        ))
    }

    /// A role as the API shows it.
    pub(super) fn definition(&self, name: &str, subscription: &str) -> Option<Value> {
        let role = self.definitions.get(name)?;
        Some(json!({
            "id": definition_id(subscription, name),
            "name": name,
            "type": "Microsoft.Authorization/roleDefinitions",
            "properties": {
                "roleName": role.name,
                "type": "BuiltInRole",
                "description": "",
                "assignableScopes": ["/"],
                "permissions": [permissions(role)],
            },
        }))
    }

    /// An assignment as the API shows it.
    pub(super) fn assignment(&self, name: &str, subscription: &str) -> Option<Value> {
        let assignment = self.assignments.get(name)?;
        let scope = &assignment.scope;
        Some(json!({
            "id": format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"),
            "name": name,
            "type": "Microsoft.Authorization/roleAssignments",
            "properties": {
                "roleDefinitionId": definition_id(subscription, &assignment.role),
                "principalId": assignment.principal,
                "principalType": "ServicePrincipal",
                "scope": scope,
            },
        }))
    }
}

/// What a role allows, as the API shows it.
pub(super) fn permissions(role: &Role) -> Value {
    json!({
        "actions": role.actions,
        "notActions": role.not_actions,
        "dataActions": [],
        "notDataActions": [],
    })
}

fn definition_id(subscription: &str, name: &str) -> String {
    format!(
        "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{name}"
    )
}

/// Whether a scope is another one or lies below it.
pub(super) fn is_within(scope: &str, outer: &str) -> bool {
    let (scope, outer) = (scope.to_ascii_lowercase(), outer.to_ascii_lowercase());
    let outer = outer.trim_end_matches('/');
    scope
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `*` stands for any text; case does not matter.
fn matches(pattern: &str, permission: &str) -> bool {
    let pattern: Vec<u8> = pattern.bytes().map(|b| b.to_ascii_lowercase()).collect();
    let permission: Vec<u8> = permission.bytes().map(|b| b.to_ascii_lowercase()).collect();
    // reached[i]: the pattern read so far can match the first i bytes.
    let mut reached = vec![false; permission.len() + 1];
    reached[0] = true;
    for byte in pattern {
        if byte == b'*' {
            for at in 1..reached.len() {
                reached[at] |= reached[at - 1];
            }
        } else {
            for at in (1..reached.len()).rev() {
                reached[at] = reached[at - 1] && permission[at - 1] == byte;
            }
            reached[0] = false;
        }
    }
    reached[permission.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_reach_down_and_not_sideways() {
        let mut roles = Roles::builtin();
        let nic =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n";
        let write = "Microsoft.Network/networkInterfaces/write";
        let assignment = |scope: &str| Assignment {
            principal: "p".to_owned(),
            role: NETWORK_CONTRIBUTOR.to_owned(),
            scope: scope.to_owned(),
        };
        roles
            .assignments
            .insert("1".to_owned(), assignment(&nic.to_uppercase()));
        assert!(roles.check("p", write, nic).is_ok());
        assert!(roles.check("p", write, &format!("{nic}2")).is_err());
        assert!(roles.check("q", write, nic).is_err());
        let nsg =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/x";
        let linked = [(
            "Microsoft.Network/networkSecurityGroups/join/action",
            nsg.to_owned(),
        )];
        let refusal = roles
            .check_linked("p", (write, nic), &linked)
            .expect_err("not linked");
        assert_eq!(refusal.code, "LinkedAuthorizationFailed");
        roles.assignments.insert(
            "2".to_owned(),
            assignment("/subscriptions/s/resourceGroups/g"),
        );
        assert!(roles.check_linked("p", (write, nic), &linked).is_ok());
    }

    #[test]
    fn patterns() {
        assert!(matches(
            "Microsoft.Network/*/join/action",
            "microsoft.network/a/b/join/action"
        ));
        assert!(matches("*/read", "x/read"));
        assert!(!matches("*/read", "x/write"));
        assert!(!matches("x/read", "x/read/y"));
    }
}
