//! The speaker of the daemon beside those of others, as a route reflector over TCP in the bench's own namespace:
//!
//! ```text
//! bench0 10.99.0.1/16: the speaker ◄── lo ──► two senders, receivers: 10.99.0.10 and up, addresses of this host
//! ```
//!
//! Speakers alternate; what takes minutes in a speaker is left out or given up, and said.

pub mod clients;
pub mod device;
pub mod kernel;
pub mod phases;
pub mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::sandbox::sh;
use crate::{Row, median};
use device::Device;
use phases::{Bounds, Load, Run, measure};

const ROUNDS: usize = 3;
const FEW: Load = Load {
    routes: 100_000,
    clients: 4,
    own: false,
};

/// The runs of every release.
pub fn run() -> Result<Vec<Row>> {
    let loads = [
        Load {
            routes: 300_000,
            ..FEW
        },
        Load { clients: 50, ..FEW },
        Load { own: true, ..FEW },
    ];
    compare_all(&loads)
}

/// Every combination: a quarter of an hour.
pub fn run_full() -> Result<Vec<Row>> {
    let mut loads = Vec::new();
    for own in [false, true] {
        for clients in [4, 50] {
            for routes in [100_000, 300_000] {
                loads.push(Load {
                    routes,
                    clients,
                    own,
                });
            }
        }
    }
    compare_all(&loads)
}

/// Where every speaker's figures are left.
pub const TABLES: &str = "target/bench/bgp.md";

fn compare_all(loads: &[Load]) -> Result<Vec<Row>> {
    network()?;
    let mut rows = Vec::new();
    let mut tables = Tables::default();
    for load in loads {
        rows.extend(compare(*load, &mut tables)?);
    }
    rows.extend(growth(&mut tables)?);
    fs::create_dir_all("target/bench")?;
    fs::write(TABLES, tables.0)?;
    sh(&format!("ip link del {DEVICE}"))?;
    Ok(rows)
}

/// The interface with the speaker's address.
pub const DEVICE: &str = "bench0";

/// An interface with the speaker's address and network; every address of it is this host's.
pub fn network() -> Result<()> {
    sh(&format!(
        "ip link add {DEVICE} type veth peer name bench1 && ip link set {DEVICE} up && ip link set bench1 up \
         && ip address add 10.99.0.1/16 dev {DEVICE} && ip route replace local 10.99.0.0/16 dev lo"
    ))
}

/// How often a speaker has its turn, and what it is spared.
fn plan(device: Device, load: Load) -> (usize, Bounds) {
    let bounds = Bounds {
        phase: Duration::from_secs(40),
        bulk_only: false,
    };
    match device {
        Device::OpenBgpd => (1, bounds),
        // Half a minute for 100,000 routes, in each phase.
        Device::GoBgp if load.routes > 100_000 || load.clients > 4 => (0, bounds),
        Device::GoBgp => (
            1,
            Bounds {
                phase: Duration::from_secs(30),
                bulk_only: true,
            },
        ),
        _ => (ROUNDS, bounds),
    }
}

/// One load, all speakers.
fn compare(load: Load, tables: &mut Tables) -> Result<Vec<Row>> {
    tables.begin(&load.name());
    let mut runs: BTreeMap<Device, Vec<Run>> = BTreeMap::new();
    let mut failures: BTreeMap<Device, Vec<String>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for device in [Device::Routerd].into_iter().chain(Device::PEERS) {
            let (turns, bounds) = plan(device, load);
            if round >= turns {
                continue;
            }
            match measure(device, load, bounds) {
                Ok(run) => runs.entry(device).or_default().push(run),
                Err(error) if device == Device::Routerd => return Err(error),
                Err(error) => failures
                    .entry(device)
                    .or_default()
                    .push(format!("{error:#}")),
            }
        }
    }
    let runs: BTreeMap<Device, Run> = runs
        .iter()
        .map(|(device, runs)| (*device, middle(runs)))
        .collect();
    for (device, run) in &runs {
        tables.say(&line(device.name(), run));
    }
    for (device, reasons) in &failures {
        let times = reasons.len();
        tables.say(&format!(
            "\n{} was not measured, {times} times of {}: {}",
            device.name(),
            plan(*device, load).0,
            reasons[0]
        ));
    }
    rows(load, &runs).context("routerd was not measured")
}

/// One table a load, printed as it grows.
#[derive(Debug, Default)]
struct Tables(String);

impl Tables {
    fn begin(&mut self, title: &str) {
        self.say(&format!("\n{title}:\n\n{HEADER}"));
    }

    fn say(&mut self, line: &str) {
        println!("{line}");
        self.0.push_str(line);
        self.0.push('\n');
    }
}

