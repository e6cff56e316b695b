//! `make bench [NAME=…]`: ours and a peer alternate in one run, medians of at least three, ratios above 1 are
//! better. Absolute figures of a shared machine mean nothing.

mod bgp_core;
mod events;
mod plan;
mod routes;
mod sandbox;
mod tunnel;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// One comparison.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    ours: f64,
    peer: f64,
    peer_name: String,
    unit: &'static str,
    /// Above 1: ours is better.
    ratio: f64,
    goal: f64,
}

impl Row {
    /// A row where more is better.
    fn more(
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
        peer: (&str, f64),
        goal: f64,
    ) -> Self {
        Self {
            name: name.into(),
            ours,
            peer: peer.1,
            peer_name: peer.0.into(),
            unit,
            ratio: ours / peer.1,
            goal,
        }
    }

    /// A row where less is better.
    fn less(
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
        peer: (&str, f64),
        goal: f64,
    ) -> Self {
        Self {
            name: name.into(),
            ours,
            peer: peer.1,
            peer_name: peer.0.into(),
            unit,
            ratio: peer.1 / ours,
            goal,
        }
    }
}

type Bench = fn() -> Result<Vec<Row>>;

/// Every bench by name.
const BENCHES: &[(&str, Bench)] = &[
    ("bgp-core", bgp_core::run),
    ("events", events::run),
    ("plan", plan::run),
    ("routes", routes::run),
    ("tunnel", tunnel::run),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|w| BENCHES.iter().all(|(name, _)| name != w))
    {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        bail!("no bench `{unknown}`\nhint: one of {}", names.join(", "));
    }
    sandbox::enter()?;
    let mut rows = Vec::new();
    for (name, bench) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            eprintln!("bench {name} …");
            rows.extend(bench().with_context(|| format!("bench {name}"))?);
        }
    }
    print_table(&rows);
    let folder = Path::new("target/bench");
    fs::create_dir_all(folder)?;
    fs::write(
        folder.join("summary.json"),
        serde_json::to_vec_pretty(&rows)?,
    )?;
    Ok(())
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<34} {:>12} {:>12} {:<14} {:<10} {:>7} {:>6}",
        "name", "ours", "peer", "peer name", "unit", "ratio", "goal"
    );
    for row in rows {
        println!(
            "{:<34} {:>12.4} {:>12.4} {:<14} {:<10} {:>6.2}× {:>5.1}× {}",
            row.name,
            row.ours,
            row.peer,
            row.peer_name,
            row.unit,
            row.ratio,
            row.goal,
            if row.ratio >= row.goal {
                "met"
            } else {
                "not met"
            }
        );
    }
}

/// The middle of an odd number of measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
