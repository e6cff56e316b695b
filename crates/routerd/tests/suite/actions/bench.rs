//! A daemon with an executor that plays a cloud in a folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::namespace::is_root;

/// Lets everything pass that can be let pass, without approval.
pub const OPEN: &str = "
  enabled: true
  dryRunOnly: false
  requireApproval: false
  allowedProviders: [azure]
  allowedActions: [ensure-forwarding-enabled, assign-secondary-ip]
  maxActionsPerRun: 100
  allowUndo: true
";

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub daemon: Daemon,
}

impl Bench {
    /// Only root can own what an executor needs.
    pub fn new() -> Option<Self> {
        let folder = is_root().then(|| {
            tempfile::Builder::new()
                .prefix("routerd-actions-")
                .tempdir_in("/root")
                .expect("a folder")
        })?;
        let bench = Self {
            daemon: Daemon::new(folder.path()),
            folder,
        };
        bench.program("executor", include_str!("executor.sh"));
        Some(bench)
    }

    /// A program of root's.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("mode");
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the cloud is: made by the daemon for the executor's user.
    pub fn cloud(&self) -> PathBuf {
        self.path("state/cloud")
    }

    pub fn database(&self) -> PathBuf {
        self.path("state/routerd.db")
    }

    /// A profile, its executor, and a policy with this specification.
    pub fn configuration(&self, policy: &str, timeout: &str) -> String {
        let (executor, cloud) = (self.path("executor"), self.cloud());
        format!(
            "apiVersion: hybrid.routerd.net/v1alpha1
kind: CloudProviderProfile
metadata: {{name: azure-lab}}
spec: {{provider: azure}}
---
apiVersion: plugin.routerd.net/v1alpha1
kind: Plugin
metadata: {{name: azure-executor}}
spec:
  executable: {}
  timeout: {timeout}
  env: {{CLOUD_DIR: {}}}
  capabilities: [execute.providerAction]
---
apiVersion: hybrid.routerd.net/v1alpha1
kind: ProviderActionPolicy
metadata: {{name: lab}}
spec:{policy}
",
            executor.display(),
            cloud.display()
        )
    }

    /// Puts a configuration into force.
    pub fn apply(&self, text: &str) {
        fs::write(self.path("router.yaml"), text).expect("written");
        let file = self.path("router.yaml").display().to_string();
        let (code, said) = self.daemon.routerctl(&["apply", "-f", &file]);
        assert_eq!(code, 0, "{said}");
    }

    /// What a command says, its numbers and all; it must end with this exit status.
    pub fn said(&self, code: u8, arguments: &[&str]) -> String {
        let (seen, said) = self.daemon.routerctl(arguments);
        assert_eq!(seen, code, "{arguments:?}: {said}\n{}", self.daemon.log());
        said
    }

    /// What a command says as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let (_, said) = self
            .daemon
            .routerctl_apart(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    }

    /// Takes in an action on a NIC.
    pub fn import(&self, action: &str, nic: &str) {
        self.import_plan(&plan(action, nic));
    }

    pub fn import_plan(&self, plan: &Value) {
        let path = self.path("plan.json");
        fs::write(&path, plan.to_string()).expect("written");
        self.said(0, &["action", "import", &path.display().to_string()]);
    }

    pub fn states(&self) -> Vec<String> {
        let list = self.json(&["action", "list"]);
        let list = list.as_array().expect("a list").iter();
        list.map(|action| action["state"].as_str().expect("a state").to_owned())
            .collect()
    }

    /// What holds back the only action.
    pub fn held(&self) -> String {
        let list = self.json(&["action", "list"]);
        list[0]["held"]["code"].as_str().unwrap_or("-").to_owned()
    }

    /// What the executor was asked, in order.
    pub fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.cloud().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// How the next run for a NIC goes wrong.
    pub fn fault(&self, nic: &str, fault: &str) {
        let path = self.cloud().join(format!("fault-{nic}"));
        fs::write(&path, format!("{fault}\n")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("mode");
    }

    pub fn is_true(&self, fact: &str, nic: &str) -> bool {
        self.cloud().join(format!("{fact}-{nic}")).exists()
    }
}

/// A plan for an action on a NIC.
pub fn plan(action: &str, nic: &str) -> Value {
    let target = match action {
        "assign-secondary-ip" => json!({"nicRef": nic, "address": "10.77.60.9"}),
        _ => json!({"nicRef": nic}),
    };
    json!({
        "name": format!("{action}-{nic}"), "provider": "azure", "providerRef": "azure-lab", "action": action,
        "target": target, "idempotencyKey": format!("{action}/{nic}"),
    })
}

/// A folder's files, one after the other.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
