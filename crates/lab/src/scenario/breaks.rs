//! Every fault of `lab break` does what it says, to nodes, underlay links and cables alike, and is undone.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::trial::{SOON, Trial};
use crate::control::Fault;
use crate::eventually::eventually;
use crate::faults;
use crate::node::Node;
use crate::probe::ping::ping;
use crate::probe::udp::Stream;
use crate::router;
use crate::topology::Site;

/// Milliseconds in each direction.
const DELAY: u32 = 40;
/// Percent in each direction.
const LOSS: f64 = 50.0;
/// Packets that loss is measured with.
const PACKETS: u64 = 500;

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    trial.start_routers()?;
    trial.wait_for_traffic(SOON * 2)?;
    // A VM's interface, the link of a site, and a cable of the on-prem bridge, which is the kernel's.
    let wires = [
        ("cloud-client/eth0", Some(("cloud-client", "eth0"))),
        ("onprem-uplink", Some(("onprem-router", "ens18"))),
        ("cloud-uplink", None),
        ("onprem-client/ens19", Some(("onprem-client", "ens19"))),
    ];
    for (wire, device) in wires {
        silent(trial, wire, Fault::Cut, device.map(|d| (d, false)));
        silent(trial, wire, Fault::Blackhole, device.map(|d| (d, true)));
    }
    delayed(trial);
    lossy(trial);
    frozen(trial);
    killed(trial)?;
    refused(trial);
    Ok(())
}

/// Nothing passes a wire that is cut or a black hole; the device sees the one and not the other. After the repair
/// everything is as before.
fn silent(trial: &mut Trial<'_>, wire: &str, fault: Fault, device: Option<((&str, &str), bool)>) {
    trial.doing(&format!("{wire}: {fault:?}"));
    let id = format!("{}/{wire}", word(fault));
    trial.check(&id, |trial| {
        faults::inject(trial.lab(), wire, fault)?;
        let seen = nothing_passes(trial, device);
        faults::inject(trial.lab(), wire, Fault::Repair)?;
        trial.wait_for_traffic(SOON)?;
        let (held, words) = seen?;
        Ok((held, format!("{words}, repaired")))
    });
}

/// A ping gets no answer, and after it the device's carrier is what it has to be: the kernel may take its time to tell
/// of a change, but one that shall not be would have come meanwhile.
fn nothing_passes(
    trial: &Trial<'_>,
    device: Option<((&str, &str), bool)>,
) -> Result<(bool, String)> {
    let lost = ping(trial.client(Site::Cloud)?, onprem(), 1)?;
    let mut words = format!("{}/{} answered", lost.received, lost.sent);
    if let Some(((node, interface), carrier)) = device {
        let seen = carrier_becomes(trial.lab().node(node)?, interface, carrier)?;
        words.push_str(&format!(", carrier {seen}"));
    }
    Ok((lost.received == 0 && lost.sent > 0, words))
}

fn word(fault: Fault) -> &'static str {
    match fault {
        Fault::Cut => "cut",
        Fault::Blackhole => "blackhole",
        Fault::Kill => "kill",
        Fault::Freeze => "freeze",
        Fault::Delay(_) => "delay",
        Fault::Loss(_) => "loss",
        Fault::Repair => "repair",
    }
}

fn onprem() -> Ipv4Addr {
    Site::Onprem.client_address()
}

/// Waits for a carrier, or for its end. Several changes in a row become known up to a second later (`linkwatch`).
fn carrier_becomes(node: &Node, interface: &str, carrier: bool) -> Result<bool> {
    let what = format!("{}/{interface}: carrier {carrier}", node.name());
    eventually(&what, SOON, || {
        let link = node.expect(&["ip", "-o", "link", "show", "dev", interface])?;
        match !link.contains("NO-CARRIER") {
            seen if seen == carrier => Ok(seen),
            _ => bail!("{}", link.trim()),
        }
    })
}

fn delayed(trial: &mut Trial<'_>) {
    trial.doing("onprem-uplink: delay");
    trial.check("delay/onprem-uplink", |trial| {
        let client = trial.client(Site::Cloud)?;
        let (least, uneven) = usual(trial);
        let delay = DELAY + uneven;
        faults::inject(trial.lab(), "onprem-uplink", Fault::Delay(delay))?;
        let slow = ping(client, onprem(), 3)?;
        faults::inject(trial.lab(), "onprem-uplink", Fault::Repair)?;
        let quick = ping(client, onprem(), 3)?;
        let (slow, quick) = (
            slow.fastest_ms.context("no answer")?,
            quick.fastest_ms.context("no answer after the repair")?,
        );
        let least = f64::from(2 * (least + delay));
        let held = slow >= least && quick < least - f64::from(DELAY);
        Ok((held, format!("{slow} ms there and back, then {quick} ms")))
    });
    // The kernel's own cables are delayed by the kernel, which may not know how; and in one direction.
    trial.check("delay/onprem-client/ens19", |trial| {
        let (lab, cable) = (trial.lab(), "onprem-client/ens19");
        let (least, uneven) = usual(trial);
        let delay = DELAY + 2 * uneven;
        match faults::inject(lab, cable, Fault::Delay(delay)) {
            Ok(_) => {
                let slow = ping(trial.client(Site::Cloud)?, onprem(), 3)?;
                faults::inject(lab, cable, Fault::Repair)?;
                let slow = slow.fastest_ms.context("no answer")?;
                let least = f64::from(2 * least + delay);
                Ok((slow >= least, format!("{slow} ms, no less than {least}")))
            }
            Err(error) => {
                let said = format!("{error:#}");
                Ok((
                    said.contains("netem") && said.contains("hint"),
                    one_line(&said),
                ))
            }
        }
    });
}

