//! From the start of two processes to the first packet that went through both and back.

use std::time::Instant;

use anyhow::Result;

use super::pair::{Offload, Pair};
use super::program::{self, Program};
use crate::sandbox::sh;
use crate::{Row, median};

const ROUNDS: usize = 5;

pub fn run() -> Result<Vec<Row>> {
    if sh("command -v wg ethtool").is_err() {
        eprintln!("  skipped: wg or ethtool is not installed");
        return Ok(Vec::new());
    }
    let ours = Program::ours()?;
    let peers = program::peers();
    let mut mine = Vec::new();
    let mut others = vec![Vec::new(); peers.len()];
    for _ in 0..ROUNDS {
        mine.push(measure(&ours)?);
        for (peer, times) in peers.iter().zip(&mut others) {
            times.push(measure(peer)?);
        }
    }
    let mine = median(mine);
    let rows = peers.iter().zip(others).map(|(peer, times)| {
        let name = "start to first packet there and back";
        Row::less(name, "ms", mine, (peer.name, median(times)), 1.0)
    });
    Ok(rows.collect())
}

/// Milliseconds, with the namespaces, keys and addresses that every program needs.
fn measure(program: &Program) -> Result<f64> {
    let started = Instant::now();
    let pair = Pair::start(program, Offload::On)?;
    let passed = started.elapsed().as_secs_f64() * 1e3;
    drop(pair);
    Ok(passed)
}
