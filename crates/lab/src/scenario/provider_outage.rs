//! The cloud's API is away: what it was asked for fails and says so, the daemon dies on top of it, a move stops
//! half-way. No packet notices. When the API is back everything is completed from where it stopped.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::losses::LinkCount;
use super::operator::{Operator, difference};
use super::trial::{SOON, Trial};
use crate::cloud::azure::Exchange;
use crate::config::CloudCapture;
use crate::control::Fault;
use crate::eventually::eventually;
use crate::faults;
use crate::probe::tcp::{self, Session};
use crate::probe::udp::Stream;
use crate::router;
use crate::slowness::slowed;
use crate::topology::Site;

/// The way to the API. The metadata service is on the other side, and stays.
const UPLINK: &str = "azure-api-uplink";
/// How long an executor may try in vain.
const SHORT: &str = "timeout: 8s";
/// How long a move may take: no executor begins one with less.
const LONG: &str = "timeout: 120s";
/// An address that nobody has.
const FREE: &str = "10.77.60.20";
/// An address that another machine has.
const HELD: &str = "10.77.60.21";
const HELD_NAME: &str = "ipconfig-held";
/// Doctor's own promise.
const DOCTOR: Duration = Duration::from_secs(2);

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    router::install("azure-provider-executor")?;
    for site in Site::BOTH {
        tcp::serve(trial.client(site)?)?;
    }
    trial.start_routers_with(|trial, site| {
        let config = trial.configuration_with(site, CloudCapture::SecondaryIp)?;
        Ok(config.replace(LONG, SHORT))
    })?;
    trial.wait_for_traffic(SOON * 2)?;
    in_force(trial)?;
    let (cloud, onprem) = (trial.client(Site::Cloud)?, trial.client(Site::Onprem)?);
    let (a, b) = (Site::Cloud.client_address(), Site::Onprem.client_address());
    let session = Session::open(cloud, b)?;
    let link = LinkCount::begin(trial)?;
    let streams = [
        Stream::start((cloud, a), (onprem, b), 9000)?,
        Stream::start((onprem, b), (cloud, a), 9000)?,
    ];
    let done = away(trial).and_then(|()| half_a_move(trial));
    unaffected(trial, streams, session, link)?;
    done
}

/// What the claim asks for is there already: executing it changes nothing.
fn in_force(trial: &mut Trial<'_>) -> Result<()> {
    let ids = trial.eventually("two actions are proposed", |trial| {
        match Operator::new(trial)?.proposed()? {
            ids if ids.len() == 2 => Ok(ids),
            ids => bail!("proposed are {ids:?}"),
        }
    })?;
    trial.check("already-so", |trial| {
        let (code, runs) = Operator::new(trial)?.execute(&ids)?;
        let quiet = runs
            .iter()
            .all(|run| run["state"] == "succeeded" && run["changed"] == false);
        Ok((code == 0 && quiet, said(&runs)))
    });
    // Doctor knows what the cloud had before it went away.
    router::doctor(trial.router(Site::Cloud)?, "hybrid").map(drop)
}

