//! From a peer's word to the kernel's route, in the real daemon: in bulk against the batcher alone, which only writes, and
//! one route at a time against the goal. The clock stops when the kernel announces the change; in bulk that is watched
//! on every 64th route, and the others are counted afterwards.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use linux::fib::{Change, Fib, Hop};

use crate::bgp::clients::{Audience, Clients, Goal};
use crate::bgp::device::{Device, Running};
use crate::bgp::kernel::STRIDE;
use crate::bgp::phases::{last, percentile};
use crate::bgp::wire::{self, Saying};
use crate::bgp::{DEVICE, network};
use crate::sandbox::sh;
use crate::{Row, median};

const ROUTES: u32 = 100_000;
/// Those that the kernel is heard of.
const HEARD: u32 = ROUTES.div_ceil(STRIDE);
const ROUNDS: usize = 3;
/// Routes that are withdrawn one by one.
const SAMPLES: u32 = 1000;
const PATIENCE: Duration = Duration::from_secs(60);
/// On the interface's second network.
const NEXT_HOPS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 98, 0, 11), Ipv4Addr::new(10, 98, 0, 12)];

/// Where the first next hop moves.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 13);
const MOVE: &str = "10.98.0.11/32 via 10.98.0.13";

/// Seconds for [`ROUTES`] routes.
#[derive(Debug, Default)]
struct Bulk {
    install: Vec<f64>,
    replace: Vec<f64>,
    /// A next hop moves behind another router.
    moved: Vec<f64>,
    /// The session of the better path ends.
    death: Vec<f64>,
    remove: Vec<f64>,
}

pub fn run() -> Result<Vec<Row>> {
    network()?;
    sh(&format!("ip address add 10.98.0.1/24 dev {DEVICE}"))?;
    let (mut alone, mut daemon) = (Bulk::default(), Bulk::default());
    let mut single = Single::default();
    for _ in 0..ROUNDS {
        batcher(&mut alone).context("the batcher alone")?;
        through(&mut daemon, &mut single).context("the daemon")?;
    }
    sh(&format!("ip link del {DEVICE}"))?;
    let rate = |seconds: Vec<f64>| f64::from(ROUTES) / median(seconds);
    let [install, replace, remove] = [alone.install, alone.replace, alone.remove].map(rate);
    let row = |name: &str, seconds, batcher| {
        let name = format!("fib {name}, {}k routes", ROUTES / 1000);
        Row::more(name, "routes/s", rate(seconds), ("batcher", batcher), 0.8)
    };
    let mut rows = vec![
        row("install", daemon.install, install),
        row("better path", daemon.replace, replace),
        row("its owner dies", daemon.death, replace),
        row("next hop moves", daemon.moved, replace),
        row("withdraw", daemon.remove, remove),
    ];
    for (name, mut times) in [("withdraw", single.withdraw), ("announce", single.announce)] {
        for (percent, goal) in [(50, 2.0), (99, 10.0)] {
            let name = format!("fib one {name} p{percent}");
            let took = percentile(&mut times, percent);
            rows.push(Row::less(name, "ms", took, ("goal", goal), 1.0));
        }
    }
    Ok(rows)
}

/// How long one route took.
#[derive(Debug, Default)]
struct Single {
    withdraw: Vec<Duration>,
    announce: Vec<Duration>,
}

fn batcher(bulk: &mut Bulk) -> Result<()> {
    let mut fib = Fib::open()?;
    let interface = nix::net::if_::if_nametoindex(DEVICE)?;
    let hops = NEXT_HOPS.map(|gateway| {
        [Hop {
            interface,
            gateway: Some(gateway),
        }]
    });
    let mut write = |hops: &[Hop], standing| {
        let change = |route| Change {
            prefix: Ipv4Net::from(Ipv4Addr::from(wire::FIRST_ROUTE + route)),
            hops,
            standing,
        };
        let changes: Vec<Change<'_>> = (0..ROUTES).map(change).collect();
        let start = std::time::Instant::now();
        let refused = fib.write(&changes)?;
        let took = start.elapsed().as_secs_f64();
        ensure!(refused.is_empty(), "refused: {:?}", refused.first());
        Ok(took)
    };
    bulk.install.push(write(&hops[0], false)?);
    bulk.replace.push(write(&hops[1], true)?);
    bulk.remove.push(write(&[], true)?);
    Ok(())
}

