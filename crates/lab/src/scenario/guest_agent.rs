//! An agent of the guest image puts the captured address on the router's OS every 5 s; routerd takes it
//! off, and traffic does not notice.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::losses::LinkCount;
use super::trial::{SOON, Trial};
use crate::agent;
use crate::config::claim_name;
use crate::eventually::eventually;
use crate::node::Node;
use crate::probe::tcp::{self, Session};
use crate::probe::udp::Stream;
use crate::router;
use crate::slowness::slowed;
use crate::topology::Site;

/// How often the agent insists, as in the seeds.
const PERIOD: Duration = Duration::from_secs(5);
/// How often it is watched.
const ROUNDS: usize = 3;
/// How long the address may stay.
const LIMIT: Duration = Duration::from_secs(1);

/// An address appeared (`true`) or went, when, and the kernel's words.
type Event = (bool, Instant, String);

/// `ip monitor address` in a node.
struct AddressWatch {
    process: Child,
    events: Arc<Mutex<Vec<Event>>>,
}

impl AddressWatch {
    fn start(node: &Node) -> Result<Self> {
        let mut process = node
            .command("ip")
            .args(["-o", "-4", "monitor", "address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start ip monitor")?;
        let output = process.stdout.take().context("ip monitor has no output")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = (!line.starts_with("Deleted"), Instant::now(), line);
                list.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
            }
        });
        Ok(Self { process, events })
    }

    fn events(&self) -> Vec<Event> {
        let events = self.events.lock();
        events.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for AddressWatch {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    trial.start_routers()?;
    trial.wait_for_traffic(SOON * 2)?;
    tcp::serve(trial.client(Site::Onprem)?)?;
    let router = trial.router(Site::Cloud)?;
    let captured = Site::Onprem.client_address();
    let primary = router.expect(&["ip", "-o", "-4", "address", "show", "scope", "global"])?;
    let watch = AddressWatch::start(router)?;
    let (cloud, onprem) = (trial.client(Site::Cloud)?, trial.client(Site::Onprem)?);
    let session = Session::open(cloud, captured)?;
    let link = LinkCount::begin(trial)?;
    let stream = Stream::start(
        (cloud, Site::Cloud.client_address()),
        (onprem, captured),
        9000,
    )?;
    trial.doing(&format!(
        "the agent insists {ROUNDS} times, every {} s",
        PERIOD.as_secs()
    ));
    let interface = trial.two_site().nic_name();
    let address = ipnet::Ipv4Net::new_assert(captured, 24);
    let mut insisting = agent::start(router, interface, address, PERIOD)?;
    let stays = wait_for_rounds(&watch, &format!(" {captured}/"));
    insisting.kill()?;
    insisting.wait()?;
    let after = router.expect(&["ip", "-o", "-4", "address", "show", "scope", "global"])?;
    gone_each_time(trial, stays);
    trial.check("primary-addresses-untouched", |_| {
        let others = watch
            .events()
            .into_iter()
            .find(|(_, _, line)| !line.contains(&format!(" {captured}/")));
        let detail = others.map_or_else(|| "no event".to_owned(), |(_, _, line)| line);
        Ok((after == primary && detail == "no event", detail))
    });
    undisturbed(trial, session, stream, link)?;
    said(trial);
    Ok(())
}

/// How long the address stayed, each time.
fn wait_for_rounds(watch: &AddressWatch, address: &str) -> Result<Vec<Duration>> {
    let limit = PERIOD * u32::try_from(ROUNDS)? + SOON;
    eventually("the address comes and goes", limit, || {
        let mut stays = Vec::new();
        let mut since = None;
        for (there, at, line) in watch.events() {
            match (since, there) {
                _ if !line.contains(address) => {}
                (None, true) => since = Some(at),
                (Some(begin), false) => {
                    stays.push(at - begin);
                    since = None;
                }
                _ => {}
            }
        }
        if stays.len() < ROUNDS {
            bail!("it came and went {} times", stays.len());
        }
        Ok(stays)
    })
}

fn gone_each_time(trial: &mut Trial<'_>, stays: Result<Vec<Duration>>) {
    let mut worst = None;
    trial.check("address-gone-within-1s", |_| {
        let stays = stays?;
        let longest = stays.iter().max().copied().unwrap_or_default();
        worst = Some(longest);
        let shown: Vec<_> = stays.iter().map(|s| s.as_millis().to_string()).collect();
        let detail = format!("gone after {} ms", shown.join(", "));
        Ok((longest <= slowed(LIMIT), detail))
    });
    if let Some(worst) = worst {
        trial.measure("address_gone_worst_ms", worst.as_secs_f64() * 1000.0);
    }
}

/// The session lives, and the stream loses nothing.
fn undisturbed(
    trial: &mut Trial<'_>,
    session: Session,
    stream: Stream,
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
    let report = stream.finish()?;
    let (beyond, words) = link.beyond(trial, report.lost)?;
    trial.measure("stream_lost_packets", report.lost as f64);
    trial.measure("stream_longest_gap_ms", report.longest_gap_ms as f64);
    let detail = format!(
        "lost {} of {}{words}, longest gap {} ms",
        report.lost, report.sent, report.longest_gap_ms
    );
    trial.found("stream-undisturbed", beyond == 0, detail);
    Ok(())
}

fn said(trial: &mut Trial<'_>) {
    trial.check("status-says-so", |trial| {
        let node = trial.router(Site::Cloud)?;
        let claim = claim_name(Site::Cloud);
        let resource = router::query(node, &["get", "RemoteAddressClaim", &claim])?;
        let resource = resource.get(0).unwrap_or(&resource);
        let removals = resource["status"]["facts"]["osAddressRemovals"].as_u64();
        let enough = removals.is_some_and(|n| n >= ROUNDS as u64);
        Ok((enough, format!("osAddressRemovals {removals:?}")))
    });
}
