//! Validate and plan of many claims. No peer does this job, so the goal stands in for one: a second and 100 MB
//! for 10,000 claims, and a cost that grows no faster than their number.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use api::control::{Config, SourceFile};
use routerd_core::observed::{Address, Link};
use routerd_core::{Ledger, Observed, config, plan};

use crate::{Row, median};

const BASE: &str = include_str!("plan.yaml");

pub fn run() -> Result<Vec<Row>> {
    let small = measure(10_000)?;
    let large = measure(100_000)?;
    let memory = peak_megabytes()?;
    Ok(vec![
        Row::less(
            "validate + plan, 10k claims",
            "s",
            small,
            ("goal", 1.0),
            1.0,
        ),
        Row::less(
            "cost per claim, 100k",
            "µs",
            large / 0.1,
            ("at 10k", small / 0.01),
            0.8,
        ),
        Row::less(
            "peak memory, 100k claims",
            "MB",
            memory,
            ("goal", 1000.0),
            1.0,
        ),
    ])
}

fn measure(claims: usize) -> Result<f64> {
    let config = Config {
        files: vec![SourceFile {
            name: "bench.yaml".into(),
            text: text(claims)?,
        }],
    };
    let observed = observed()?;
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let loaded = config::load(&config);
        let effective = loaded
            .effective
            .with_context(|| format!("{:?}", loaded.diagnostics.first()))?;
        let plan = plan::plan(&effective, &observed, &Ledger::default());
        seconds.push(start.elapsed().as_secs_f64());
        // What needs the tunnel waits until the first round has made it.
        let planned = plan.steps.len() + plan.waiting.len();
        ensure!(planned >= claims, "{planned} steps for {claims} claims");
    }
    Ok(median(seconds))
}

/// A configuration with so many claims.
pub(crate) fn text(claims: usize) -> Result<String> {
    let mut text = BASE.to_owned();
    for n in 0..claims {
        let (a, b) = (n / 250, n % 250 + 1);
        let address = format!("10.{}.{}.{b}", 64 + a / 250, a % 250);
        write!(
            text,
            "---\napiVersion: hybrid.routerd.net/v1alpha1\nkind: RemoteAddressClaim\nmetadata: {{name: claim-{n}}}\n\
             spec:\n  domainRef: app\n  address: {address}/32\n  ownerSide: cloud\n  \
             capture: {{type: proxy-arp, interface: eth1}}\n  delivery: {{peerRef: cloud-main, mode: route}}\n"
        )?;
    }
    Ok(text)
}

/// A host with the capture interface and nothing else.
fn observed() -> Result<Observed> {
    let link = |index| Link {
        index,
        mtu: 1500,
        up: true,
        carrier: true,
        kind: String::new(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        alias: None,
    };
    let mut observed = Observed::default();
    observed.links.insert("eth1".parse()?, link(2));
    observed.addresses.insert(Address {
        ifname: "eth1".parse()?,
        net: "10.127.0.1/10".parse()?,
        secondary: false,
        owned: false,
    });
    Ok(observed)
}

fn peak_megabytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
