//! The instance metadata service, as a machine sees it at 169.254.169.254, and the endpoint list that the
//! command line client asks a new cloud for.

use std::time::Duration;

use serde_json::{Value, json};

use super::Azure;
use super::site::Machine;
use crate::cloud::{Request, Response};
use crate::fabric::NicId;

impl Azure {
    pub(super) fn metadata(&mut self, now: Duration, request: &Request) -> Response {
        if request.path == "/metadata/endpoints" {
            return Response::json(200, &endpoints(&request.base));
        }
        let forwarded = request.header("x-forwarded-for").is_some();
        let marked = request
            .header("metadata")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if forwarded || !marked {
            return refused("invalid_request", "Required metadata header not specified");
        }
        let machine = request
            .from
            .as_ref()
            .and_then(|nic| Some((nic.clone(), self.site.machines.get(nic)?.clone())));
        let Some((nic, machine)) = machine else {
            return refused("invalid_request", "The machine is not known");
        };
        match request.path.as_str() {
            "/metadata/identity/oauth2/token" => self.token(now, request, &machine),
            "/metadata/instance" => self.instance(&nic, &machine, request),
            _ => Response::json(404, &json!({"error": "Not found"})),
        }
    }

    fn token(&mut self, now: Duration, request: &Request, machine: &Machine) -> Response {
        let Some(resource) = request.parameter("resource") else {
            return refused(
                "invalid_request",
                "Required query variable 'resource' is missing",
            );
        };
        let other = |name: &str, own: &str| {
            request
                .parameter(name)
                .is_some_and(|asked| !asked.eq_ignore_ascii_case(own))
        };
        if other("client_id", &machine.client_id) || other("object_id", &machine.principal) {
            return refused("invalid_request", "Identity not found");
        }
        self.identities.set_lifetime(self.site.token_lifetime);
        let (token, expires) = self.identities.token(&machine.principal, now);
        let left = expires.saturating_sub(now).as_secs();
        Response::json(
            200,
            &json!({
                "access_token": token,
                "client_id": machine.client_id,
                "expires_in": left.to_string(),
                "expires_on": self.identities.unix(expires).to_string(),
                "ext_expires_in": self.identities.lifetime().as_secs().to_string(),
                "not_before": self.identities.unix(now).to_string(),
                "resource": resource,
                "token_type": "Bearer",
            }),
        )
    }

    fn instance(&self, nic: &NicId, machine: &Machine, request: &Request) -> Response {
        if request.parameter("api-version").is_none() {
            return refused(
                "Bad request",
                "api-version was not specified in the request",
            );
        }
        let body = self
            .store
            .get(&self.site.nic_id(nic))
            .map(|document| &document.body);
        let addresses = body
            .map(|body| crate::cloud::json::list(body, "/properties/ipConfigurations"))
            .unwrap_or_default()
            .iter()
            .filter_map(|config| config.pointer("/properties/privateIPAddress"))
            .map(|address| json!({"privateIpAddress": address, "publicIpAddress": ""}))
            .collect::<Vec<_>>();
        let mac = body
            .and_then(|body| crate::cloud::json::text(body, "/properties/macAddress"))
            .unwrap_or_default()
            .replace('-', "");
        let site = &self.site;
        Response::json(
            200,
            &json!({
                "compute": {
                    "azEnvironment": "AzurePublicCloud",
                    "location": site.location,
                    "name": machine.name,
                    "resourceGroupName": site.group,
                    "resourceId": site.machine_id(&machine.name),
                    "subscriptionId": site.subscription,
                },
                "network": {"interface": [{
                    "ipv4": {"ipAddress": addresses, "subnet": []},
                    "ipv6": {"ipAddress": []},
                    "macAddress": mac,
                }]},
            }),
        )
    }
}

fn refused(error: &str, description: &str) -> Response {
    Response::json(
        400,
        &json!({"error": error, "error_description": description}),
    )
}

/// What `az cloud register --endpoint-resource-manager` reads.
fn endpoints(base: &str) -> Value {
    json!({
        "name": "routerd-lab",
        "portal": base,
        "resourceManager": base,
        "graph": base,
        "graphAudience": base,
        "gallery": base,
        "batch": base,
        "sqlManagement": base,
        "media": base,
        "activeDirectoryDataLake": base,
        "vmImageAliasDoc": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": ["https://management.azure.com", base],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {
            "storage": "core.local",
            "keyVaultDns": "vault.local",
            "sqlServerHostname": "db.local",
            "acrLoginServer": "acr.local",
        },
    })
}
