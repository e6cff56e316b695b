//! The daemon dies, returns, changes its configuration and fails to: no packet notices. What somebody else
//! breaks is whole again at once.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::losses::LinkCount;
use super::trial::{SOON, Trial};
use crate::config;
use crate::node::Node;
use crate::probe::tcp::{self, Session};
use crate::probe::udp::Stream;
use crate::router;
use crate::slowness::slowed;
use crate::topology::Site;

/// Packets that must have arrived before and after what is done to the daemon.
const AROUND: u64 = 300;
/// How long something that somebody else broke may stay broken.
const REPAIR: Duration = Duration::from_millis(200);
/// How often each thing is broken; the median counts, so that a machine that was busy once does not.
const ROUNDS: usize = 3;

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    trial.start_routers()?;
    trial.wait_for_traffic(SOON * 2)?;
    for site in Site::BOTH {
        tcp::serve(trial.client(site)?)?;
    }
    let to = Site::Onprem.client_address();
    let session = Session::open(trial.client(Site::Cloud)?, to)?;
    undisturbed(trial, "kill-9", |trial| {
        for site in Site::BOTH {
            trial.crash(site)?;
        }
        Ok("both daemons gone".to_owned())
    })?;
    undisturbed(trial, "restart", |trial| {
        for site in Site::BOTH {
            trial.restart(site)?;
        }
        Ok("both daemons answer again".to_owned())
    })?;
    undisturbed(trial, "apply-unrelated", |trial| {
        for site in Site::BOTH {
            let config = config::with_unrelated(&trial.configuration(site)?);
            router::apply(trial.router(site)?, &config)?;
        }
        Ok("one more route".to_owned())
    })?;
    undisturbed(trial, "apply-failing", |trial| refused(trial))?;
    undisturbed(trial, "apply-back", |trial| {
        for site in Site::BOTH {
            router::apply(trial.router(site)?, &trial.configuration(site)?)?;
        }
        Ok("as before".to_owned())
    })?;
    trial.check("tcp-session-survives", |_| {
        let (exchanges, slowest) = session.finish()?;
        let detail = format!(
            "{exchanges} exchanges, the slowest {} ms",
            slowest.as_millis()
        );
        Ok((exchanges > 0, detail))
    });
    repairs(trial);
    for site in Site::BOTH {
        trial.check(&format!("second-plan-empty/{}", site.router()), |trial| {
            let plan = router::routerctl(trial.router(site)?, &["plan"])?;
            Ok((plan.success(), plan.stdout.replace('\n', " ")))
        });
    }
    Ok(())
}

/// An apply that the host refuses half-way is taken back: the generation stays.
fn refused(trial: &Trial<'_>) -> Result<String> {
    let node = trial.router(Site::Cloud)?;
    let generation = || Ok::<_, anyhow::Error>(router::status(node)?["generation"].clone());
    let before = generation()?;
    let taken = node.in_network(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    let config = trial.configuration(Site::Cloud)?;
    let config = config::with_impossible(&config, taken.local_addr()?.port());
    let Err(error) = router::apply(node, &config) else {
        bail!("what cannot work was accepted");
    };
    let after = generation()?;
    if before != after || before.is_null() {
        bail!("generation {before} became {after}: {error:#}");
    }
    Ok(format!("still generation {after}"))
}

/// Does something while 1,000 packets a second go both ways; none may be lost.
fn undisturbed(
    trial: &mut Trial<'_>,
    id: &str,
    action: impl FnOnce(&mut Trial<'_>) -> Result<String>,
) -> Result<()> {
    trial.doing(&format!("{id} under 1 kHz both ways"));
    let (cloud, onprem) = (trial.client(Site::Cloud)?, trial.client(Site::Onprem)?);
    let cloud = (cloud, Site::Cloud.client_address());
    let onprem = (onprem, Site::Onprem.client_address());
    let link = LinkCount::begin(trial)?;
    let streams = [
        Stream::start(cloud, onprem, 9000)?,
        Stream::start(onprem, cloud, 9000)?,
    ];
    flowing(trial, &link, &streams, AROUND)?;
    let done = action(trial);
    let sent = streams.iter().map(Stream::sent).max().unwrap_or(0);
    flowing(trial, &link, &streams, sent + AROUND)?;
    let mut lost = Vec::new();
    let (mut total, mut foreign) = (0, 0);
    for report in Stream::finish_all(streams)? {
        lost.push(format!("{} of {}", report.lost, report.sent));
        total += report.lost;
        foreign += report.foreign_source;
    }
    let (beyond, by_link) = link.beyond(trial, total)?;
    let detail = format!("lost {}{by_link}", lost.join(" and "));
    match done {
        Ok(what) => trial.found(
            &format!("{id}-loses-nothing"),
            beyond + foreign == 0,
            format!("{detail}; {what}"),
        ),
        Err(error) => trial.found(id, false, format!("{error:#}; {detail}")),
    }
    trial.measure(
        &format!("{}_lost_packets", id.replace('-', "_")),
        total as f64,
    );
    Ok(())
}

/// Waits until so many packets were sent each way and packets still arrive.
fn flowing(trial: &Trial<'_>, link: &LinkCount, streams: &[Stream], count: u64) -> Result<()> {
    crate::eventually::eventually("packets flow", SOON * 2, || {
        let by_link = link.lost(trial)?;
        for stream in streams {
            let (sent, received) = (stream.sent(), stream.received());
            if sent < count || received + by_link + AROUND < sent {
                bail!("{received} of {sent} have arrived");
            }
        }
        Ok(())
    })
}

/// Something that somebody else breaks.
struct Damage {
    id: &'static str,
    site: Site,
    /// Breaks it.
    hit: &'static [&'static str],
    /// Shows it, with what must stand in the answer when it is whole.
    show: &'static [&'static str],
    whole: &'static str,
}

