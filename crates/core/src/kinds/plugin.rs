//! `Plugin`: a program that observes, proposes or executes for routerd.

use std::collections::BTreeMap;
use std::time::Duration;

use api::Diagnostic;
use api::plugin::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{AbsolutePath, ResourceName, Span, Text};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::{PluginIntent, ResourceKey};

const TIMEOUT: Duration = Duration::from_secs(10);
const EXECUTOR_TIMEOUT: Duration = Duration::from_secs(30);

/// A program that routerd starts: one JSON request on its standard input, one JSON result on its standard output.
///
/// The executor of a cloud's actions is the plugin that is called `<provider>-executor` and may
/// `execute.providerAction`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-planned" = {
    "triggers": "run it with `routerctl plugin run`",
}))]
pub(crate) struct Plugin {
    /// The program. It and every folder above it belong to root and are not writable by others.
    executable: Text<AbsolutePath>,
    /// After this it is killed with everything that it started. Absent: 10s, executors 30s.
    timeout: Option<Text<Span>>,
    /// Its whole environment. Folders of this host that are named here and belong to its user are writable to it.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// What it may do. What is not listed is refused.
    #[serde(default)]
    capabilities: Vec<Capability>,
    /// What it may know.
    #[serde(default)]
    context: Context,
    /// The user that it runs as. Absent: nobody.
    user: Option<Text<ResourceName>>,
    /// Whether it is kept away from everything that it does not need.
    #[serde(default)]
    sandbox: Sandbox,
}

/// What a plugin may know.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Context {
    /// Resources that are handed to it, without their secrets.
    #[serde(default)]
    resources: Vec<ContextResource>,
}

/// A resource by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ContextResource {
    /// For example `hybrid.routerd.net/v1alpha1`.
    api_version: String,
    /// Its kind.
    kind: String,
    /// Its name.
    name: Text<ResourceName>,
}

/// Whether there is a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Sandbox {
    /// Read-only file system, private `/tmp`, no other processes, no network unless its capabilities need one.
    #[default]
    On,
    /// It sees what its user sees. Its limits, its user and its time stay.
    Off,
}

impl Kind for Plugin {
    const NAME: &'static str = "Plugin";
    const GROUP: &'static str = "plugin.routerd.net";
    const EXAMPLE: &'static str = "\
executable: /usr/local/libexec/routerd/inventory
timeout: 20s
env:
  INVENTORY_DIR: /var/lib/inventory
capabilities: [observe.cloud, propose.providerAction]
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        self.check_env(resource, sink);
        self.check_capabilities(resource, sink);
        let executes = self
            .capabilities
            .contains(&Capability::ExecuteProviderAction);
        let default = if executes { EXECUTOR_TIMEOUT } else { TIMEOUT };
        let context = self.context.resources.into_iter();
        let intent = PluginIntent {
            owner: resource.id.clone(),
            executable: self.executable.0.0.into(),
            timeout: self.timeout.map_or(default, |timeout| timeout.0.0),
            env: self.env,
            capabilities: self.capabilities.into_iter().collect(),
            context: context.map(ContextResource::key).collect(),
            user: self.user.map(|user| user.0.0),
            sandbox: self.sandbox == Sandbox::On,
        };
        draft
            .effective
            .plugins
            .insert(resource.id.name.clone(), intent);
    }
}

impl ContextResource {
    fn key(self) -> ResourceKey {
        ResourceKey {
            api_version: self.api_version,
            kind: self.kind,
            name: self.name.0.0,
        }
    }
}

impl Plugin {
    /// The environment is stored and shown with the configuration: a secret in it would be no secret.
    fn check_env(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        for name in self.env.keys() {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let found = if name.is_empty() || !name.chars().all(legal) {
                let message = format!("`{name}` is not the name of a variable");
                Diagnostic::error("bad-variable", message).hint("letters, digits and `_`")
            } else if is_secret(name) {
                let message = format!("`{name}` looks like a secret, and configurations hold none");
                Diagnostic::error("secret-in-environment", message).hint(
                    "let the plugin read it from a file of its user, or use the machine's identity",
                )
            } else {
                continue;
            };
            resource.report(sink, &format!("env.{name}"), found);
        }
    }

    fn check_capabilities(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        let executes = self
            .capabilities
            .contains(&Capability::ExecuteProviderAction);
        let named = resource.id.name.strip_suffix("-executor");
        if executes && !named.is_some_and(|cloud| ["aws", "azure", "oci", "gcp"].contains(&cloud)) {
            let message = "no cloud's executor has this name";
            let found = Diagnostic::warning("executor-never-used", message)
                .hint("call it aws-executor, azure-executor, oci-executor or gcp-executor");
            resource.report(sink, "capabilities", found);
        }
        if self.capabilities.is_empty() {
            let message = "it may do nothing: its results are all refused";
            let found = Diagnostic::warning("plugin-without-capabilities", message)
                .hint("list what it may do in `capabilities`");
            resource.report(sink, "capabilities", found);
        }
    }
}

/// Whether a variable of this name usually holds a secret; the name of a file that holds one is none.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').collect();
    let place = [
        "FILE", "PATH", "DIR", "URL", "URI", "ENDPOINT", "ID", "HOST",
    ];
    let secret = [
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "TOKEN",
        "CREDENTIAL",
        "CREDENTIALS",
        "APIKEY",
        "KEY",
    ];
    !words.last().is_some_and(|last| place.contains(last))
        && words.iter().any(|word| secret.contains(word))
}
