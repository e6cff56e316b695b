//! What a person does about provider actions: `routerctl action …` on the cloud's router, and the cloud's own
//! console.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::trial::Trial;
use crate::cloud::azure::{Assignment, NETWORK_CONTRIBUTOR};
use crate::cloud::running::Running;
use crate::node::Node;
use crate::router;
use crate::topology::Site;

/// The name that the captured address has on the router's NIC in the first field report.
pub(super) const CONFIG_NAME: &str = "ipconfig-onprem-capture";

/// The people who run a router in a cloud.
pub(super) struct Operator<'a> {
    node: &'a Node,
    cloud: &'a Running,
    /// The router's NIC.
    pub(super) nic: String,
    /// The route table of its subnet.
    pub(super) table: String,
    /// The resource group.
    pub(super) group: String,
    /// The router's own identity.
    principal: String,
}

impl<'a> Operator<'a> {
    pub(super) fn new(trial: &'a Trial<'_>) -> Result<Self> {
        let names = trial.two_site().names();
        let cloud = trial.cloud()?;
        let site = cloud.with(|azure| azure.site().clone());
        let nic = names.router_nic.into();
        let machine = site.machines.get(&nic);
        Ok(Self {
            node: trial.router(Site::Cloud)?,
            cloud,
            nic: site.nic_id(&nic),
            table: site.table_id(&names.route_table.into()),
            group: site.group_id(),
            principal: machine
                .context("the router has no identity")?
                .principal
                .clone(),
        })
    }

    /// `routerctl action …`: exit code and what it printed.
    pub(super) fn action(&self, arguments: &[&str]) -> Result<(u8, Value)> {
        let all = [&["action"], arguments, &["-o", "json"]].concat();
        let outcome = router::routerctl(self.node, &all)?;
        let code = outcome.status.and_then(|status| status.code());
        let code = code.and_then(|code| u8::try_from(code).ok());
        let printed = serde_json::from_str(&outcome.stdout)
            .with_context(|| format!("routerctl {}: {}", all.join(" "), outcome.complaint()))?;
        Ok((code.unwrap_or(u8::MAX), printed))
    }

    /// Takes plans in and returns their numbers.
    pub(super) fn import(&self, plans: &Value) -> Result<Vec<u64>> {
        let file = self.node.dir().join("plans.json");
        fs::write(&file, json!({ "actionPlans": plans }).to_string())?;
        let (_, report) = self.action(&["import", &file.display().to_string()])?;
        let imports = report["plans"].as_array().into_iter().flatten();
        imports
            .map(|import| {
                import["id"]
                    .as_u64()
                    .with_context(|| format!("refused: {import}"))
            })
            .collect()
    }

    /// The actions that the configuration asks for and that nothing was done about yet.
    pub(super) fn proposed(&self) -> Result<Vec<u64>> {
        let (_, actions) = self.action(&["list"])?;
        let actions = actions.as_array().into_iter().flatten();
        let waiting = actions.filter(|action| {
            action["state"] == "pending" && action["plan"]["decision"].is_object()
        });
        Ok(waiting.filter_map(|action| action["id"].as_u64()).collect())
    }

    /// Approves actions and carries them out: exit code and the runs in order.
    pub(super) fn execute(&self, ids: &[u64]) -> Result<(u8, Vec<Value>)> {
        self.of(&["approve"], ids)?;
        self.again(ids)
    }

    /// Carries out actions that were approved before, and may have failed since.
    pub(super) fn again(&self, ids: &[u64]) -> Result<(u8, Vec<Value>)> {
        self.run(&["execute", "--approved"], ids)
    }

    /// Approves the rollback of actions and rolls them back.
    pub(super) fn roll_back(&self, ids: &[u64]) -> Result<(u8, Vec<Value>)> {
        self.of(&["approve", "--rollback"], ids)?;
        self.run(&["rollback", "--approved"], ids)
    }

    fn of(&self, verb: &[&str], ids: &[u64]) -> Result<(u8, Value)> {
        let numbers: Vec<String> = ids.iter().map(u64::to_string).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        self.action(&[verb, &numbers].concat())
    }