fn through(bulk: &mut Bulk, single: &mut Single) -> Result<()> {
    let _running = Running::start(Device::Installing)?;
    let audience = Audience {
        receivers: 0,
        kernel: true,
        routes: HEARD as usize,
        next_hops: NEXT_HOPS,
    };
    let mut clients = Clients::connect(audience, Duration::from_secs(20))?;
    let streams = [(NEXT_HOPS[0], 100), (NEXT_HOPS[1], 200)].map(|(next_hop, preference)| {
        let saying = Saying {
            next_hop,
            preference,
            own: false,
        };
        saying.announce(0..ROUTES)
    });
    let all = |sender| Goal::Count {
        sender,
        routes: HEARD as usize,
    };
    let note = |times: &mut Vec<f64>, took: Vec<Duration>, gateway| {
        times.push(last(&took));
        check(gateway)
    };
    let took = clients.send(0, &streams[0], all(1), PATIENCE);
    note(
        &mut bulk.install,
        took.context("install")?,
        Some(NEXT_HOPS[0]),
    )?;
    one_by_one(&mut clients, single).context("one by one")?;
    let took = clients.follow(all(2), PATIENCE, |_| sh(&format!("ip route add {MOVE}")));
    note(
        &mut bulk.moved,
        took.context("next hop moves")?,
        Some(ROUTER),
    )?;
    let took = clients.follow(all(1), PATIENCE, |_| sh(&format!("ip route del {MOVE}")));
    took.context("next hop moves back")?;
    let took = clients.send(1, &streams[1], all(2), PATIENCE);
    note(
        &mut bulk.replace,
        took.context("better path")?,
        Some(NEXT_HOPS[1]),
    )?;
    let took = clients.end(1, all(1), PATIENCE);
    note(
        &mut bulk.death,
        took.context("owner's death")?,
        Some(NEXT_HOPS[0]),
    )?;
    let took = clients.send(0, &wire::withdraw(0..ROUTES), all(0), PATIENCE);
    note(&mut bulk.remove, took.context("withdraw")?, None)
}

/// All routes lead there, those too that the kernel was not heard of.
fn check(gateway: Option<Ipv4Addr>) -> Result<()> {
    let standing = Fib::open()?.dump()?;
    let there = |hops: &&Vec<Hop>| hops.iter().all(|hop| hop.gateway == gateway);
    let right = standing.values().filter(there).count();
    let wanted = gateway.map_or(0, |_| ROUTES as usize);
    // The last few may still be under way.
    let late = STRIDE as usize;
    ensure!(
        standing.len().abs_diff(wanted) <= late && right.abs_diff(wanted) <= late,
        "{right} of {} routes lead to {gateway:?}",
        standing.len()
    );
    Ok(())
}

/// Single routes while the table is full.
fn one_by_one(clients: &mut Clients, single: &mut Single) -> Result<()> {
    let saying = Saying {
        next_hop: NEXT_HOPS[0],
        preference: 100,
        own: false,
    };
    for sample in 0..SAMPLES / ROUNDS as u32 {
        let number = sample * 7919 % HEARD;
        let route = number * STRIDE;
        let only = route..route + 1;
        let goal = |sender| Goal::Route {
            route: number as usize,
            sender,
        };
        let gone = clients.send(0, &wire::withdraw(only.clone()), goal(0), PATIENCE)?;
        single.withdraw.extend(gone);
        std::thread::sleep(Duration::from_millis(2));
        let back = clients.send(0, &saying.announce(only), goal(1), PATIENCE)?;
        single.announce.extend(back);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
