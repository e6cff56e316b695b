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

/// The page that this test runs, command by command.
const GUIDE: &str = include_str!("../../../../docs/how-to/event-to-remote-claim.md");

/// The commands below a heading, continued lines joined.
fn commands(heading: &str) -> Vec<String> {
    let (_, section) = GUIDE.split_once(heading).expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let joined = section.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.strip_prefix("$ "));
    lines.map(str::to_owned).collect()
}

/// Runs a command as a person would, in the folder of the sources.
fn shell(command: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{said}{wrong}");
    said
}

#[test]
fn the_guide() {
    if !is_root() {
        return;
    }
    let build = |command: &String| command.starts_with("cargo ");
    let all = commands("## On the cloud router");
    if std::env::var_os("ROUTERD_TEST_INSIDE").is_none() {
        // Where there is no compiler in sight any more, this would fail.
        let cargo = env!("CARGO");
        shell(&format!(
            "{cargo} build -q -p event-to-remote-claim -p routerctl"
        ));
        assert_eq!(all.iter().filter(|c| build(c)).count(), 1);
    }
    isolated("dynamic::the_guide", || {
        for folder in ["/usr/local", "/var/lib"] {
            run(&format!("mount -t tmpfs -o mode=755 tmpfs {folder}"));
        }
        run("ip link add eth0 type veth peer name fabric");
        run("ip link set eth0 up");
        run("ip link set fabric up");
        run("ip address add 10.88.60.4/24 dev eth0");
        run("ip route add default via 10.88.60.1");
        // As it is started by its unit: everything where it is by default.
        let mut daemon = std::process::Command::new(env!("CARGO_BIN_EXE_routerd"))
            .arg("serve")
            .spawn()
            .expect("routerd starts");
        until("the daemon answers", || {
            let asked = std::process::Command::new("routerctl")
                .arg("status")
                .output();
            asked.is_ok_and(|output| output.status.success())
        });
        for command in all.iter().filter(|command| !build(command)) {
            eprintln!("$ {command}");
            if command.starts_with("routerctl dynamic render") {
                until("the claim is rendered", || {
                    let text = shell(command);
                    [
                        "kind: RemoteAddressClaim",
                        "address: 10.88.60.9/32",
                        "routerd.net/event-id: ",
                        "routerd.net/event-group: cloudedge",
                        "routerd.net/dynamic-source: EventSubscription/onprem-clients",
                    ]
                    .iter()
                    .all(|line| text.contains(line))
                });
            }
            let said = shell(command);
            eprintln!("{said}");
        }
        let route = "ip route show 10.88.60.9/32 proto 82";
        until("the claim is routed", || run(route).contains("wg-hybrid"));
        let list = shell("routerctl dynamic list");
        assert!(
            list.contains("EventSubscription/onprem-clients:10.88.60.9/32  1    active"),
            "{list}"
        );
        // A refreshed event extends the claim, under the next generation.
        let emit = all.iter().find(|c| c.contains("event emit")).expect("it");
        shell(&emit.replace("--ttl 30m", "--ttl 60m"));
        until("the claim is extended", || {
            let list = shell("routerctl dynamic list");
            list.contains("10.88.60.9/32  2    active")
        });
        // The end of the fact ends the claim at once.
        shell(&emit.replace("ipv4.observed", "ipv4.expired"));
        until("the claim is gone", || !run(route).contains("wg-hybrid"));
        daemon.kill().expect("kill");
        daemon.wait().expect("wait");
    });
}