    fn run(&self, verb: &[&str], ids: &[u64]) -> Result<(u8, Vec<Value>)> {
        let (code, report) = self.of(verb, ids)?;
        let Some(runs) = report["runs"].as_array() else {
            bail!("no runs in {report}");
        };
        Ok((code, runs.clone()))
    }

    /// One action as it stands.
    pub(super) fn show(&self, id: u64) -> Result<Value> {
        let (_, detail) = self.action(&["show", &id.to_string()])?;
        Ok(detail["action"].clone())
    }

    /// The identity of the router has this role here, and no other.
    pub(super) fn grant_only(&self, scopes: &[&str]) {
        self.cloud.with(|azure| {
            azure.revoke_roles(&self.principal);
            for scope in scopes {
                azure.assign_role(Assignment {
                    principal: self.principal.clone(),
                    role: NETWORK_CONTRIBUTOR.to_owned(),
                    scope: (*scope).to_owned(),
                });
            }
        });
    }

    /// Somebody changes the NIC past routerd.
    pub(super) fn change_nic(&self, change: impl FnOnce(&mut Value)) -> Result<Value> {
        let mut nic = self.cloud.get(&self.nic)?;
        change(&mut nic);
        self.cloud.put(&self.nic, &nic)
    }

    /// A resource as the API shows it, without what changes with every write.
    pub(super) fn picture_of(&self, id: &str) -> Result<Value> {
        let mut picture = self.cloud.get(id)?;
        normalise(&mut picture);
        Ok(picture)
    }

    /// The NIC and the route table as the API shows them, without what changes with every write.
    pub(super) fn picture(&self) -> Result<Value> {
        Ok(json!({
            "networkInterface": self.picture_of(&self.nic)?,
            "routeTable": self.picture_of(&self.table)?,
        }))
    }
}

/// The plans of the first field report.
pub(super) fn plans(nic: &str, address: &str) -> Value {
    let plan = |action: &str, target: Value, parameters: Value| {
        json!({
            "name": format!("onprem-capture/{action}"),
            "provider": "azure",
            "providerRef": "azure-lab",
            "action": action,
            "target": target,
            "parameters": parameters,
            "idempotencyKey": format!("field-report/{action}"),
        })
    };
    json!([
        plan(
            "ensure-forwarding-enabled",
            json!({"nicRef": nic}),
            json!({})
        ),
        plan(
            "assign-secondary-ip",
            json!({"nicRef": nic, "address": address}),
            json!({"name": CONFIG_NAME}),
        ),
    ])
}

fn normalise(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("etag");
            members.remove("provisioningState");
            members.values_mut().for_each(normalise);
        }
        Value::Array(entries) => entries.iter_mut().for_each(normalise),
        _ => {}
    }
}

/// Where two documents first differ.
pub(super) fn difference(before: &Value, after: &Value, place: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)));
            let mut each = names.map(|name| {
                let (a, b) = (&before[name], &after[name]);
                difference(a, b, &format!("{place}/{name}"))
            });
            each.find_map(|found| found)
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(at, (a, b))| difference(a, b, &format!("{place}/{at}")))
        }
        _ if before == after => None,
        _ => Some(format!("{place}: {before} became {after}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_and_states_are_overlooked() {
        let mut before = json!({"etag": "1", "properties": {"provisioningState": "Succeeded", "x": [{"etag": "1", "y": 1}]}});
        let mut after = json!({"etag": "2", "properties": {"provisioningState": "Updating", "x": [{"etag": "2", "y": 1}]}});
        normalise(&mut before);
        normalise(&mut after);
        assert_eq!(difference(&before, &after, ""), None);
        after["properties"]["x"][0]["y"] = json!(2);
        let found = difference(&before, &after, "");
        assert_eq!(found.as_deref(), Some("/properties/x/0/y: 1 became 2"));
        after["properties"]["z"] = json!(null);
        after["properties"]["x"] = json!([]);
        assert!(difference(&before, &after, "").is_some());
    }
}
