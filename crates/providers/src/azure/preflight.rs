//! Could the intents be carried out: identity, NIC, permissions, forwarding, limits.

use std::collections::BTreeMap;

use api::action::protocol::{
    PreflightCheck, PreflightIntent, PreflightSpec, PreflightStatus, PreflightVerdict,
};
use api::action::{ErrorClass, Verb};
use serde_json::Value;

use super::Cloud;
use super::arm::AUTHORIZATION;
use super::id::ArmId;
use super::resource::Nic;
use crate::executor::failed_check;
use crate::fault::Fault;

/// Addresses a NIC and routes a table hold at most (Azure's networking limits).
const MAX_CONFIGS: usize = 256;
const MAX_ROUTES: usize = 400;

const NIC_READ: &str = "Microsoft.Network/networkInterfaces/read";
const NIC_WRITE: &str = "Microsoft.Network/networkInterfaces/write";
const SUBNET_READ: &str = "Microsoft.Network/virtualNetworks/subnets/read";
const TABLE_READ: &str = "Microsoft.Network/routeTables/read";
const ROUTE: [&str; 3] = [
    "Microsoft.Network/routeTables/routes/read",
    "Microsoft.Network/routeTables/routes/write",
    "Microsoft.Network/routeTables/routes/delete",
];

pub(super) fn run(cloud: &Cloud<'_>, spec: &PreflightSpec) -> PreflightStatus {
    let mut run = Run {
        cloud,
        status: PreflightStatus {
            identity: None,
            nic: None,
            checks: Vec::new(),
        },
        held: BTreeMap::new(),
    };
    match cloud.arm.whoami() {
        Ok(identity) => {
            run.pass("identity", identity.clone());
            run.status.identity = Some(identity);
        }
        Err(fault) => {
            run.status.checks.push(failed_check("identity", fault));
            return run.status;
        }
    }
    let mut targets: Vec<&PreflightIntent> = spec.intents.iter().collect();
    targets.sort_by_key(|intent| (&intent.target.nic_ref, intent.action));
    targets.dedup_by_key(|intent| (&intent.target, intent.action));
    for group in targets.chunk_by(|one, other| one.target.nic_ref == other.target.nic_ref) {
        if let Err(fault) = run.nic(group) {
            run.status.checks.push(failed_check("nic", fault));
        }
    }
    run.status
}

struct Run<'a> {
    cloud: &'a Cloud<'a>,
    status: PreflightStatus,
    /// What is known of the permissions held, by scope.
    held: BTreeMap<String, Held>,
}

/// What is known of the permissions held at a scope.
#[derive(Debug, Clone)]
enum Held {
    /// These.
    Grants(Vec<Grant>),
    /// They may not be read, which every built-in role allows that is of use here.
    Hidden,
    /// Reading them failed for another reason.
    Unknown(String),
}

impl Run<'_> {
    /// Checks everything that is asked of one NIC.
    fn nic(&mut self, intents: &[&PreflightIntent]) -> Result<(), Fault> {
        let Some(first) = intents.first() else {
            return Ok(());
        };
        let id = self.cloud.nic_id(&first.target)?;
        let nic = match self.cloud.nic(&id) {
            Ok(nic) => nic,
            Err(fault) => {
                // Without it nothing more can be seen, but this much can be said of permissions.
                self.permissions(&[NIC_READ, NIC_WRITE], id.as_str());
                return Err(fault);
            }
        };
        self.status.nic = Some(id.to_string());
        let primary = nic.primary().and_then(|config| config.address());
        self.pass(
            "nic",
            match primary {
                Some(address) => format!("{id} with primary address {address}"),
                None => id.to_string(),
            },
        );
        let writes_nic = intents
            .iter()
            .any(|intent| !intent.action.takes_route_table());
        if writes_nic {
            self.write_permissions(&id, &nic);
        }
        self.forwarding(&nic, intents);
        self.limit("addresses", nic.configs().count(), MAX_CONFIGS, id.name());
        self.tables(&nic, intents);
        Ok(())
    }

    fn write_permissions(&mut self, id: &ArmId, nic: &Nic) {
        self.permissions(&[NIC_READ, NIC_WRITE], id.as_str());
        for (permission, scope) in nic.joins() {
            self.permissions(&[permission], scope);
        }
    }

    fn forwarding(&mut self, nic: &Nic, intents: &[&PreflightIntent]) {
        let asked = intents
            .iter()
            .any(|intent| intent.action == Verb::EnsureForwardingEnabled);
        match (nic.forwarding(), asked) {
            (true, _) => self.pass("forwarding", "ipForwarding=true".to_owned()),
            (false, true) => self.pass(
                "forwarding",
                "ipForwarding=false, to be switched on".to_owned(),
            ),
            (false, false) => self.status.checks.push(PreflightCheck {
                status: PreflightVerdict::Warn,
                hint: Some("plan ensure-forwarding-enabled too".to_owned()),
                ..check(
                    "forwarding",
                    "ipForwarding=false: the fabric drops what is not the NIC's own".to_owned(),
                )
            }),
        }
    }

    fn tables(&mut self, nic: &Nic, intents: &[&PreflightIntent]) {
        let routes = intents
            .iter()
            .filter(|intent| intent.action.takes_route_table());
        let mut refs: Vec<Option<&String>> = routes
            .map(|intent| intent.target.route_table_ref.as_ref())
            .collect();
        refs.sort();
        refs.dedup();
        for table in refs {
            let found = match table {
                Some(text) => ArmId::parse(text, "routeTables"),
                None => {
                    let subnet = nic.subnet().unwrap_or_default().to_owned();
                    self.permissions(&[SUBNET_READ], &subnet);
                    self.cloud.table_of(nic.subnet())
                }
            };
            let checked = found.and_then(|id| self.table(&id));
            if let Err(fault) = checked {
                self.status.checks.push(failed_check("route-table", fault));
            }
        }
    }

    fn table(&mut self, id: &ArmId) -> Result<(), Fault> {
        self.permissions(&[TABLE_READ], id.as_str());
        self.permissions(&ROUTE, id.as_str());
        let table = self.cloud.arm.settled(id)?.ok_or_else(|| {
            Fault::new(
                ErrorClass::NotFound,
                format!("there is no route table {id}"),
            )
            .hint("correct routeTableRef")
        })?;
        self.limit(
            "routes",
            table.list("/properties/routes").len(),
            MAX_ROUTES,
            id.name(),
        );
        Ok(())
    }

    fn limit(&mut self, what: &str, used: usize, limit: usize, on: &str) {
        let detail = format!("{used} of {limit} {what} on {on}");
        let status = if used >= limit {
            PreflightVerdict::Fail
        } else {
            PreflightVerdict::Pass
        };
        self.status.checks.push(PreflightCheck {
            status,
            ..check("quota", detail)
        });
    }

    fn permissions(&mut self, needed: &[&str], scope: &str) {
        if !self.held.contains_key(scope) {
            let held = self.grants(scope);
            self.held.insert(scope.to_owned(), held);
        }
        let held = self.held.get(scope).cloned().unwrap_or(Held::Hidden);
        for permission in needed {
            let (status, detail, hint) = held.verdict(permission, scope);
            self.status.checks.push(PreflightCheck {
                status,
                hint,
                permission: Some((*permission).to_owned()),
                scope: Some(scope.to_owned()),
                ..check("permission", detail)
            });
        }
    }

    fn grants(&self, scope: &str) -> Held {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        let names = |entry: &super::resource::Resource, pointer: &str| {
            let list = entry.list(pointer).iter();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        match self.cloud.arm.list_version(&path, AUTHORIZATION) {
            Ok(entries) => Held::Grants(
                entries
                    .iter()
                    .map(|entry| Grant {
                        actions: names(entry, "/actions"),
                        not_actions: names(entry, "/notActions"),
                    })
                    .collect(),
            ),
            Err(fault) if fault.class() == ErrorClass::Authorization => Held::Hidden,
            Err(fault) => Held::Unknown(fault.to_string()),
        }
    }

    fn pass(&mut self, name: &str, detail: String) {
        self.status.checks.push(check(name, detail));
    }
}

