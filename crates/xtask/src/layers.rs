//! Pure crates stay pure: which crates they may build on, and what of `std` they may not name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// A pure crate and everything outside `std` that it may depend on.
const PURE: &[(&str, &[&str])] = &[
    (
        "routerd-api",
        &["ipnet", "schemars", "serde", "serde_json", "thiserror"],
    ),
    (
        "routerd-bgp",
        &["bytes", "foldhash", "hashbrown", "serde", "thiserror"],
    ),
    (
        "routerd-core",
        &[
            "base64",
            "ed25519-dalek",
            "hmac",
            "ipnet",
            "routerd-api",
            "routerd-bgp",
            "saphyr",
            "saphyr-parser",
            "schemars",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "x25519-dalek",
        ],
    ),
];

/// Crates of the workspace and the workspace crates that they may depend on.
const WORKSPACE: &[(&str, &[&str])] = &[
    ("routerd-api", &[]),
    ("routerd-bgp", &[]),
    ("routerd-core", &["routerd-api", "routerd-bgp"]),
    (
        "routerd-linux",
        &["routerd-api", "routerd-bgp", "routerd-core"],
    ),
    ("routerd-providers", &["routerd-api"]),
    (
        "routerd",
        &[
            "routerd-api",
            "routerd-bgp",
            "routerd-core",
            "routerd-linux",
        ],
    ),
    ("routerctl", &["routerd-api", "routerd-bgp", "routerd-core"]),
    ("routerd-lab", &["routerd-api", "routerd-linux"]),
    (
        "routerd-bench",
        &[
            "routerd-api",
            "routerd-bgp",
            "routerd-core",
            "routerd",
            "routerd-linux",
        ],
    ),
    ("event-to-remote-claim", &["routerd-api"]),
    ("xtask", &[]),
];

/// What a pure crate may not name: files, sockets, processes, threads, clocks, the environment.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::net::Tcp",
    "std::net::Udp",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "println!",
    "eprintln!",
];

/// Everything that breaks the layers.
pub fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = workspace_packages(metadata);
    let mut findings = Vec::new();
    for (name, package) in &packages {
        let used = dependencies(package);
        match lookup(WORKSPACE, name) {
            None => findings.push(format!(
                "{name}: not in the layer table of crates/xtask/src/layers.rs"
            )),
            Some(allowed) => {
                let internal = used.iter().filter(|d| packages.contains_key(d.as_str()));
                findings.extend(not_allowed(name, internal, allowed));
            }
        }
        if let Some(allowed) = lookup(PURE, name) {
            findings.extend(not_allowed(name, used.iter(), allowed));
            findings.extend(impure_lines(&source_folder(package)?)?);
        }
    }
    Ok(findings)
}

fn lookup<'a>(table: &'a [(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, allowed)| *allowed)
}

fn not_allowed<'a>(
    name: &str,
    used: impl Iterator<Item = &'a String>,
    allowed: &[&str],
) -> Vec<String> {
    used.filter(|d| !allowed.contains(&d.as_str()))
        .map(|d| format!("{name}: must not depend on {d}"))
        .collect()
}

fn workspace_packages(metadata: &Value) -> BTreeMap<String, &Value> {
    let members: Vec<&Value> = metadata["workspace_members"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter(|p| members.contains(&&p["id"]))
        .map(|p| (p["name"].as_str().unwrap_or_default().to_owned(), p))
        .collect()
}

fn dependencies(package: &Value) -> Vec<String> {
    let all = package["dependencies"].as_array().into_iter().flatten();
    all.filter(|d| d["kind"].is_null())
        .filter_map(|d| d["name"].as_str().map(str::to_owned))
        .collect()
}

fn source_folder(package: &Value) -> Result<PathBuf> {
    let manifest = package["manifest_path"]
        .as_str()
        .context("package without manifest")?;
    Ok(Path::new(manifest).with_file_name("src"))
}

fn impure_lines(folder: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        // Modules of tests, `tests.rs` and what lies in `tests/`, may read files and the environment.
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            findings.extend(impure_lines(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path)?;
            findings.extend(
                impure(&text).map(|(line, what)| {
                    format!("{}:{line}: {what} in a pure crate", path.display())
                }),
            );
        }
    }
    Ok(findings)
}

/// Lines of production code that name something impure. Tests at the end of a file may read files.
fn impure(text: &str) -> impl Iterator<Item = (usize, &'static str)> + '_ {
    let code = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"));
    code.filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter_map(|(n, line)| {
            IMPURE
                .iter()
                .find(|what| line.contains(**what))
                .map(|what| (n + 1, *what))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_a_pure_crate_is_found() {
        let found: Vec<_> = impure("fn f() {}\nlet t = std::time::Instant::now();\n").collect();
        assert_eq!(found, [(2, "std::time::Instant")]);
    }

    #[test]
    fn comments_and_tests_may_name_it() {
        assert_eq!(
            impure("// std::fs is not for here\n#[cfg(test)]\nuse std::fs;\n").count(),
            0
        );
    }

    #[test]
    fn a_new_dependency_of_a_pure_crate_is_found() {
        let metadata = serde_json::json!({
            "workspace_members": ["core"],
            "packages": [{
                "id": "core", "name": "routerd-core",
                "manifest_path": concat!(env!("CARGO_MANIFEST_DIR"), "/../core/Cargo.toml"),
                "dependencies": [{"name": "tokio", "kind": null}],
            }],
        });
        let findings = check(&metadata).expect("check");
        assert!(
            findings.contains(&"routerd-core: must not depend on tokio".to_owned()),
            "{findings:?}"
        );
    }
}
