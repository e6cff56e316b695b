//! Configurations and what becomes of them, as golden cases.
//!
//! - `diagnostics/NAME/`: broken or doubtful configurations and what is said about them;
//! - `accepted/NAME/`: sound ones and what they are compiled to;
//! - what is written from the kinds' types: the JSON Schema and the reference documents.
//!
//! `UPDATE_GOLDEN=1 cargo test -p routerd-core --test config` writes all expectations anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use api::control::{Config, SourceFile};
use api::{Diagnostic, Severity};
use routerd_core::Effective;
use routerd_core::config::{Loaded, load, reference, schema};
use routerd_core::effective::BgpIntent;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folders of a set of cases, by name.
fn cases(set: &str) -> Vec<(String, PathBuf)> {
    let folders = fs::read_dir(here().join(set)).expect("cases");
    let mut cases: Vec<_> = folders
        .map(|folder| folder.expect("folder").path())
        .map(|path| (file_name(&path), path))
        .collect();
    cases.sort();
    cases
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .expect("name")
        .to_string_lossy()
        .into_owned()
}

/// Loads the YAML files of a folder, in order of name.
fn load_folder(folder: &Path) -> Loaded {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    paths.sort();
    load_files(&paths)
}

fn load_files(paths: &[PathBuf]) -> Loaded {
    let files = paths.iter().map(|path| SourceFile {
        name: file_name(path),
        text: fs::read_to_string(path).expect("readable"),
    });
    load(&Config {
        files: files.collect(),
    })
}

fn render(loaded: &Loaded) -> String {
    let found: Vec<String> = loaded
        .diagnostics
        .iter()
        .map(|found| format!("{found}\n"))
        .collect();
    found.join("\n")
}

