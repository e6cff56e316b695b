//! Azure's error documents (`{"error": {"code", "message", "details"}}`) and what they mean.

use api::action::ErrorClass;
use serde_json::Value;

use crate::fault::Fault;
use crate::http::{Request, Response};

/// What Azure said went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ArmError {
    /// For example `PrivateIPAddressIsAllocated`.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
}

impl ArmError {
    /// Reads the error of a response or of an operation that failed.
    pub(super) fn read(document: Option<&Value>) -> Self {
        let error = document.and_then(|value| value.get("error"));
        let text = |name: &str| {
            error
                .and_then(|error| error.get(name))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            code: text("code"),
            message: text("message"),
        }
    }

    /// Of a response.
    pub(super) fn of(response: &Response) -> Self {
        Self::read(response.json().as_ref())
    }

    /// Whether the state of the resource has to be read again before anything can be said: somebody else
    /// was faster, or is at it right now.
    pub(super) fn is_race(&self, status: u16) -> bool {
        status == 412
            || matches!(
                self.code.as_str(),
                "AnotherOperationInProgress"
                    | "RetryableError"
                    | "RetryableErrorDueToAnotherOperation"
                    | "InUseByAnotherOperation"
                    | "CanceledAndSupersededDueToAnotherOperation"
                    | "OperationPreempted"
                    | "PreconditionFailed"
            )
    }

    /// As a fault of the action protocol.
    pub(super) fn fault(&self, status: u16, request: &Request) -> Fault {
        let class = self.class(status);
        let said = if self.code.is_empty() {
            format!("status {status}")
        } else {
            format!("{}: {}", self.code, self.message)
        };
        let fault = Fault::new(
            class,
            format!("{} {} failed: {said}", request.method, request.place()),
        );
        match class {
            ErrorClass::Authorization => self.explain_permission(fault),
            ErrorClass::Quota => fault.hint(
                "a NIC holds at most 256 addresses, a route table at most 400 routes; move addresses to \
                 another router",
            ),
            ErrorClass::Conflict if self.code.starts_with("PrivateIPAddress") => fault.hint(
                "another NIC holds the address: set allowReassignment, or name its NIC in placementGroup",
            ),
            ErrorClass::Conflict if self.code == "ScopeLocked" => {
                fault.hint("somebody locked the resource; remove the lock or choose another router")
            }
            ErrorClass::Invalid if self.code == "PrivateIPAddressNotInSubnet" => fault.hint(
                "a NIC holds only addresses of its own subnet; any other address takes a route: ensure-route",
            ),
            ErrorClass::Invalid if self.code == "PrivateIPAddressInReservedRange" => fault.hint(
                "Azure keeps the first four addresses and the last one of every subnet for itself",
            ),
            ErrorClass::Authentication => fault.hint(
                "Azure refuses the identity's token; check that the machine has a managed identity",
            ),
            _ => fault,
        }
    }

    fn class(&self, status: u16) -> ErrorClass {
        let code = self.code.as_str();
        if self.is_race(status) {
            return if status == 412 {
                ErrorClass::Conflict
            } else {
                ErrorClass::Transient
            };
        }
        match code {
            "AuthorizationFailed" | "LinkedAuthorizationFailed" => {
                return ErrorClass::Authorization;
            }
            "PrivateIPAddressIsAllocated"
            | "PrivateIPAddressInUse"
            | "PrivateIPAddressInUseByVnet"
            | "ScopeLocked"
            | "RouteConflict" => return ErrorClass::Conflict,
            "ResourceNotFound"
            | "ResourceGroupNotFound"
            | "NotFound"
            | "ParentResourceNotFound"
            | "SubscriptionNotFound" => return ErrorClass::NotFound,
            "InternalServerError" | "ServerTimeout" | "ServiceUnavailable" => {
                return ErrorClass::Transient;
            }
            _ if code.contains("Quota") || code.contains("Limit") || code.contains("MaxCount") => {
                return ErrorClass::Quota;
            }
            _ => {}
        }
        match status {
            401 => ErrorClass::Authentication,
            403 => ErrorClass::Authorization,
            404 => ErrorClass::NotFound,
            409 => ErrorClass::Conflict,
            429 => ErrorClass::Throttled,
            408 | 500..=599 => ErrorClass::Transient,
            _ => ErrorClass::Invalid,
        }
    }

