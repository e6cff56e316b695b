//! A client is switched on on the on-prem LAN and works in the cloud a moment later, without anybody having
//! written a claim for it or touched the cloud; switched off, its claim is held and goes; flapping costs nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::operator::{CONFIG_NAME, Operator, difference};
use super::trial::{SOON, Trial};
use crate::config::{EVENT_SECRET, LEASE_TTL};
use crate::eventually::eventually;
use crate::node::Node;
use crate::probe::ping::ping;
use crate::probe::tcp;
use crate::router;
use crate::slowness::slowed;
use crate::topology::{GATEWAY, Site};

/// From the switch to the first answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How often the client is switched off and on again, and for how long.
const FLAPS: u32 = 8;
const FLAP: Duration = Duration::from_millis(200);
/// The client's interface.
const CLIENT: &str = "ens19";

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    for program in ["azure-provider-executor", "event-to-remote-claim"] {
        router::install(program)?;
    }
    for site in Site::BOTH {
        tcp::serve(trial.client(site)?)?;
    }
    trial.doing("switching the on-prem client off");
    switch(trial.client(Site::Onprem)?, false)?;
    let baseline = unassigned(trial)?;
    federate(trial)?;
    unclaimed(trial);
    switched_on(trial)?;
    both_ways(trial);
    flapping(trial)?;
    switched_off(trial)?;
    one_action_each_way(trial, &baseline)
}

/// The cloud knows nothing of the client: what the claim needs there, the executor has to do.
fn unassigned(trial: &Trial<'_>) -> Result<Value> {
    let operator = Operator::new(trial)?;
    operator.change_nic(|nic| {
        if let Some(configs) = nic["properties"]["ipConfigurations"].as_array_mut() {
            configs.retain(|config| config["name"] != CONFIG_NAME);
        }
    })?;
    operator.picture()
}

/// Plugs the client in, as a machine that boots: it asks for its gateway first of all. Or pulls the plug.
fn switch(client: &Node, on: bool) -> Result<()> {
    let word = if on { "up" } else { "down" };
    client.expect(&["ip", "link", "set", CLIENT, word])?;
    if on {
        let gateway = GATEWAY.to_string();
        client.expect(&["ip", "route", "replace", "default", "via", &gateway])?;
        client.run(&["ping", "-c1", "-W1", &gateway], SOON)?;
    }
    Ok(())
}

/// Lays the secret down and starts the routers with configurations without a claim for the on-prem client.
fn federate(trial: &mut Trial<'_>) -> Result<()> {
    for site in Site::BOTH {
        let node = trial.router(site)?;
        let secret = node.outside(EVENT_SECRET);
        fs::create_dir_all(secret.parent().context("a folder")?)?;
        fs::write(&secret, "lab-events-0123456789abcdef0123456789abcdef\n")?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    }
    trial.start_routers_with(Trial::federated)
}

/// Without a claim and without a client nothing gets through.
fn unclaimed(trial: &mut Trial<'_>) {
    trial.check("unreachable-before", |trial| {
        let to = Site::Onprem.client_address();
        let ping = ping(trial.client(Site::Cloud)?, to, 1)?;
        Ok((ping.received == 0, ping.summary.clone()))
    });
}

fn switched_on(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing("switching the on-prem client on");
    let begin = Instant::now();
    switch(trial.client(Site::Onprem)?, true)?;
    reached(trial, SOON * 2)?;
    let took = begin.elapsed();
    trial.measure("switched_on_to_reachable_seconds", took.as_secs_f64());
    let detail = format!(
        "{:.2} s from the switch to the first answer",
        took.as_secs_f64()
    );
    trial.found("reachable-within-5-s", took <= slowed(LIMIT), detail);
    trial.check("provenance", |trial| {
        let view = router::query(trial.router(Site::Cloud)?, &["dynamic", "render"])?;
        let all = view["resources"].as_array().context("resources")?.iter();
        let mut claims = all.filter(|r| r["resource"]["kind"] == "RemoteAddressClaim");
        let claim = claims.next().context("no claim")?;
        let notes = &claim["resource"]["metadata"]["annotations"];
        let source = &notes["routerd.net/dynamic-source"];
        let whole = ["routerd.net/event-id", "routerd.net/event-group"];
        let whole = whole.iter().all(|note| notes[note].is_string());
        Ok((
            whole && source == "EventSubscription/onprem-clients",
            notes.to_string(),
        ))
    });
    Ok(())
}

fn reached(trial: &Trial<'_>, limit: Duration) -> Result<()> {
    let to = Site::Onprem.client_address();
    let client = trial.client(Site::Cloud)?;
    eventually(&format!("the cloud client reaches {to}"), limit, || {
        let ping = ping(client, to, 1)?;
        if !ping.complete() {
            bail!("{}; {}", ping.summary, trial.state());
        }
        Ok(())
    })
}

