//! `make bench [NAME=…]`: ours and a peer alternate in one run, medians of at least three, ratios above 1 are
//! better. Absolute figures of a shared machine mean nothing. With `--docs` (`make bench DOCS=1`) the tables of
//! docs/performance.md are written, too.

mod bfd;
mod bgp;
mod bgp_core;
mod events;
mod fib;
mod idle;
mod moves;
mod page;
mod plan;
mod routes;
mod sandbox;
mod striping;
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

    fn verdict(&self) -> &'static str {
        match self.ratio >= self.goal {
            true => "met",
            false => "not met",
        }
    }
}

type Bench = fn() -> Result<Vec<Row>>;

/// Every bench by name.
const BENCHES: &[(&str, Bench)] = &[
    ("bfd", bfd::run),
    ("bgp", bgp::run),
    ("bgp-core", bgp_core::run),
    ("events", events::run),
    ("fib", fib::run),
    ("idle", idle::run),
    ("moves", moves::run),
    ("plan", plan::run),
    ("routes", routes::run),
    ("start", tunnel::start::run),
    ("striping", striping::run),
    ("tunnel", tunnel::run),
];

/// Those that take so long that they are run by name alone, in the place of a short one.
const LONG: &[(&str, Bench)] = &[("bgp-full", bgp::run_full)];

fn main() -> Result<()> {
    let all = || BENCHES.iter().chain(LONG);
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [first, sessions @ ..] = wanted.as_slice()
        && first == bfd::OUR_END
    {
        return bfd::our_end(sessions);
    }
    let docs = wanted.iter().any(|w| w == "--docs");
    wanted.retain(|w| w != "--docs");
    if let Some(unknown) = wanted.iter().find(|w| all().all(|(name, _)| name != w)) {
        let names: Vec<_> = all().map(|(name, _)| *name).collect();
        bail!("no bench `{unknown}`\nhint: one of {}", names.join(", "));
    }
    let is_long = |name: &str| LONG.iter().any(|(long, _)| *long == name);
    let is_wanted = |name: &str| match wanted.is_empty() {
        true => !is_long(name),
        false => wanted.iter().any(|w| w == name),
    };
    if !sandbox::is_inside() && (is_wanted("tunnel") || is_wanted("start")) {
        tunnel::prepare();
    }
    sandbox::enter()?;
    let mut results = Vec::new();
    for (name, bench) in all().filter(|(name, _)| is_wanted(name)) {
        eprintln!("bench {name} …");
        results.push((*name, bench().with_context(|| format!("bench {name}"))?));
    }
    let rows: Vec<&Row> = results.iter().flat_map(|(_, rows)| rows).collect();
    print_table(&rows);
    let folder = Path::new("target/bench");
    fs::create_dir_all(folder)?;
    fs::write(
        folder.join("summary.json"),
        serde_json::to_vec_pretty(&rows)?,
    )?;
    if docs {
        page::update(&results)?;
        if results
            .iter()
            .any(|(name, _)| matches!(*name, "bgp" | "bgp-full"))
        {
            page::insert("bgp-speakers", &fs::read_to_string(bgp::TABLES)?)?;
        }
    }
    Ok(())
}

fn print_table(rows: &[&Row]) {
    println!(
        "{:<46} {:>12} {:>12} {:<20} {:<10} {:>7} {:>6}",
        "name", "ours", "peer", "peer name", "unit", "ratio", "goal"
    );
    for row in rows {
        println!(
            "{:<46} {:>12.3} {:>12.3} {:<20} {:<10} {:>6.2}× {:>5.1}× {}",
            row.name,
            row.ours,
            row.peer,
            row.peer_name,
            row.unit,
            row.ratio,
            row.goal,
            row.verdict()
        );
    }
}

/// The middle of an odd number of measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
