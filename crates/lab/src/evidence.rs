//! The evidence of a run as one archive: configurations, statuses, routes, the matrix and checksums. Never
//! a private key: files are taken by name, and what holds a key is not among them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};

use anyhow::Result;
use api::control::DEFAULT_CONFIG;
use flate2::Compression;
use flate2::write::GzEncoder;
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
const ROUTER_VIEWS: [(&str, &[&str]); 3] = [
    ("status.json", &["status", "-o", "json"]),
    ("resources.json", &["get", "-o", "json"]),
    ("doctor.json", &["doctor", "-o", "json"]),
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
