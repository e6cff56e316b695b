//! The programs that are compared: where they come from and how they are started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::sandbox::sh;

/// Where the peers from crates.io are installed, from the root of the repository.
const ROOT: &str = "target/bench/peers";

/// Crates in the version that the goals were set against, and the program that each has.
const CRATES: [(&str, &str, &str); 2] = [
    ("gotatun-cli", "0.10.2", "gotatun"),
    ("boringtun-cli", "0.7.1", "boringtun-cli"),
];

/// A user-space WireGuard.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// A shell line that runs device `wg0` in the foreground.
    pub(super) line: String,
    /// How many times as fast ours is to be, with segmentation offload on the underlay.
    pub(super) goal: f64,
}

impl Program {
    pub(super) fn ours() -> Result<Self> {
        let routerd: PathBuf = std::env::current_exe()?.with_file_name("routerd");
        Ok(Self {
            name: "routerd",
            line: format!(
                "{} tunnel wireguard --interface wg0 --foreground",
                routerd.display()
            ),
            goal: 1.0,
        })
    }
}

/// The peers that can be run; of the others it is said why they cannot.
pub(super) fn peers() -> Vec<Program> {
    let mut peers = vec![Program {
        name: "wireguard-go",
        line: "wireguard-go -f wg0".to_owned(),
        goal: 5.0,
    }];
    for (program, goal) in [("gotatun", 3.0), ("boringtun-cli", 1.0)] {
        let root = std::env::current_dir().unwrap_or_default().join(ROOT);
        let path = root.join("bin").join(program);
        peers.push(Program {
            name: program,
            line: format!(
                "{} --foreground --disable-drop-privileges wg0",
                path.display()
            ),
            goal,
        });
    }
    peers.retain(|peer| {
        let program = peer.line.split(' ').next().unwrap_or_default();
        let there = sh(&format!("command -v {program}")).is_ok();
        if !there {
            eprintln!("  skipped: {}: there is no {program}", peer.name);
        }
        there
    });
    peers
}

/// Builds the peers that are not there yet. Must be called where crates.io can be reached.
pub fn prepare() {
    for (name, version, program) in CRATES {
        if Path::new(ROOT).join("bin").join(program).exists() {
            continue;
        }
        eprintln!("bench tunnel: building {name} {version}, once");
        let built = Command::new("nice")
            .args(["-n", "10", "cargo", "install", "--locked", "--root", ROOT])
            .arg(format!("{name}@{version}"))
            .env("CARGO_TARGET_DIR", Path::new(ROOT).join("build"))
            .status();
        match built {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("  skipped: {name}: cargo install: {status}"),
            Err(error) => eprintln!("  skipped: {name}: cargo install: {error}"),
        }
    }
}
