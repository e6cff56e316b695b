//! Installing and deleting claim routes through the batcher, against `ip -batch`.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use api::ResourceId;
use linux::Host;
use linux::wireguard::Drivers;
use routerd_core::effective::{RouteKey, RouteTarget};
use routerd_core::observed::{Query, Route};
use routerd_core::plan::Action;
use routerd_core::{Kernel, OWNER_PROTOCOL, Step};

use crate::sandbox::sh;
use crate::{Row, median};

const DEVICE: &str = "bench0";

pub fn run() -> Result<Vec<Row>> {
    sh(&format!(
        "ip link add {DEVICE} type veth peer name bench1 && ip link set {DEVICE} up && ip link set bench1 up"
    ))?;
    let mut rows = Vec::new();
    for count in [10_000, 100_000] {
        rows.extend(compare(count)?);
    }
    sh(&format!("ip link del {DEVICE}"))?;
    Ok(rows)
}

fn compare(count: u32) -> Result<Vec<Row>> {
    let routes: Vec<Ipv4Addr> = (0..count)
        .map(|n| Ipv4Addr::from(0x0a40_0000 + n))
        .collect();
    let add: Vec<Step> = routes
        .iter()
        .map(|a| step(*a, Action::AddRoute))
        .collect::<Result<_>>()?;
    let delete: Vec<Step> = routes
        .iter()
        .map(|a| step(*a, Action::RemoveRoute))
        .collect::<Result<_>>()?;
    let (add_file, delete_file) = (batch_file("add", &routes)?, batch_file("del", &routes)?);
    let mut host = Host::open(Drivers::new("/nonexistent"))?;
    let mut rates: [Vec<f64>; 4] = Default::default();
    for _ in 0..3 {
        rates[0].push(rate(count, || Ok(host.apply(&add)?))?);
        let held = host.observe(&Query::default())?.routes.len();
        ensure!(
            held >= count as usize,
            "{held} of {count} routes in the kernel"
        );
        rates[1].push(rate(count, || Ok(host.apply(&delete)?))?);
        rates[2].push(rate(count, || {
            sh(&format!("ip -batch {}", add_file.display()))
        })?);
        rates[3].push(rate(count, || {
            sh(&format!("ip -batch {}", delete_file.display()))
        })?);
    }
    let [ours_add, ours_delete, ip_add, ip_delete] = rates.map(median);
    let k = count / 1000;
    Ok(vec![
        Row::more(
            format!("install {k}k routes"),
            "routes/s",
            ours_add,
            ("ip -batch", ip_add),
            3.0,
        ),
        Row::more(
            format!("delete {k}k routes"),
            "routes/s",
            ours_delete,
            ("ip -batch", ip_delete),
            3.0,
        ),
    ])
}

fn step(address: Ipv4Addr, action: fn(Route) -> Action) -> Result<Step> {
    let route = Route {
        key: RouteKey {
            table: 254,
            destination: address.into(),
            metric: 120,
        },
        target: RouteTarget::Unicast {
            device: Some(DEVICE.parse()?),
            gateway: None,
        },
        preferred_source: None,
        protocol: OWNER_PROTOCOL,
    };
    Ok(Step {
        owner: ResourceId::new("RemoteAddressClaim", "bench"),
        action: action(route),
    })
}

fn batch_file(verb: &str, routes: &[Ipv4Addr]) -> Result<PathBuf> {
    let mut text = String::new();
    for address in routes {
        writeln!(
            text,
            "route {verb} {address}/32 dev {DEVICE} metric 120 proto {OWNER_PROTOCOL}"
        )?;
    }
    let path = PathBuf::from(format!("/run/bench-{verb}"));
    fs::write(&path, text)?;
    Ok(path)
}

fn rate(count: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
