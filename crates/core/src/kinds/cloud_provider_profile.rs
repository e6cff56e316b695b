//! `CloudProviderProfile`: the cloud that a router stands in.

use std::collections::BTreeSet;

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{Capability, Cloud, CloudName, HttpUrl, SubscriptionId, Text};
use crate::config::draft::{Draft, Provider, Resource};
use crate::config::sink::Sink;

/// A cloud account as its router sees it. It holds no credentials: those belong to the provider's executor.
///
/// `subscriptionID` and `resourceGroup` are of Azure, `compartmentID` of OCI, `project` of GCP; on another provider they
/// are refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CloudProviderProfile {
    /// The provider.
    provider: Cloud,
    /// The region, in the provider's own spelling. Absent: asked of the metadata service.
    #[expect(dead_code, reason = "read by executors from the resource itself")]
    region: Option<Text<CloudName>>,
    /// The subscription, on Azure.
    #[serde(rename = "subscriptionID")]
    subscription_id: Option<Text<SubscriptionId>>,
    /// The resource group, on Azure.
    resource_group: Option<Text<CloudName>>,
    /// The compartment, on OCI.
    #[serde(rename = "compartmentID")]
    compartment_id: Option<Text<CloudName>>,
    /// The project, on GCP.
    project: Option<Text<CloudName>>,
    /// What routerd may ask of the provider. Absent: all that it offers.
    capabilities: Option<Vec<Capability>>,
    /// How the executor proves who it is.
    auth: Option<Auth>,
    /// Another address of the provider's API, for a private cloud or a lab.
    #[expect(dead_code, reason = "read by executors from the resource itself")]
    endpoint: Option<Text<HttpUrl>>,
}

/// How an executor proves who it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Auth {
    /// The way.
    mode: AuthMode,
    /// The command that prints credentials, with its arguments; for `external-command`.
    #[serde(default)]
    command: Vec<String>,
}

/// A way of proving who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum AuthMode {
    /// The identity that the provider gives to the machine: instance role, managed identity, instance principal, service
    /// account.
    MachineIdentity,
    /// A command that prints credentials.
    ExternalCommand,
}

impl Kind for CloudProviderProfile {
    const NAME: &'static str = "CloudProviderProfile";
    const GROUP: &'static str = "hybrid.routerd.net";
    const EXAMPLE: &'static str = "\
provider: azure
region: japaneast
subscriptionID: 00000000-0000-0000-0000-000000000000
resourceGroup: cloudedge-lab
capabilities: [nic-secondary-ip, ip-forwarding]
auth:
  mode: machine-identity
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        self.check_foreign_fields(resource, sink);
        self.check_auth(resource, sink);
        let capabilities = self.capabilities(resource, sink);
        let provider = Provider {
            id: resource.id.clone(),
            mark: resource.mark,
            cloud: self.provider,
            subscription: self.subscription_id.map(|id| id.0.0),
            capabilities,
        };
        draft.providers.insert(resource.id.name.clone(), provider);
    }
}

impl CloudProviderProfile {
    fn check_foreign_fields(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let fields = [
            (
                "subscriptionID",
                self.subscription_id.is_some(),
                Cloud::Azure,
            ),
            ("resourceGroup", self.resource_group.is_some(), Cloud::Azure),
            ("compartmentID", self.compartment_id.is_some(), Cloud::Oci),
            ("project", self.project.is_some(), Cloud::Gcp),
        ];
        for (field, set, cloud) in fields {
            if set && cloud != self.provider {
                let message = format!(
                    "`{field}` belongs to {cloud}, and this profile is of {}",
                    self.provider
                );
                let found = Diagnostic::error("field-of-other-provider", message)
                    .hint(format!("remove it, or write `provider: {cloud}`"));
                resource.report(sink, field, found);
            }
        }
    }

    fn check_auth(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let Some(auth) = &self.auth else { return };
        match (auth.mode, auth.command.first()) {
            (AuthMode::ExternalCommand, None) => {
                let found = Diagnostic::error("missing-field", "`spec.auth.command` is missing")
                    .hint("`external-command` needs the command that prints credentials");
                resource.report(sink, "auth", found);
            }
            (AuthMode::ExternalCommand, Some(program)) if !program.starts_with('/') => {
                let message = format!("`{program}` is not an absolute path");
                let found = Diagnostic::error("bad-path", message).hint("it begins with `/`");
                resource.report(sink, "auth.command.0", found);
            }
            (AuthMode::MachineIdentity, Some(_)) => {
                let message = "`machine-identity` runs no command";
                let found = Diagnostic::error("conflicting-fields", message)
                    .hint("remove `command`, or write `mode: external-command`");
                resource.report(sink, "auth.command", found);
            }
            _ => {}
        }
    }

    fn capabilities(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> BTreeSet<Capability> {
        let Some(written) = &self.capabilities else {
            return Capability::of(self.provider);
        };
        for (index, capability) in written.iter().enumerate() {
            if !capability.fits(self.provider) {
                let message = format!("{} has no `{capability}`", self.provider);
                let offered: Vec<_> = Capability::of(self.provider)
                    .iter()
                    .map(Capability::to_string)
                    .collect();
                let found = Diagnostic::error("capability-of-other-provider", message)
                    .hint(format!("it offers {}", offered.join(", ")));
                resource.report(sink, &format!("capabilities.{index}"), found);
            }
        }
        written.iter().copied().collect()
    }
}