/// The least that the link between the sites takes anyway, and by how much more some packets take. What is added has to
/// be more than that.
fn usual(trial: &Trial<'_>) -> (u32, u32) {
    let quality = trial.impaired().map(|link| *link.quality());
    quality.map_or((0, 0), |q| {
        let (least, most) = (ms(q.fastest()), ms(q.delay + q.jitter));
        (least, most - least)
    })
}

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn lossy(trial: &mut Trial<'_>) {
    trial.doing("cloud-uplink: loss");
    trial.check("loss/cloud-uplink", |trial| {
        let (cloud, onprem) = (trial.client(Site::Cloud)?, trial.client(Site::Onprem)?);
        let from = (cloud, Site::Cloud.client_address());
        let to = (onprem, Site::Onprem.client_address());
        faults::inject(trial.lab(), "cloud-uplink", Fault::Loss(LOSS))?;
        let stream = Stream::start(from, to, 9000)?;
        let sent = eventually("packets are sent", SOON, || match stream.sent() {
            sent if sent >= PACKETS => Ok(sent),
            sent => bail!("{sent} sent"),
        });
        let report = stream.finish()?;
        sent?;
        faults::inject(trial.lab(), "cloud-uplink", Fault::Repair)?;
        trial.wait_for_traffic(SOON)?;
        let share = 100.0 * report.lost as f64 / report.sent as f64;
        // Six standard deviations of so many throws of a coin.
        let held = (share - LOSS).abs() < 14.0;
        let detail = format!("{share:.0} % of {} lost, then repaired", report.sent);
        Ok((held, detail))
    });
}

/// Every process of a frozen router stands still; with the repair it goes on where it was.
fn frozen(trial: &mut Trial<'_>) {
    trial.doing("onprem-router: freeze");
    trial.check("freeze/onprem-router", |trial| {
        let node = trial.router(Site::Onprem)?;
        let before = node.processes()?.len();
        let said = faults::inject(trial.lab(), node.name(), Fault::Freeze)?;
        // A process with threads stops when the last of them has.
        let frozen = eventually("every process stands still", SOON, || {
            match stopped(node)? {
                count if count == before => Ok(count),
                count => bail!("{count} of {before}"),
            }
        });
        faults::inject(trial.lab(), node.name(), Fault::Repair)?;
        router::status(node)?;
        trial.wait_for_traffic(SOON)?;
        let held = before > 0 && frozen? == before && stopped(node)? == 0;
        Ok((
            held,
            format!("{said} of {before}; the daemon answers again"),
        ))
    });
    trial.check("freeze/azure-api", |trial| {
        let refused = faults::inject(trial.lab(), "azure-api", Fault::Freeze);
        let said = refused.err().map(|error| format!("{error:#}"));
        let said = said.unwrap_or_else(|| "accepted".to_owned());
        Ok((said.contains("cannot be frozen"), one_line(&said)))
    });
}

/// Processes of a node that a signal has stopped (`proc_pid_stat(5)`).
fn stopped(node: &Node) -> Result<usize> {
    let state = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before the state is in parentheses and may hold any character.
        let state = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.trim_start().to_owned());
        state.is_some_and(|rest| rest.starts_with('T'))
    };
    Ok(node.processes()?.iter().filter(|pid| state(pid)).count())
}

/// A router that is off has no process and no carrier; switched on again, it boots by itself into what it was.
fn killed(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing("onprem-router: kill");
    trial.check("kill/onprem-router", |trial| {
        let node = trial.router(Site::Onprem)?;
        let said = faults::inject(trial.lab(), node.name(), Fault::Kill)?;
        eventually("no process is left", SOON, || match node.processes()? {
            left if left.is_empty() => Ok(()),
            left => bail!("{left:?}"),
        })?;
        for interface in ["ens18", "ens21"] {
            carrier_becomes(node, interface, false)?;
        }
        let lost = ping(trial.client(Site::Cloud)?, onprem(), 1)?;
        Ok((lost.received == 0, said))
    });
    trial.crash(Site::Onprem)?;
    faults::inject(trial.lab(), &Site::Onprem.router(), Fault::Repair)?;
    trial.restart(Site::Onprem)?;
    trial.check("traffic-after-power-on", |trial| {
        trial.wait_for_traffic(SOON * 2)?;
        Ok((true, "both ways".to_owned()))
    });
    Ok(())
}

/// What makes no sense is refused with a word about what would.
fn refused(trial: &mut Trial<'_>) {
    let nonsense = [
        ("cloud-uplink", Fault::Kill, "not a node"),
        ("cloud-uplink", Fault::Loss(150.0), "not a percentage"),
        ("nowhere", Fault::Cut, "azure-api-uplink, cloud-uplink"),
    ];
    for (target, fault, expected) in nonsense {
        let id = format!("refused/{}-{target}", word(fault));
        trial.check(&id, |trial| {
            let refused = faults::inject(trial.lab(), target, fault);
            let said = refused.err().map(|error| format!("{error:#}"));
            let said = said.unwrap_or_else(|| "accepted".to_owned());
            Ok((said.contains(expected), one_line(&said)))
        });
    }
}