const HEADER: &str = "\
| | bulk s | CPU s | takeover s | owner's death s | MB loaded | MB two paths | of it anonymous | one route p50 ms | p99 ms |
|---|---|---|---|---|---|---|---|---|---|";

fn line(name: &str, run: &Run) -> String {
    let Run {
        bulk,
        cpu,
        takeover,
        death,
        loaded,
        both,
        own,
        propagation,
        slowest,
    } = run;
    let cpu = cpu[0];
    if *takeover == 0.0 {
        return format!("| {name} | {bulk:.3} | {cpu:.2} | – | – | {loaded:.1} | – | – | – | – |");
    }
    format!(
        "| {name} | {bulk:.3} | {cpu:.2} | {takeover:.3} | {death:.3} | {loaded:.1} | {both:.1} | {own:.1} | {propagation:.3} | {slowest:.3} |"
    )
}

/// The median of each figure.
fn middle(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    Run {
        bulk: of(|run| run.bulk),
        takeover: of(|run| run.takeover),
        death: of(|run| run.death),
        loaded: of(|run| run.loaded),
        both: of(|run| run.both),
        own: of(|run| run.own),
        propagation: of(|run| run.propagation),
        slowest: of(|run| run.slowest),
        cpu: [0, 1, 2].map(|phase| median(runs.iter().map(|run| run.cpu[phase]).collect())),
    }
}

/// A figure of a run, and what is asked of it against the best of the others.
type Figure = (&'static str, &'static str, fn(&Run) -> f64, f64);

/// Ours against the best peer; in memory against BIRD, and so in propagation.
fn rows(load: Load, runs: &BTreeMap<Device, Run>) -> Option<Vec<Row>> {
    let fast = if load.own { 1.5 } else { 3.0 };
    let figures: [Figure; 6] = [
        ("bulk", "s", |run| run.bulk, fast),
        ("takeover", "s", |run| run.takeover, fast),
        ("death", "s", |run| run.death, 1.0),
        ("memory", "MB", |run| run.loaded, 1.0),
        ("two paths", "MB", |run| run.both, 1.0),
        ("one route", "ms", |run| run.propagation, 1.0),
    ];
    let ours = runs.get(&Device::Routerd)?;
    let row = |(name, unit, figure, goal): Figure| {
        let peers = runs
            .iter()
            .filter(|(device, run)| **device != Device::Routerd && figure(run) > 0.0);
        let best = peers.min_by(|a, b| figure(a.1).total_cmp(&figure(b.1)))?;
        let peer = (best.0.name(), figure(best.1));
        let name = format!("bgp {name}, {}", load.name());
        Some(Row::less(name, unit, figure(ours), peer, goal))
    };
    Some(figures.into_iter().filter_map(row).collect())
}

/// Ours against ours, in processor time: what a route costs among many, and what a client. Large tables outgrow the caches.
fn growth(tables: &mut Tables) -> Result<Vec<Row>> {
    const TABLE: f64 = 0.5;
    const CLIENTS: f64 = 0.67;
    let bounds = Bounds {
        phase: Duration::from_secs(60),
        bulk_only: false,
    };
    tables.begin("routerd alone");
    let mut show = |load: Load| {
        let run = measure(Device::Routerd, load, bounds)?;
        tables.say(&line(&load.name(), &run));
        anyhow::Ok(run)
    };
    let few = show(FEW)?;
    let million = show(Load {
        routes: 1_000_000,
        ..FEW
    })?;
    let some = show(Load {
        clients: 100,
        ..FEW
    })?;
    let thousand = show(Load {
        clients: 1000,
        ..FEW
    })?;
    let mut rows = Vec::new();
    for (phase, what) in ["bulk", "takeover", "death"].iter().enumerate() {
        let of = |run: &Run, count: f64| run.cpu[phase] * 1e6 / count;
        let (many, peer) = (of(&million, 1e6), ("100,000 routes", of(&few, 1e5)));
        let name = format!("bgp {what}, 1,000,000 routes");
        rows.push(Row::less(name, "µs/route", many, peer, TABLE));
        let (many, peer) = (of(&thousand, 1e3), ("100 clients", of(&some, 1e2)));
        let name = format!("bgp {what}, 1,000 clients");
        rows.push(Row::less(name, "µs/client", many, peer, CLIENTS));
    }
    let bytes = |run: &Run, routes: f64| run.both * 1e6 / routes;
    let peer = ("100,000 routes", bytes(&few, 1e5));
    let name = "bgp memory, 1,000,000 routes";
    rows.push(Row::less(
        name,
        "B/route",
        bytes(&million, 1e6),
        peer,
        TABLE,
    ));
    Ok(rows)
}