/// Compares with the expectation, or writes it. Returns what is different.
fn compare(path: &Path, actual: &str) -> Option<String> {
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return None;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, actual).expect("written");
        return None;
    }
    Some(format!(
        "{} is stale\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    ))
}

fn assert_same(differences: &[String]) {
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn examples_load_without_a_word() {
    for name in [
        "two-site-cloud.yaml",
        "two-site-onprem.yaml",
        "event-federation/receiver-cloud.yaml",
        "event-federation/sender-onprem.yaml",
    ] {
        let loaded = load_files(&[root().join("examples").join(name)]);
        assert_eq!(render(&loaded), "", "{name}");
        assert!(loaded.effective.is_some(), "{name}");
    }
}

#[test]
fn diagnostics_are_as_expected() {
    let mut differences = Vec::new();
    for (name, folder) in cases("diagnostics") {
        let loaded = load_folder(&folder);
        assert!(!loaded.diagnostics.is_empty(), "{name} says nothing");
        let refused = loaded.diagnostics.iter().any(Diagnostic::is_error);
        assert_eq!(loaded.effective.is_none(), refused, "{name}");
        differences.extend(compare(&folder.join("expected.txt"), &render(&loaded)));
    }
    assert_same(&differences);
}

#[test]
fn sound_configurations_compile_as_expected() {
    let mut differences = Vec::new();
    for (name, folder) in cases("accepted") {
        let loaded = load_folder(&folder);
        let errors = loaded
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .count();
        assert_eq!(errors, 0, "{name}: {}", render(&loaded));
        let effective = loaded.effective.as_ref().expect("effective");
        let text = format!("{}{}", render(&loaded), summary(effective));
        differences.extend(compare(&folder.join("expected.txt"), &text));
    }
    assert_same(&differences);
}

/// What a configuration was compiled to, a line for each intent.
fn summary(effective: &Effective) -> String {
    let mut out = String::new();
    for (ifname, intent) in &effective.interfaces {
        let _ = writeln!(out, "interface {ifname}: {intent:?}");
    }
    for (ifname, intent) in &effective.wireguard {
        let _ = writeln!(
            out,
            "wireguard {ifname}: {} {:?} port {:?} mtu {:?}",
            intent.owner, intent.private_key, intent.listen_port, intent.mtu
        );
        for (key, peer) in &intent.peers {
            let _ = writeln!(out, "  peer {key}: {peer:?}");
        }
    }
    for (ifname, intent) in &effective.plain_tunnels {
        let _ = writeln!(out, "tunnel {ifname}: {intent:?}");
    }
    for ifname in &effective.force_fragment {
        let _ = writeln!(out, "fragment into {ifname}");
    }
    for ((ifname, net), intent) in &effective.addresses {
        let _ = writeln!(out, "address {net} dev {ifname} ({})", intent.owner);
    }
    for (key, route) in &effective.routes {
        let _ = writeln!(
            out,
            "route {} table {} metric {}: {:?} src {:?} ({})",
            key.destination,
            key.table,
            key.metric,
            route.target,
            route.preferred_source,
            route.owner
        );
    }
    for (address, capture) in &effective.captures {
        let _ = writeln!(out, "capture {address}: {capture:?}");
    }
    if let Some(bgp) = &effective.bgp {
        out.push_str(&speaker(bgp));
    }
    for (name, policy) in &effective.policies {
        let _ = writeln!(out, "policy {name}: {policy:?}");
    }
    for (name, plugin) in &effective.plugins {
        let _ = writeln!(out, "plugin {name}: {plugin:?}");
    }
    for rule in &effective.permissions.masks {
        let _ = writeln!(out, "may mask: {rule:?}");
    }
    for rule in &effective.permissions.resources {
        let _ = writeln!(out, "may add: {rule:?}");
    }
    for part in &effective.parts {
        let _ = writeln!(out, "part {part:?}");
    }
    for (name, source) in &effective.sources {
        let _ = writeln!(out, "source {name}: {source:?}");
    }
    for (name, observer) in &effective.observers {
        let _ = writeln!(out, "observer {name}: {observer:?}");
    }
    for mac in &effective.router_macs {
        let _ = writeln!(out, "router {mac:02x?}");
    }
    for (ifname, owners) in &effective.delivery {
        let owners: Vec<_> = owners.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "delivery {ifname}: {}", owners.join(", "));
    }
    for (id, declared) in &effective.resources {
        let _ = writeln!(
            out,
            "resource {id} {} {}",
            declared.api_version, declared.spec
        );
    }
    out
}

fn speaker(bgp: &BgpIntent) -> String {
    let mut out = String::new();
    let speaker = &bgp.speaker;
    let _ = writeln!(
        out,
        "speaker ({}): AS {} {} cluster {} listen {} next hops {} {:?}",
        bgp.owner,
        speaker.asn,
        speaker.router_id,
        speaker.cluster(),
        bgp.listen,
        speaker.max_next_hops,
        bgp.redistribute
    );
    for (address, peer) in &speaker.peers {
        let _ = writeln!(out, "  peer {address}: {peer:?}");
        let _ = writeln!(out, "    {:?}", bgp.peers[address]);
    }
    for range in &speaker.dynamic {
        let _ = writeln!(out, "  range {range:?}");
        let _ = writeln!(out, "    {:?}", bgp.ranges[&range.name]);
    }
    out
}

#[test]
fn the_schema_on_disk_is_fresh() {
    let text = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
    let path = root().join("schema/routerd.schema.json");
    assert_same(&Vec::from_iter(compare(&path, &text)));
}

#[test]
fn the_reference_on_disk_is_fresh() {
    let path = root().join("docs/reference/resources.md");
    assert_same(&Vec::from_iter(compare(&path, &reference())));
}

#[test]
fn the_list_of_diagnostics_on_disk_is_fresh() {
    let mut first = BTreeMap::new();
    for (_, folder) in cases("diagnostics") {
        for found in load_folder(&folder).diagnostics {
            first.entry(found.id.clone()).or_insert(found);
        }
    }
    let mut text = String::from(
        "# Diagnostics\n\n\
         <!-- Written by `UPDATE_GOLDEN=1 cargo test -p routerd-core --test config`. -->\n\n\
         What `routerctl validate` says, by id, with an example of each. An error refuses the configuration; a warning \
         lets it pass, but traffic may fail or something is not as it seems.\n",
    );
    for (id, found) in first {
        let severity = match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = write!(text, "\n## {id}\n\n{severity}\n\n```text\n{found}\n```\n");
    }
    let path = root().join("docs/reference/diagnostics.md");
    assert_same(&Vec::from_iter(compare(&path, &text)));
}