impl Held {
    /// Whether a permission is held: the verdict, what was seen, and what to do.
    fn verdict(&self, permission: &str, scope: &str) -> (PreflightVerdict, String, Option<String>) {
        match self {
            Self::Grants(grants) if grants.iter().any(|grant| grant.allows(permission)) => (
                PreflightVerdict::Pass,
                format!("{permission} is held"),
                None,
            ),
            Self::Grants(_) => (
                PreflightVerdict::Fail,
                format!("{permission} is missing on {scope}"),
                Some(format!(
                    "grant it to the router's identity; {}",
                    why(permission)
                )),
            ),
            Self::Hidden => (
                PreflightVerdict::Fail,
                format!(
                    "{permission} cannot be confirmed on {scope}: the identity may not even read what it holds there"
                ),
                Some(format!(
                    "grant it to the router's identity, with Microsoft.Authorization/permissions/read to have it \
                     confirmed; {}",
                    why(permission)
                )),
            ),
            Self::Unknown(reason) => (
                PreflightVerdict::Skip,
                format!("what is held on {scope} could not be read: {reason}"),
                None,
            ),
        }
    }
}

fn check(name: &str, detail: String) -> PreflightCheck {
    PreflightCheck {
        name: name.to_owned(),
        status: PreflightVerdict::Pass,
        detail,
        hint: None,
        permission: None,
        scope: None,
    }
}

fn why(permission: &str) -> &'static str {
    match permission {
        _ if permission.contains("/join") => {
            "writing a NIC also needs the join permission on what it refers to, a role on the NIC alone is \
             not enough"
        }
        _ => "for example the role Network Contributor on the resource group",
    }
}

/// What one role assignment allows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    actions: Vec<String>,
    not_actions: Vec<String>,
}

impl Grant {
    fn allows(&self, permission: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, permission));
        any(&self.actions) && !any(&self.not_actions)
    }
}

/// Azure's patterns: `*` stands for any text, slashes included; case does not matter.
fn matches(pattern: &str, permission: &str) -> bool {
    let (pattern, permission) = (
        pattern.to_ascii_lowercase(),
        permission.to_ascii_lowercase(),
    );
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts
        .next()
        .and_then(|first| permission.strip_prefix(first))
    else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            match rest.find(previous) {
                Some(at) => rest = &rest[at + previous.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(last) => rest.ends_with(last),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_azure_matches_them() {
        for (pattern, permission, expected) in [
            ("*", "Microsoft.Network/x/read", true),
            (
                "Microsoft.Network/*",
                "microsoft.network/networkInterfaces/write",
                true,
            ),
            ("*/read", "Microsoft.Network/x/read", true),
            ("*/read", "Microsoft.Network/x/write", false),
            (
                "Microsoft.Network/*/join/action",
                "Microsoft.Network/virtualNetworks/subnets/join/action",
                true,
            ),
            (
                "Microsoft.Network/*/join/action",
                "Microsoft.Network/virtualNetworks/subnets/read",
                false,
            ),
            ("Microsoft.Network/x/read", "Microsoft.Network/x/read", true),
            ("Microsoft.Network/x", "Microsoft.Network/x/read", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
        ] {
            assert_eq!(
                matches(pattern, permission),
                expected,
                "{pattern} {permission}"
            );
        }
    }
}
