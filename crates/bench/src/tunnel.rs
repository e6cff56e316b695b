//! The user-space tunnel against other user-space WireGuards: two namespaces joined by a veth pair, the same
//! program at both ends, the same load, with segmentation offload on the underlay and without.

mod load;
mod pair;
mod program;
pub(crate) mod start;

use anyhow::Result;

use crate::sandbox::sh;
use crate::{Row, median};
use pair::{Offload, Pair};
use program::Program;

pub(crate) use pair::until;
pub use program::prepare;

/// The shell line that runs device `wg0` of ours.
pub(crate) fn ours() -> Result<String> {
    Ok(Program::ours()?.line)
}

const ROUNDS: usize = 3;

/// What is measured of a program, and what is asked of ours.
struct Metric {
    name: &'static str,
    unit: &'static str,
    more_is_better: bool,
    /// Whether segmentation offload is what makes the difference.
    speed: bool,
}

const fn speed(name: &'static str, unit: &'static str, more_is_better: bool) -> Metric {
    Metric {
        name,
        unit,
        more_is_better,
        speed: true,
    }
}

const fn latency(name: &'static str) -> Metric {
    Metric {
        name,
        unit: "µs",
        more_is_better: false,
        speed: false,
    }
}

const METRICS: [Metric; 10] = [
    speed("TCP, one stream", "Mbit/s", true),
    speed("TCP, one stream, CPU", "s/Gbit", false),
    speed("TCP, four streams", "Mbit/s", true),
    speed("TCP, four streams, CPU", "s/Gbit", false),
    speed("UDP, 64 bytes", "packet/s", true),
    speed("UDP, 64 bytes, CPU", "µs/packet", false),
    latency("latency added, idle, median"),
    latency("latency added, idle, p99"),
    latency("latency added, TCP stream, median"),
    latency("latency added, TCP stream, p99"),
];

/// One value for each of [`METRICS`].
type Sample = [f64; METRICS.len()];

pub fn run() -> Result<Vec<Row>> {
    if sh("command -v iperf3 wg ethtool").is_err() {
        eprintln!("  skipped: iperf3, wg or ethtool is not installed");
        return Ok(Vec::new());
    }
    let ours = Program::ours()?;
    let peers = program::peers();
    if peers.is_empty() {
        return Ok(Vec::new());
    }
    let offloads = [Offload::On, Offload::Off];
    let mut ours = Subject::new(ours);
    let mut peers: Vec<Subject> = peers.into_iter().map(Subject::new).collect();
    for round in 1..=ROUNDS {
        for (at, offload) in offloads.into_iter().enumerate() {
            eprintln!("  round {round} of {ROUNDS}, offload {offload}");
            ours.runs[at].push(measure(&ours.program, offload)?);
            peers.retain_mut(|peer| match measure(&peer.program, offload) {
                Ok(sample) => {
                    peer.runs[at].push(sample);
                    true
                }
                Err(error) => {
                    eprintln!("  skipped: {}: {error:#}", peer.program.name);
                    false
                }
            });
        }
    }
    let mut rows = Vec::new();
    for (at, offload) in offloads.into_iter().enumerate() {
        let peers: Vec<(&Program, Sample)> = peers
            .iter()
            .map(|peer| (&peer.program, middle(&peer.runs[at])))
            .collect();
        let ours = middle(&ours.runs[at]);
        for (metric, name) in METRICS.iter().enumerate() {
            rows.extend(compare(name, metric, offload, &ours, &peers));
        }
    }
    Ok(rows)
}

/// A program and what was measured of it, with offload and without.
struct Subject {
    program: Program,
    runs: [Vec<Sample>; 2],
}

impl Subject {
    fn new(program: Program) -> Self {
        Self {
            program,
            runs: Default::default(),
        }
    }
}

fn measure(program: &Program, offload: Offload) -> Result<Sample> {
    let pair = Pair::start(program, offload)?;
    let bare = load::round_trips(&pair, pair::UNDERLAY, load::BARE_PROBES)?;
    let base = bare.median;
    let idle = load::round_trips(&pair, pair::OVERLAY, load::PROBES)?;
    let one = load::tcp(&pair, 1)?;
    let four = load::tcp(&pair, 4)?;
    let small = load::small_packets(&pair)?;
    let loaded = load::round_trips_beside_tcp(&pair)?;
    Ok([
        one.rate / 1e6,
        one.cpu_seconds / (one.amount / 1e9),
        four.rate / 1e6,
        four.cpu_seconds / (four.amount / 1e9),
        small.rate,
        small.cpu_seconds / (small.amount / 1e6),
        idle.median - base,
        idle.p99 - base,
        loaded.median - base,
        loaded.p99 - base,
    ])
}

fn middle(runs: &[Sample]) -> Sample {
    std::array::from_fn(|at| median(runs.iter().map(|run| run[at]).collect()))
}

/// With offload on the underlay, speed is compared with each peer; everything else with the best of them.
fn compare(
    metric: &Metric,
    at: usize,
    offload: Offload,
    ours: &Sample,
    peers: &[(&Program, Sample)],
) -> Vec<Row> {
    let name = format!("{}, offload {offload}", metric.name);
    let row = |peer: &str, value: f64, goal: f64| {
        let make = match metric.more_is_better {
            true => Row::more,
            false => Row::less,
        };
        make(name.clone(), metric.unit, ours[at], (peer, value), goal)
    };
    if metric.speed && offload == Offload::On {
        let rows = peers.iter();
        return rows
            .map(|(peer, sample)| row(peer.name, sample[at], peer.goal))
            .collect();
    }
    let better = |a: f64, b: f64| match metric.more_is_better {
        true => a.total_cmp(&b),
        false => b.total_cmp(&a),
    };
    let best = peers.iter().max_by(|(_, a), (_, b)| better(a[at], b[at]));
    best.map(|(peer, sample)| row(&format!("{}, best", peer.name), sample[at], 1.0))
        .into_iter()
        .collect()
}