/// Nothing answers: what is asked for fails, doctor is not held up, a daemon that dies comes back.
fn away(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing("the API goes away");
    let operator = Operator::new(trial)?;
    let before = operator.picture()?;
    let plan = assignment(FREE, &operator.nic, json!({}));
    let ids = operator.import(&json!([plan]))?;
    faults::inject(trial.lab(), UPLINK, Fault::Blackhole)?;
    trial.check("asked-in-vain", |trial| {
        let operator = Operator::new(trial)?;
        let (code, runs) = operator.execute(&ids)?;
        let action = operator.show(ids[0])?;
        let class = action["error"]["class"]
            .as_str()
            .unwrap_or("none")
            .to_owned();
        let untold = ["timeout", "transient"].contains(&class.as_str());
        Ok((code == 1 && untold, format!("{class}: {}", said(&runs))))
    });
    trial.check("doctor-not-held-up", |trial| {
        let begin = Instant::now();
        let (code, report) = router::doctor(trial.router(Site::Cloud)?, "hybrid")?;
        let took = begin.elapsed();
        let provider = report.checks.iter().find(|check| check.code == "provider");
        let provider = provider.context("nothing is said about the provider")?;
        let detail = format!("{} ms; {provider}", took.as_millis()).replace('\n', " ");
        Ok((code == 0 && took < slowed(DOCTOR), detail))
    });
    trial.doing("the daemon dies while the API is away");
    trial.crash(Site::Cloud)?;
    trial.restart(Site::Cloud)?;
    faults::inject(trial.lab(), UPLINK, Fault::Repair)?;
    trial.doing("the API is back");
    trial.check("resumed", |trial| {
        let operator = Operator::new(trial)?;
        let (code, runs) = operator.again(&ids)?;
        let there = configs(&operator.picture()?, "networkInterface");
        let once = there.iter().filter(|address| *address == FREE).count();
        Ok((
            code == 0 && once == 1,
            format!("{}; NIC has {}", said(&runs), there.join(", ")),
        ))
    });
    trial.check("nothing-left-behind", |trial| {
        let operator = Operator::new(trial)?;
        let (code, runs) = operator.roll_back(&ids)?;
        let differs = difference(&before, &operator.picture()?, "");
        let detail = differs.clone().unwrap_or_else(|| said(&runs));
        Ok((code == 0 && differs.is_none(), detail))
    });
    Ok(())
}

fn assignment(address: &str, nic: &str, parameters: Value) -> Value {
    json!({
        "name": format!("outage/{address}"),
        "provider": "azure",
        "providerRef": "azure-lab",
        "action": "assign-secondary-ip",
        "target": {"nicRef": nic, "address": format!("{address}/32")},
        "parameters": parameters,
        "idempotencyKey": format!("outage/{address}"),
    })
}