/// Connections from both sides, seen with their own addresses.
fn both_ways(trial: &mut Trial<'_>) {
    for site in Site::BOTH {
        trial.check(&format!("source-kept/from-{}", site.label()), |trial| {
            let to = site.other().client_address();
            let connection = tcp::connect(trial.client(site)?, to, SOON)?;
            let kept = connection.seen_peer.ip() == site.client_address();
            Ok((kept, format!("{to} sees {}", connection.seen_peer.ip())))
        });
    }
}

/// On and off faster than anybody counts as gone.
fn flapping(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing(&format!("switching the client off and on {FLAPS} times"));
    let before = changes(trial)?;
    for _ in 0..FLAPS {
        switch(trial.client(Site::Onprem)?, false)?;
        std::thread::sleep(FLAP);
        switch(trial.client(Site::Onprem)?, true)?;
        std::thread::sleep(FLAP);
    }
    reached(trial, SOON)?;
    let after = changes(trial)?;
    let detail =
        format!("{FLAPS} times off and on: claim came and went {after:?}, before {before:?}");
    trial.found("flapping-changes-nothing", before == after, detail);
    Ok(())
}

/// How often the claim came and went on the cloud router.
fn changes(trial: &Trial<'_>) -> Result<(usize, usize)> {
    let events = router::query(trial.router(Site::Cloud)?, &["events"])?;
    let texts: Vec<&str> = events
        .as_array()
        .into_iter()
        .flatten()
        .filter(|event| event["kind"] == "dynamic")
        .filter_map(|event| event["text"].as_str())
        .collect();
    let count = |sign: &str| {
        let line = format!("{sign} RemoteAddressClaim/onprem-10-77-60-9");
        texts.iter().filter(|text| text.contains(&line)).count()
    };
    Ok((count("+"), count("-")))
}

fn switched_off(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing("switching the client off for good");
    let begin = Instant::now();
    switch(trial.client(Site::Onprem)?, false)?;
    let route = ["ip", "route", "show", "10.77.60.9/32", "proto", "82"];
    let router = trial.router(Site::Cloud)?;
    let limit = LEASE_TTL * 2 + SOON;
    eventually("the claim goes", limit, || {
        let found = router.expect(&route)?;
        if !found.trim().is_empty() {
            bail!("still there: {found}");
        }
        Ok(())
    })?;
    let took = begin.elapsed();
    trial.measure("switched_off_to_removed_seconds", took.as_secs_f64());
    let detail = format!(
        "{:.1} s after the switch; a client is gone after {} s of silence",
        took.as_secs_f64(),
        LEASE_TTL.as_secs()
    );
    trial.found("held-then-removed", took >= LEASE_TTL / 2, detail);
    trial.check("came-and-went-once", |trial| {
        let changes = changes(trial)?;
        Ok((changes == (1, 1), format!("{changes:?}")))
    });
    Ok(())
}

/// What the whole story did in the cloud: the address was assigned once and given back once.
fn one_action_each_way(trial: &mut Trial<'_>, baseline: &Value) -> Result<()> {
    trial.eventually("the address is given back", |trial| {
        let operator = Operator::new(trial)?;
        if let Some(difference) = difference(baseline, &operator.picture()?, "") {
            let (_, actions) = operator.action(&["list"])?;
            bail!("{difference}; {actions}");
        }
        Ok(())
    })?;
    trial.check("one-provider-action-each-way", |trial| {
        let (_, journal) = Operator::new(trial)?.action(&["journal"])?;
        let events: Vec<(&Value, &Value)> = journal["rows"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| (&row["action"], &row["event"]))
            .collect();
        let assigned = events
            .iter()
            .filter(|(_, event)| event["plan"]["action"] == "assign-secondary-ip");
        let targets: Vec<_> = assigned
            .map(|(id, event)| (*id, &event["plan"]["name"]))
            .collect();
        let started = |mode: &str| {
            let of = |(id, event): &&(&Value, &Value)| {
                let ours = targets.iter().any(|(target, _)| target == id);
                ours && event["type"] == "started" && event["mode"] == mode
            };
            events.iter().filter(of).count()
        };
        let [there, back] = ["execute", "rollback"].map(started);
        let names: Vec<String> = targets.iter().map(|(_, name)| name.to_string()).collect();
        let detail = format!("{}: {there} executed, {back} rolled back", names.join(", "));
        Ok(((targets.len(), there, back) == (1, 1, 1), detail))
    });
    Ok(())
}
