//! The evidence of a run as one archive: configurations, statuses, routes, the matrix and checksums. Never
//! a secret: files are taken by name, what holds a key is not among them, and before the archive is written every
//! file is searched for every private key and every token of the lab.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};

use anyhow::{Result, bail};
use api::control::DEFAULT_CONFIG;
use flate2::Compression;
use flate2::write::GzEncoder;
use memchr::memmem::Finder;
use sha2::{Digest, Sha256};

use crate::lab::Lab;
use crate::node::{Node, SHORT};
use crate::probe::tcp::hex;
use crate::report::Report;
use crate::router;

/// What is asked in every node.
const HOST_VIEWS: [(&str, &[&str]); 4] = [
    ("addresses.txt", &["ip", "address"]),
    ("routes.txt", &["ip", "route", "show", "table", "all"]),
    ("neighbours.txt", &["ip", "neigh", "show", "proxy"]),
    ("nft.txt", &["nft", "list", "ruleset"]),
];

/// What is asked of every daemon.
const ROUTER_VIEWS: [(&str, &[&str]); 6] = [
    ("status.json", &["status", "-o", "json"]),
    ("resources.json", &["get", "-o", "json"]),
    ("doctor.json", &["doctor", "-o", "json"]),
    ("actions.json", &["action", "list", "-o", "json"]),
    (
        "journal.json",
        &["action", "journal", "--verify", "-o", "json"],
    ),
    ("plugins.json", &["plugin", "list", "-o", "json"]),
];

/// Writes the archive.
///
/// # Errors
/// When it cannot be written.
pub fn write(file: &File, lab: &Lab, report: &Report) -> Result<()> {
    let mut files = BTreeMap::new();
    let json = serde_json::to_vec_pretty(report)?;
    files.insert("report.json".to_owned(), json);
    files.insert("matrix.txt".to_owned(), report.table().into_bytes());
    let status = serde_json::to_vec_pretty(&lab.status())?;
    files.insert("lab.json".to_owned(), status);
    files.insert("underlay.pcap".to_owned(), lab.engine().wiretap().pcap());
    for node in lab.nodes().values() {
        collect(node, &HOST_VIEWS, &mut files, |node, argv| {
            node.run(argv, SHORT).map(|o| o.stdout)
        });
    }
    for node in lab.routers() {
        collect(node, &ROUTER_VIEWS, &mut files, |node, argv| {
            router::routerctl(node, argv).map(|o| o.stdout)
        });
        let own = [
            ("router.yaml", node.outside(DEFAULT_CONFIG)),
            ("routerd.log", router::log_file(node)),
        ];
        for (name, path) in own {
            // A node that never got as far has no such file.
            if let Ok(bytes) = fs::read(path) {
                files.insert(format!("{}/{name}", node.name()), bytes);
            }
        }
    }
    for (fabric, cloud) in lab.clouds() {
        for (name, document) in cloud.with(|azure| azure.documents()) {
            let json = serde_json::to_vec_pretty(&document)?;
            files.insert(format!("{fabric}/{name}.json"), json);
        }
        let requests = serde_json::to_vec_pretty(&cloud.with(|azure| azure.log().to_vec()))?;
        files.insert(format!("{fabric}/requests.json"), requests);
    }
    refuse_secrets(lab, &files)?;
    let mut sums = String::new();
    for (name, bytes) in &files {
        writeln!(sums, "{}  {name}", hex(Sha256::new_with_prefix(bytes)))?;
    }
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    archive(file, &report.scenario, &files)
}

fn collect(
    node: &Node,
    views: &[(&str, &[&str])],
    files: &mut BTreeMap<String, Vec<u8>>,
    ask: impl Fn(&Node, &[&str]) -> Result<String>,
) {
    for (name, argv) in views {
        // What cannot be asked any more is evidence too.
        let text = ask(node, argv).unwrap_or_else(|error| format!("{error:#}\n"));
        files.insert(format!("{}/{name}", node.name()), text.into_bytes());
    }
}

/// # Errors
/// When any file holds a private key of any node, or a token of any cloud.
fn refuse_secrets(lab: &Lab, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for cloud in lab.clouds().values() {
        for token in cloud.with(|azure| azure.tokens()) {
            // The last part alone would do to use it.
            let part = token.rsplit('.').next().unwrap_or(&token);
            refuse_secret(part.as_bytes(), files)?;
        }
    }
    for node in lab.nodes().values() {
        for dir in [
            node.outside("/usr/local/etc/routerd/keys"),
            node.dir().join("ssh"),
        ] {
            // Most nodes have neither.
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry?.path();
                let is_key = matches!(
                    path.file_name().and_then(|n| n.to_str()),
                    Some("identity" | "host")
                ) || path.extension().is_some_and(|e| e == "key");
                if is_key {
                    refuse_secret(&fs::read(&path)?, files)?;
                }
            }
        }
    }
    Ok(())
}

fn refuse_secret(key: &[u8], files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let finder = Finder::new(key.trim_ascii());
    match files.iter().find(|(_, bytes)| finder.find(bytes).is_some()) {
        Some((name, _)) => bail!("{name} would hold a secret"),
        None => Ok(()),
    }
}

fn archive(file: &File, root: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{root}/{name}"), bytes.as_slice())?;
    }
    archive.into_inner()?.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_found_wherever_it_is() {
        let key = b"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n";
        let mut files = BTreeMap::new();
        files.insert("status.json".to_owned(), b"{}".to_vec());
        assert!(refuse_secret(key, &files).is_ok());
        let log = [b"loaded ", key.trim_ascii(), b" from file"].concat();
        files.insert("routerd.log".to_owned(), log);
        assert!(refuse_secret(key, &files).is_err());
    }
}
