//! Dynamic configuration with real plugins in a real daemon.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::daemon::{Daemon, until};
use super::namespace::{examples, is_root, isolated, onprem_links, run};

/// A source that runs every second, and one whose plugin is written by an enemy.
const SOURCES: &str = "
---
apiVersion: config.routerd.net/v1alpha1
kind: DynamicConfigSource
metadata: {name: inventory}
spec:
  pluginRef: inventory
  ttl: 1h
  triggers: [{type: interval, every: 1s}]
---
apiVersion: config.routerd.net/v1alpha1
kind: DynamicConfigSource
metadata: {name: enemy}
spec:
  pluginRef: enemy
  triggers: [{type: interval, every: 1s}]
---
apiVersion: plugin.routerd.net/v1alpha1
kind: Plugin
metadata: {name: inventory}
spec:
  executable: PLUGINS/inventory
  capabilities: [propose.dynamicConfig]
---
apiVersion: plugin.routerd.net/v1alpha1
kind: Plugin
metadata: {name: enemy}
spec:
  executable: PLUGINS/enemy
  capabilities: [propose.dynamicConfig]
";

/// A folder whose plugins belong to root and nobody else writes to.
struct Node {
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Node {
    fn new() -> Self {
        onprem_links();
        // Every folder above a plugin has to be root's, and the sandbox shows `/usr`.
        run("mount -t tmpfs -o mode=755 tmpfs /usr/local");
        let folder = tempfile::tempdir_in("/usr/local").expect("temporary directory");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("mode");
        let daemon = Daemon::new(folder.path());
        Self { folder, daemon }
    }

    fn place(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn plugin(&self, name: &str, body: &str) {
        let folder = self.folder.path().join("plugins");
        fs::create_dir_all(&folder).expect("folder");
        let draft = folder.join(format!("{name}.new"));
        fs::write(&draft, format!("#!/bin/sh\n{body}\n")).expect("written");
        fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("mode");
        fs::rename(&draft, folder.join(name)).expect("in place");
    }

    fn apply(&mut self) {
        let text = fs::read_to_string(examples().join("two-site-onprem.yaml")).expect("example");
        let text = text.replace("/var/lib/routerd/keys", &format!("{}/keys", self.place()));
        let sources = SOURCES.replace("PLUGINS", &format!("{}/plugins", self.place()));
        let path = self.file("router.yaml");
        fs::write(&path, text + &sources).expect("written");
        let (code, said) = self.daemon.routerctl(&["apply", "-f", &path]);
        assert_eq!(code, 0, "{said}");
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn list(&self) -> String {
        self.daemon.routerctl_apart(&["dynamic", "list"]).1
    }

    /// The line of a source, once it says this.
    fn await_line(&self, source: &str, word: &str) {
        until(&format!("{source} is {word}"), || {
            let list = self.list();
            let mut lines = list.lines().filter(|line| line.starts_with(source));
            lines.any(|line| line.contains(word))
        });
    }
}

/// What a plugin prints that claims an address of the cloud.
fn claims(kind: &str, name: &str, address: &str) -> String {
    format!(
        r#"cat >/dev/null
cat <<END
{{"apiVersion": "plugin.routerd.net/v1alpha1", "kind": "PluginResult", "status": {{
  "observedAt": "$(date -u +%Y-%m-%dT%H:%M:%SZ)", "ttl": "1m", "resources": [{{
    "apiVersion": "hybrid.routerd.net/v1alpha1", "kind": "{kind}", "metadata": {{"name": "{name}"}},
    "spec": {{"address": "{address}", "ownerSide": "cloud",
              "capture": {{"type": "proxy-arp", "interface": "ens21", "gratuitousARP": false}}}}}}]}}}}
END"#
    )
}

fn routed(address: &str) -> bool {
    run(&format!("ip route show {address}/32 proto 82")).contains("wg-hybrid")
}

#[test]
fn sources_run_their_plugins_and_what_they_say_survives() {
    // Only root can own what plugins need.
    if !is_root() {
        return;
    }
    isolated(
        "dynamic::sources_run_their_plugins_and_what_they_say_survives",
        || {
            let mut node = Node::new();
            node.plugin(
                "inventory",
                &claims("RemoteAddressClaim", "x", "10.77.60.50"),
            );
            node.plugin("enemy", &claims("Plugin", "evil", "10.77.60.51"));
            node.daemon.start();
            node.apply();
            until("the claim is routed", || routed("10.77.60.50"));
            node.await_line("DynamicConfigSource/inventory", "active");
            node.await_line("DynamicConfigSource/enemy", "quarantined");
            let (_, diff) = node.daemon.routerctl_apart(&["dynamic", "diff"]);
            let line = "+ RemoteAddressClaim/x  DynamicConfigSource/inventory generation ";
            assert!(diff.starts_with(line), "{diff}");
            let (_, status) = node.daemon.routerctl(&["describe", "claim", "x"]);
            assert!(status.contains("10.77.60.50"), "{status}");
            // Killed without a word, and the plugin fails from now on: what it said stands.
            node.plugin("inventory", "exit 3");
            node.daemon.kill();
            assert!(routed("10.77.60.50"));
            run("ip route del 10.77.60.50/32");
            node.daemon.start();
            until("the claim is routed again", || routed("10.77.60.50"));
            node.await_line("DynamicConfigSource/inventory", "active");
            // The newest word replaces the older.
            node.plugin(
                "inventory",
                &claims("RemoteAddressClaim", "y", "10.77.60.52"),
            );
            until("the new claim is routed", || routed("10.77.60.52"));
            until("the old one is gone", || !routed("10.77.60.50"));
            // An enemy who now says the same as somebody else loses alone.
            node.plugin("enemy", &claims("RemoteAddressClaim", "y", "10.77.60.52"));
            until("the rival is named", || {
                let about = ["dynamic", "describe", "DynamicConfigSource/enemy"];
                let (_, said) = node.daemon.routerctl_apart(&about);
                said.contains("is held by DynamicConfigSource/inventory")
            });
            assert!(routed("10.77.60.52"));
            node.daemon.stop();
            offline(&node);
        },
    );
}

/// The same without a daemon.
fn offline(node: &Node) {
    let (config, state) = (node.file("router.yaml"), node.file("state/routerd.db"));
    let files = ["--config", &config, "--state-file", &state];
    let (code, list) = node
        .daemon
        .routerctl(&[&["dynamic", "list"], &files[..]].concat());
    assert_eq!(code, 0, "{list}");
    assert!(list.contains("DynamicConfigSource/inventory"), "{list}");
    let (code, text) = node
        .daemon
        .routerctl(&[&["dynamic", "render"], &files[..]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("address: 10.77.60.52"), "{text}");
    assert!(
        text.contains("routerd.net/dynamic-source: DynamicConfigSource/inventory"),
        "{text}"
    );
    // Without a configuration, that of the last verified generation.
    let (code, same) = node
        .daemon
        .routerctl(&["dynamic", "render", "--state-file", &state]);
    assert_eq!((code, same), (0, text));
}
