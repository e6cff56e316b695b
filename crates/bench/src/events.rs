//! Event federation: events a second and latency from store to store through two nodes, for both transports,
//! beside NATS JetStream driven as `nats bench` does; and what 100,000 stored events cost a receiver.
//!
//! The peer does less: it neither signs nor checks, and its server leaves what it acknowledges to the next sync of
//! its file, every two minutes. Ours is on the disk of both nodes before anybody is told. The goals allow for that.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use routerd::measure::{Carrier, Sample, end_to_end, plain_nats, receive_cost};

use crate::{Row, median};

const EVENTS: usize = 20_000;
const LONE: usize = 200;
const ROUNDS: usize = 3;

pub fn run() -> Result<Vec<Row>> {
    let server = Nats::start().context("start nats-server, which `tools/setup` installs")?;
    let (mut direct, mut by_nats, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        direct.push(end_to_end(Carrier::Direct, EVENTS, LONE)?);
        by_nats.push(end_to_end(Carrier::Nats(server.address), EVENTS, LONE)?);
        plain.push(plain_nats(server.address, EVENTS, LONE)?);
    }
    let peer = middle(&plain);
    let mut rows = compare("direct", middle(&direct), peer);
    rows.extend(compare("nats", middle(&by_nats), peer));
    rows.push(cost()?);
    Ok(rows)
}

/// A receiver with 100,000 events must not be 1.2 times as slow as one with 1,000.
fn cost() -> Result<Row> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        small.push(receive_cost(1_000, 50)?);
        large.push(receive_cost(100_000, 50)?);
    }
    let name = "receive one event, 100k stored";
    let at_small = ("at 1k stored", median(small));
    Ok(Row::less(name, "µs", median(large), at_small, 1.0 / 1.2))
}

fn compare(transport: &str, ours: Sample, peer: Sample) -> Vec<Row> {
    let name = "jetstream alone";
    let row = |what: &str| format!("{what}, {transport}");
    vec![
        Row::more(
            row("events"),
            "events/s",
            ours.per_second,
            (name, peer.per_second),
            0.1,
        ),
        Row::less(
            row("lone event p50"),
            "ms",
            ours.p50,
            (name, peer.p50),
            0.005,
        ),
        Row::less(
            row("lone event p99"),
            "ms",
            ours.p99,
            (name, peer.p99),
            0.02,
        ),
    ]
}

/// The middle run of each figure.
fn middle(samples: &[Sample]) -> Sample {
    let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
    Sample {
        per_second: of(|s| s.per_second),
        p50: of(|s| s.p50),
        p99: of(|s| s.p99),
    }
}

/// A NATS server for the length of the bench, in its own namespaces as all of it.
struct Nats {
    process: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Nats {
    fn start() -> Result<Self> {
        let address: SocketAddr = "127.0.0.1:4222".parse().context("address")?;
        let folder =
            std::env::temp_dir().join(format!("routerd-bench-nats-{}", std::process::id()));
        let process = Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", "4222", "-sd"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("run nats-server")?;
        let server = Self {
            process,
            address,
            folder,
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_err() {
            anyhow::ensure!(
                std::time::Instant::now() < deadline,
                "nats-server does not answer"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It ends with its namespaces at the latest.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