    /// Azure names the missing permission and its scope in the message alone, in single quotes.
    /// Several that are missing at once stand in two lists, in the same order.
    fn explain_permission(&self, fault: Fault) -> Fault {
        let is_linked = self.code == "LinkedAuthorizationFailed";
        let (permissions, scopes) = if is_linked {
            ("perform action(s)", "linked scope(s)")
        } else {
            ("perform action", "over scope")
        };
        let missing: Vec<(&str, &str)> = quoted_after(&self.message, permissions)
            .zip(quoted_after(&self.message, scopes))
            .collect();
        let Some((permission, scope)) = missing.first() else {
            return fault
                .hint("the identity lacks a permission, or a policy or lock forbids the call");
        };
        let grants: Vec<String> = missing
            .iter()
            .map(|(permission, scope)| format!("{permission} on {scope}"))
            .collect();
        let linked = if is_linked {
            "; writing a NIC also needs the join permission on what it refers to, a role on the NIC alone \
             is not enough"
        } else {
            ""
        };
        fault.missing(permission, scope).hint(format!(
            "grant {} to the router's identity (a role assignment takes minutes to act){linked}",
            grants.join(", and ")
        ))
    }
}

/// The entries of the comma-separated list in the first `'…'` after `marker`.
fn quoted_after<'t>(text: &'t str, marker: &str) -> impl Iterator<Item = &'t str> {
    let rest = text.split_once(marker).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split('\'').nth(1))
        .into_iter()
        .flat_map(|list| list.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use api::action::protocol::ActionError;

    fn fault(code: &str, message: &str, status: u16) -> ActionError {
        let error = ArmError {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        error
            .fault(status, &Request::new(Method::Put, "https://arm/nic?x"))
            .into()
    }

    #[test]
    fn a_missing_permission_is_named_with_its_scope() {
        let plain = fault(
            "AuthorizationFailed",
            "The client 'c' with object id 'o' does not have authorization to perform action \
             'Microsoft.Network/networkInterfaces/write' over scope '/subscriptions/s/nic' or the scope is invalid.",
            403,
        );
        assert_eq!(plain.class, ErrorClass::Authorization);
        assert_eq!(
            plain.permission.as_deref(),
            Some("Microsoft.Network/networkInterfaces/write")
        );
        assert_eq!(plain.scope.as_deref(), Some("/subscriptions/s/nic"));
        let linked = fault(
            "LinkedAuthorizationFailed",
            "The client 'c' with object id 'o' has permission to perform action \
             'Microsoft.Network/networkInterfaces/write' on scope '/nic'; however, it does not have permission \
             to perform action(s) 'Microsoft.Network/networkSecurityGroups/join/action,\
             Microsoft.Network/publicIPAddresses/join/action' on the linked scope(s) \
             '/nsg,/ip' (respectively) or the linked scope(s) are invalid.",
            403,
        );
        assert_eq!(
            linked.permission.as_deref(),
            Some("Microsoft.Network/networkSecurityGroups/join/action")
        );
        assert_eq!(linked.scope.as_deref(), Some("/nsg"));
        let hint = linked.hint.unwrap_or_default();
        assert!(hint.contains("NIC alone"), "{hint}");
        assert!(
            hint.contains("networkSecurityGroups/join/action on /nsg, and ")
                && hint.contains("publicIPAddresses/join/action on /ip"),
            "{hint}"
        );
    }

    #[test]
    fn codes_win_over_statuses() {
        let class = |code, status| fault(code, "", status).class;
        assert_eq!(
            class("PrivateIPAddressIsAllocated", 400),
            ErrorClass::Conflict
        );
        assert_eq!(
            class("NetworkInterfaceIpConfigurationQuotaExceeded", 400),
            ErrorClass::Quota
        );
        assert_eq!(
            class("AnotherOperationInProgress", 409),
            ErrorClass::Transient
        );
        assert_eq!(class("InvalidRequestFormat", 400), ErrorClass::Invalid);
        assert_eq!(class("", 502), ErrorClass::Transient);
        assert_eq!(class("PreconditionFailed", 412), ErrorClass::Conflict);
    }
}