const DAMAGES: [Damage; 6] = [
    Damage {
        id: "route-deleted",
        site: Site::Cloud,
        hit: &["ip", "route", "del", "10.77.60.9/32"],
        show: &["ip", "route", "show", "10.77.60.9/32"],
        whole: "dev wg-hybrid",
    },
    Damage {
        id: "route-replaced",
        site: Site::Cloud,
        hit: &[
            "ip",
            "route",
            "replace",
            "blackhole",
            "10.77.60.9/32",
            "metric",
            "120",
            "proto",
            "82",
        ],
        show: &["ip", "route", "show", "10.77.60.9/32"],
        whole: "dev wg-hybrid",
    },
    Damage {
        id: "neighbour-deleted",
        site: Site::Onprem,
        hit: &["ip", "neigh", "del", "proxy", "10.77.60.7", "dev", "ens21"],
        show: &["ip", "neigh", "show", "proxy"],
        whole: "10.77.60.7",
    },
    Damage {
        id: "mss-table-deleted",
        site: Site::Onprem,
        hit: &["nft", "delete", "table", "inet", "routerd_mss"],
        show: &["nft", "list", "table", "inet", "routerd_mss"],
        whole: "maxseg",
    },
    Damage {
        id: "mss-rules-flushed",
        site: Site::Cloud,
        hit: &["nft", "flush", "table", "inet", "routerd_mss"],
        show: &["nft", "list", "table", "inet", "routerd_mss"],
        whole: "maxseg",
    },
    Damage {
        id: "tunnel-deleted",
        site: Site::Onprem,
        hit: &["ip", "link", "del", config::TUNNEL],
        show: &["ip", "route", "show", "10.77.60.7/32"],
        whole: "dev wg-hybrid",
    },
];

/// Breaks one thing after the other and measures until it is whole again.
fn repairs(trial: &mut Trial<'_>) {
    trial.doing("breaking what routerd keeps");
    for damage in &DAMAGES {
        let id = format!("{}-repaired", damage.id);
        let mut median = None;
        trial.check(&id, |trial| {
            let node = trial.router(damage.site)?;
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                times.push(repair_time(node, damage)?);
            }
            times.sort_unstable();
            median = Some(times[ROUNDS / 2]);
            let shown: Vec<_> = times.iter().map(|t| t.as_millis().to_string()).collect();
            let detail = format!("back after {} ms", shown.join(", "));
            Ok((times[ROUNDS / 2] <= slowed(REPAIR), detail))
        });
        if let Some(median) = median {
            let name = format!("{}_repair_ms", damage.id.replace('-', "_"));
            trial.measure(&name, median.as_secs_f64() * 1000.0);
        }
    }
    trial.check("tunnel-process-killed-repaired", |trial| {
        tunnel_killed(trial)
    });
    trial.check("traffic-after-repairs", |trial| {
        trial.wait_for_traffic(SOON)?;
        Ok((true, "both ways".to_owned()))
    });
}

/// From before it is broken until it is seen whole: the time of the two programs is in it.
fn repair_time(node: &Node, damage: &Damage) -> Result<Duration> {
    let begin = Instant::now();
    let hit = node.ask_kernel(damage.hit)?;
    if !hit.success() {
        bail!("{}: {}", damage.hit.join(" "), hit.complaint());
    }
    loop {
        let shown = node.ask_kernel(damage.show)?;
        let elapsed = begin.elapsed();
        if shown.success() && shown.stdout.contains(damage.whole) {
            return Ok(elapsed);
        }
        if elapsed > slowed(SOON) {
            bail!("{} says {}", damage.show.join(" "), shown.stdout.trim());
        }
    }
}

/// The user-space tunnel's process is killed: another one takes over the device.
fn tunnel_killed(trial: &Trial<'_>) -> Result<(bool, String)> {
    let node = trial.router(Site::Cloud)?;
    let Some(old) = tunnel_process(node)? else {
        return Ok((true, "the kernel runs the tunnel".to_owned()));
    };
    let begin = Instant::now();
    node.expect(&["kill", "-9", &old.to_string()])?;
    let new =
        crate::eventually::eventually("another tunnel process", SOON, || {
            match tunnel_process(node)? {
                Some(new) if new != old => Ok(new),
                other => bail!("tunnel process {other:?}"),
            }
        })?;
    let elapsed = begin.elapsed();
    let detail = format!(
        "process {old} became {new} after {} ms",
        elapsed.as_millis()
    );
    Ok((elapsed <= slowed(REPAIR * 2), detail))
}

fn tunnel_process(node: &Node) -> Result<Option<u32>> {
    let is_tunnel = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        words.get(1..3) == Some(&[&b"tunnel"[..], &b"wireguard"[..]])
    };
    Ok(node.processes()?.into_iter().find(is_tunnel))
}