fn said(runs: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |run: &Value| format!("{}: {}", text(&run["state"]), text(&run["message"]));
    runs.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The addresses of a NIC in a picture.
fn configs(picture: &Value, nic: &str) -> Vec<String> {
    let configs = picture[nic]["properties"]["ipConfigurations"].as_array();
    let address = |config: &Value| {
        let address = config["properties"]["privateIPAddress"].as_str();
        address.unwrap_or_default().to_owned()
    };
    configs.into_iter().flatten().map(address).collect()
}

/// An address is to come from another machine's NIC. The API goes away after it was taken there, before it was given
/// here: nobody has it. What is done next, when the API is back, is the other half, and nothing twice.
fn half_a_move(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing("an address is to move; the API goes away half-way, and the executor with it");
    let config = trial.configuration_with(Site::Cloud, CloudCapture::SecondaryIp)?;
    router::apply(trial.router(Site::Cloud)?, &config)?;
    let other = trial.two_site().names().client_nic;
    let cloud = trial.cloud()?;
    let other_nic = cloud.with(|azure| azure.site().nic_id(&other.into()));
    let mut held = cloud.get(&other_nic)?;
    let subnet = held["properties"]["ipConfigurations"][0]["properties"]["subnet"].clone();
    if let Some(configs) = held["properties"]["ipConfigurations"].as_array_mut() {
        configs.push(json!({
            "name": HELD_NAME,
            "properties": {"privateIPAddress": HELD, "privateIPAllocationMethod": "Static", "subnet": subnet},
        }));
    }
    cloud.put(&other_nic, &held)?;
    let before = both(trial, &other_nic)?;
    let operator = Operator::new(trial)?;
    let plan = assignment(HELD, &operator.nic, json!({"allowReassignment": true}));
    let ids = operator.import(&json!([plan]))?;
    let (code, runs) = cut_off(trial, &ids, other)?;
    let now = both(trial, &other_nic)?;
    let nowhere = ["networkInterface", "other"]
        .iter()
        .all(|nic| !configs(&now, nic).iter().any(|address| address == HELD));
    let detail = format!("{}; {HELD} is nowhere: {nowhere}", said(&runs));
    trial.found(
        "half-done",
        code == 1 && nowhere && said(&runs).contains("unknown"),
        detail,
    );
    faults::inject(trial.lab(), UPLINK, Fault::Repair)?;
    trial.doing("the API is back: the other half");
    trial.check("completed", |trial| {
        let (code, runs) = Operator::new(trial)?.again(&ids)?;
        let now = both(trial, &other_nic)?;
        let here = configs(&now, "networkInterface").iter().any(|a| a == HELD);
        let there = configs(&now, "other").iter().any(|a| a == HELD);
        Ok((code == 0 && here && !there, said(&runs)))
    });
    trial.check("given-back", |trial| {
        let (code, runs) = Operator::new(trial)?.roll_back(&ids)?;
        let differs = difference(&before, &both(trial, &other_nic)?, "");
        let detail = differs.clone().unwrap_or_else(|| said(&runs));
        Ok((code == 0 && differs.is_none(), detail))
    });
    Ok(())
}

/// The picture with another NIC in it.
fn both(trial: &Trial<'_>, other: &str) -> Result<Value> {
    let operator = Operator::new(trial)?;
    let mut picture = operator.picture()?;
    picture["other"] = operator.picture_of(other)?;
    Ok(picture)
}

/// Executes; as soon as the API was asked to take the address from the other NIC, it goes away, and the executor dies.
fn cut_off(trial: &Trial<'_>, ids: &[u64], other: &str) -> Result<(u8, Vec<Value>)> {
    let cloud = trial.cloud()?;
    cloud.with(|azure| azure.clear_log());
    std::thread::scope(|scope| {
        let run = scope.spawn(|| Operator::new(trial)?.execute(ids));
        let asked =
            |exchange: &Exchange| exchange.method == "PUT" && exchange.path.ends_with(other);
        let taken = eventually(
            "the address is taken from the other NIC",
            SOON,
            || match cloud.with(|azure| azure.log().iter().any(asked)) {
                true => Ok(()),
                false => bail!("not asked yet"),
            },
        );
        let pulled = faults::inject(trial.lab(), UPLINK, Fault::Blackhole);
        let killed = kill_executor(trial);
        let Ok(ran) = run.join() else {
            bail!("the run panicked");
        };
        let ran = ran?;
        taken.with_context(|| said(&ran.1))?;
        pulled.and(killed)?;
        Ok(ran)
    })
}

fn kill_executor(trial: &Trial<'_>) -> Result<()> {
    let program = router::installed("azure-provider-executor");
    let program = program.display().to_string();
    let runs_it = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(program.as_bytes())
    };
    let processes = trial.router(Site::Cloud)?.processes()?;
    let pid = processes
        .into_iter()
        .find(runs_it)
        .context("no executor runs")?;
    let pid = Pid::from_raw(i32::try_from(pid)?);
    kill(pid, Signal::SIGKILL).context("kill the executor")
}

/// Packets both ways and a session from before the outage until now.
fn unaffected(
    trial: &mut Trial<'_>,
    streams: [Stream; 2],
    session: Session,
    link: LinkCount,
) -> Result<()> {
    trial.check("tcp-session-survives", |_| {
        let (exchanges, slowest) = session.finish()?;
        let detail = format!(
            "{exchanges} exchanges, the slowest {} ms",
            slowest.as_millis()
        );
        Ok((exchanges > 0, detail))
    });
    let (mut lost, mut foreign) = (0, 0);
    let mut words = Vec::new();
    for report in Stream::finish_all(streams)? {
        lost += report.lost;
        foreign += report.foreign_source;
        words.push(format!("{} of {}", report.lost, report.sent));
    }
    let (beyond, by_link) = link.beyond(trial, lost)?;
    trial.measure("overlay_lost_packets", lost as f64);
    trial.found(
        "overlay-unaffected",
        beyond + foreign == 0,
        format!("lost {}{by_link}", words.join(" and ")),
    );
    Ok(())
}
