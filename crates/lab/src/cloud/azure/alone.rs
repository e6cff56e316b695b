//! Azure served alone: the subscription of [`example`], and how its clients are pointed at it.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::{Assignment, Azure, NETWORK_CONTRIBUTOR, example};
use crate::cloud::api::{Alone, Endpoints, RoleScope, Wish};
use crate::fabric::{FabricState, NicId};

impl Alone for Azure {
    fn machines() -> Result<(Vec<NicId>, NicId)> {
        let (site, _) = example::example()?;
        Ok((site.machines.into_keys().collect(), example::ROUTER.into()))
    }

    fn begin(wish: &Wish) -> Result<(Self, FabricState)> {
        let (mut site, fabric) = example::example()?;
        site.epoch = wish.epoch;
        let Some(machine) = site.machines.get(&wish.nic).cloned() else {
            bail!("there is no NIC {}", wish.nic);
        };
        let scope = match wish.role {
            RoleScope::None => None,
            RoleScope::Nic => Some(site.nic_id(&wish.nic)),
            RoleScope::Group => Some(site.group_id()),
        };
        let mut azure = Self::new(site, &fabric, wish.secret);
        if let Some(scope) = scope {
            azure.assign_role(Assignment {
                principal: machine.principal,
                role: NETWORK_CONTRIBUTOR.to_owned(),
                scope,
            });
        }
        Ok((azure, fabric))
    }

    fn environment(endpoints: &Endpoints) -> Vec<(&'static str, String)> {
        let authority = endpoints.authority.display().to_string();
        vec![
            (
                "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                endpoints.metadata.clone(),
            ),
            ("SSL_CERT_FILE", authority.clone()),
            ("REQUESTS_CA_BUNDLE", authority.clone()),
            ("CURL_CA_BUNDLE", authority),
        ]
    }

    fn facts(&self, nic: &NicId) -> Map<String, Value> {
        let site = self.site();
        let nics: Vec<String> = site.machines.keys().map(|nic| site.nic_id(nic)).collect();
        let principal = site.machines.get(nic).map(|machine| &machine.principal);
        let facts = json!({
            "subscription": site.subscription,
            "tenant": site.tenant,
            "resourceGroup": site.group,
            "virtualNetwork": site.network,
            "networkInterfaces": nics,
            "machine": site.nic_id(nic),
            "principal": principal,
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }

    fn guide(endpoints: &Endpoints) -> Vec<String> {
        vec![
            format!(
                "az cloud register -n lab --endpoint-resource-manager {}",
                endpoints.api
            ),
            "az cloud set -n lab && az login --identity --allow-no-subscriptions".to_owned(),
        ]
    }
}
