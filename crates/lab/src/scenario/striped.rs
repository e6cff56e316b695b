//! Flows between two sites over several tunnels: each carries its share, both ways, and nothing else changes.

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use serde_json::Value;

use super::fabric_rules::change;
use super::low_pmtu::sizes::way;
use super::trial::{SOON, Trial};
use crate::config::{self, TUNNEL};
use crate::eventually::eventually;
use crate::fabric::header::protocol;
use crate::fabric::security::{Access, Direction, SecurityRule};
use crate::node::Node;
use crate::probe::tcp;
use crate::router;
use crate::topology::{Site, WIREGUARD_PORT};

/// How many tunnels.
const STRIPES: u8 = 4;
/// Connections from each site, and what each of them sends.
const FLOWS: u32 = 48;
const BYTES: u64 = 64 << 10;
/// Of 48 flows over four stripes one gets fewer than two in one run of 7,000.
const LEAST: u64 = 2 * BYTES;

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    for site in Site::BOTH {
        tcp::serve(trial.client(site)?)?;
    }
    open_ports(trial)?;
    trial.start_routers_with(|trial, site| {
        Ok(config::with_stripes(&trial.configuration(site)?, STRIPES))
    })?;
    trial.wait_for_traffic(SOON * 2)?;
    for site in Site::BOTH {
        all_alive(trial, site);
    }
    let before = counters(trial)?;
    trial.doing("many connections both ways");
    trial.check("flows", |trial| {
        let moved = trial.on_both(|trial, site| {
            let (node, to) = (trial.client(site)?, site.other().client_address());
            let flow = |_| {
                let bulk = tcp::bulk(node, to, BYTES)?;
                Ok(bulk.sent == bulk.arrived)
            };
            (0..FLOWS).map(flow).collect::<Result<Vec<bool>>>()
        })?;
        let whole = moved.values().flatten().all(|whole| *whole);
        Ok((
            whole,
            format!("{FLOWS} connections each way, digests equal"),
        ))
    });
    let after = counters(trial)?;
    for (site, (before, after)) in Site::BOTH.into_iter().zip(before.iter().zip(&after)) {
        let sent: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        let spread = sent.iter().all(|bytes| *bytes >= LEAST);
        let detail = format!(
            "KiB sent by each: {:?}",
            sent.iter().map(|b| b >> 10).collect::<Vec<_>>()
        );
        trial.found(&format!("spread/{}", way(site)), spread, detail);
    }
    back_to_one(trial)
}

/// A person who wants stripes opens their ports.
fn open_ports(trial: &Trial<'_>) -> Result<()> {
    let names = trial.two_site().names();
    let last = WIREGUARD_PORT + u16::from(STRIPES) - 1;
    change(trial, |state| {
        let rules = state.rule_sets().get(&names.rules.into());
        let mut rules = rules.cloned().unwrap_or_default();
        rules.push(SecurityRule {
            name: "stripes".to_owned(),
            priority: 110,
            direction: Direction::Inbound,
            access: Access::Allow,
            protocol: Some(protocol::UDP),
            remote: Ipv4Net::default(),
            ports: Some((WIREGUARD_PORT, last)),
        });
        state.put_rule_set(names.rules.into(), rules);
        Ok(())
    })
}

fn stripes() -> impl Iterator<Item = String> {
    let others = (1..STRIPES).map(|number| format!("{TUNNEL}-{number}"));
    std::iter::once(TUNNEL.to_owned()).chain(others)
}

/// Each stripe has a session of its own, and status says so.
fn all_alive(trial: &mut Trial<'_>, site: Site) {
    trial.check(&format!("alive/{}", site.router()), |trial| {
        let node = trial.router(site)?;
        let expected: Vec<_> = stripes().map(Value::from).collect();
        let found = eventually("every stripe has a session", SOON * 4, || {
            let resource = router::query(node, &["get", "WireGuardInterface", TUNNEL])?;
            let resource = resource.get(0).unwrap_or(&resource);
            let alive = &resource["status"]["facts"]["stripesAlive"];
            if *alive != Value::from(expected.clone()) {
                bail!("{alive}");
            }
            Ok(alive.to_string())
        })?;
        Ok((true, found))
    });
}

/// What each stripe of each router has sent.
fn counters(trial: &Trial<'_>) -> Result<Vec<Vec<u64>>> {
    let of = |node: &Node| stripes().map(|name| sent(node, &name)).collect();
    let routers = Site::BOTH.into_iter().map(|site| of(trial.router(site)?));
    routers.collect()
}

fn sent(node: &Node, ifname: &str) -> Result<u64> {
    let text = node.expect(&["ip", "-json", "-stats", "link", "show", "dev", ifname])?;
    let links: Value = serde_json::from_str(&text)?;
    let bytes = links[0]["stats64"]["tx"]["bytes"].as_u64();
    bytes.with_context(|| format!("{ifname} has no counters: {text}"))
}

/// One tunnel again: the others are gone, and so is the setting.
fn back_to_one(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing("one tunnel again");
    trial.on_both(|trial, site| router::apply(trial.router(site)?, &trial.configuration(site)?))?;
    trial.wait_for_traffic(SOON)?;
    for site in Site::BOTH {
        trial.check(&format!("one-again/{}", site.router()), |trial| {
            let node = trial.router(site)?;
            let links = node.expect(&["ip", "-brief", "link"])?;
            let policy = node.expect(&["sysctl", "-n", "net.ipv4.fib_multipath_hash_policy"])?;
            let gone = !links.contains(&format!("{TUNNEL}-"));
            Ok((
                gone && policy.trim() == "0",
                format!("hash policy {}", policy.trim()),
            ))
        });
    }
    Ok(())
}
