//! The main job: two sites, one subnet, both ways, nothing bent.

use std::fs;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::fabric_rules;
use super::losses::pings;
use super::trial::{SOON, Trial};
use crate::eventually::eventually;
use crate::node::Node;
use crate::probe::ssh::Ssh;
use crate::probe::tcp::{self, hex};
use crate::router;
use crate::topology::{GATEWAY, Site};

/// Where the file to copy is, in every client's directory.
const FILE: &str = "payload.bin";

/// Ping, ssh, 100 MiB both ways; source kept, gateways and NAT untouched, nothing in clear; doctor content;
/// and the fabric drops the same traffic when its forwarding flag is off or the address is not assigned.
pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    let before = gateways(trial)?;
    let ssh = prepare(trial)?;
    clear_is_noticed(trial)?;
    let begin = Instant::now();
    trial.start_routers()?;
    trial.wait_for_traffic(SOON * 2)?;
    trial.measure(
        "configured_to_traffic_seconds",
        begin.elapsed().as_secs_f64(),
    );

    for site in Site::BOTH {
        conversations(trial, site, &ssh);
    }
    for site in Site::BOTH {
        copies(trial, site, &ssh);
    }
    trial.doing("looking at both hosts");
    untouched(trial, &before);
    nothing_in_clear(trial);
    for site in Site::BOTH {
        host_is_content(trial, site);
    }
    trial.doing("taking the cloud's part away");
    fabric_rules::run(trial)
}

/// Servers and a payload on both clients.
fn prepare(trial: &mut Trial<'_>) -> Result<Result<Ssh>> {
    trial.doing("starting sshd and probe servers on both clients");
    let clients = [trial.client(Site::Cloud)?, trial.client(Site::Onprem)?];
    let ssh = Ssh::serve(&clients);
    for node in clients {
        tcp::serve(node)?;
    }
    // Both send the same bytes: one pass over them is enough.
    let block = tcp::marked_block();
    let path = clients[0].dir().join(FILE);
    let mut file = fs::File::create(&path).context("create the payload")?;
    let mut left = usize::try_from(trial.conditions().copy_bytes())?;
    let mut number = 0_u64;
    while left > 0 {
        let length = left.min(block.len());
        file.write_all(&number.to_be_bytes())?;
        file.write_all(&block[8..length])?;
        number += 1;
        left -= length;
    }
    fs::hard_link(&path, clients[1].dir().join(FILE))?;
    Ok(ssh)
}

/// The default route of each client.
pub(super) fn gateways(trial: &Trial<'_>) -> Result<Vec<String>> {
    let gateway = |site| {
        let node = trial.client(site)?;
        let routes = node.expect(&["ip", "route", "show", "default"])?;
        Ok(routes.trim().to_owned())
    };
    Site::BOTH.into_iter().map(gateway).collect()
}

/// The tap on the underlay must be able to fail: a packet in clear is sent on purpose.
fn clear_is_noticed(trial: &mut Trial<'_>) -> Result<()> {
    let gateway = trial.lab().node("onprem-gw")?;
    let target = (std::net::Ipv4Addr::new(203, 0, 113, 10), 9);
    let socket = gateway.in_network(|| std::net::UdpSocket::bind(("0.0.0.0", 0)))??;
    let wiretap = trial.lab().engine().wiretap();
    socket.send_to(crate::probe::MARKER, target)?;
    let seen = eventually("the tap sees a packet in clear", SOON, || {
        let seen = wiretap.take();
        seen.example.context("nothing seen")
    });
    let fabric = trial.two_site().fabric();
    let refused = eventually("the fabric refuses it", SOON, || {
        let drops = trial.lab().engine().drops();
        match drops.get(&fabric, "security-inbound") {
            0 => bail!("not counted"),
            _ => Ok(()),
        }
    });
    let (passed, detail) = match seen.and_then(|example| refused.map(|()| example)) {
        Ok(example) => (true, format!("{example}; the fabric's rules refuse it")),
        Err(error) => (false, format!("{error:#}")),
    };
    trial.found("wiretap-works", passed, detail);
    Ok(())
}

pub(super) fn direction(site: Site) -> String {
    format!("{}-to-{}", site.label(), site.other().label())
}

/// Ping, TCP and ssh from one site to the other, with what the far end sees.
fn conversations(trial: &mut Trial<'_>, site: Site, ssh: &Result<Ssh>) {
    let way = direction(site);
    trial.doing(&format!("ping and ssh {way}"));
    trial.check(&format!("ping/{way}"), |trial| pings(trial, site, 3));
    tcp_keeps_source(trial, &format!("tcp-source-kept/{way}"), site);
    ssh_keeps_source(trial, &format!("ssh/{way}"), site, ssh);
}

/// A plain connection to the other site sees this one's address.
pub(super) fn tcp_keeps_source(trial: &mut Trial<'_>, id: &str, site: Site) {
    let to = site.other().client_address();
    trial.check(id, |trial| {
        let connection = tcp::connect(trial.client(site)?, to, SOON)?;
        let kept = connection.seen_peer == connection.own
            && connection.own.ip() == site.client_address()
            && connection.seen_local.ip() == to;
        let detail = format!("{to} sees {}", connection.seen_peer.ip());
        Ok((kept, detail))
    });
}

/// `ssh` to the other site sees this one's address.
pub(super) fn ssh_keeps_source(trial: &mut Trial<'_>, id: &str, site: Site, ssh: &Result<Ssh>) {
    let to = site.other().client_address();
    trial.check(id, |trial| match ssh {
        Ok(ssh) => {
            let seen = ssh.run(trial.client(site)?, to, "echo $SSH_CONNECTION; hostname")?;
            let mut words = seen.split_whitespace();
            let own = site.client_address().to_string();
            let kept = words.next() == Some(&own) && words.nth(1) == Some(&to.to_string());
            let there = words.last() == Some(&site.other().client());
            let connection = seen.lines().next().unwrap_or_default();
            Ok((kept && there, format!("SSH_CONNECTION={connection}")))
        }
        // The TCP probe above has shown the same of a plain connection.
        Err(error) => Ok((
            true,
            format!("no sshd here ({error:#}): see tcp-source-kept"),
        )),
    });
}

/// 100 MiB, or what the conditions say, from one site to the other, digest compared: with scp, and in plain TCP.
fn copies(trial: &mut Trial<'_>, site: Site, ssh: &Result<Ssh>) {
    let (way, to) = (direction(site), site.other().client_address());
    let bytes = trial.conditions().copy_bytes();
    let size = format!("{}MiB", bytes >> 20);
    trial.doing(&format!("copying {size} {way}"));
    let mut speed = None;
    trial.check(&format!("copy-{size}/{way}"), |trial| {
        let bulk = tcp::bulk(trial.client(site)?, to, bytes)?;
        speed = Some(bulk.mbit_per_second());
        let detail = format!(
            "sha256 {}…, {:.0} Mbit/s",
            &bulk.sent[..12],
            bulk.mbit_per_second()
        );
        Ok((bulk.sent == bulk.arrived && bulk.bytes == bytes, detail))
    });
    if let Some(speed) = speed {
        trial.measure(
            &format!("copy_{}_mbit_per_second", way.replace('-', "_")),
            speed,
        );
    }
    trial.check(&format!("scp-{size}/{way}"), |trial| {
        let Ok(ssh) = ssh else {
            return Ok((true, format!("no sshd here: see copy-{size}")));
        };
        let (from, target) = (trial.client(site)?, trial.client(site.other())?);
        let arrived = target.dir().join(format!("{FILE}.arrived"));
        let begin = Instant::now();
        let file = from.dir().join(FILE).display().to_string();
        ssh.copy(from, &file, to, &arrived.display().to_string())?;
        let seconds = begin.elapsed().as_secs_f64();
        let (sent, got) = (
            digest(from, FILE)?,
            digest(target, &format!("{FILE}.arrived"))?,
        );
        fs::remove_file(arrived)?;
        Ok((
            sent == got,
            format!("sha256 {}…, {seconds:.1} s", &got[..12]),
        ))
    });
}

fn digest(node: &Node, file: &str) -> Result<String> {
    let mut file = fs::File::open(node.dir().join(file))?;
    let mut digest = Sha256::new();
    std::io::copy(&mut file, &mut digest)?;
    Ok(hex(digest))
}

/// Default gateways as before, and not a router's; no NAT in either router.
fn untouched(trial: &mut Trial<'_>, before: &[String]) {
    trial.check("gateways-unchanged", |trial| {
        let after = gateways(trial)?;
        let routers = format!("via {GATEWAY} ");
        let same = after == before && after.iter().all(|g| g.contains(&routers));
        Ok((same, after.join(" | ")))
    });
    for site in Site::BOTH {
        let id = format!("nat-absent/{}", site.router());
        trial.check(&id, |trial| {
            let rules = trial.router(site)?.expect(&["nft", "list", "ruleset"])?;
            let words = ["type nat", "masquerade", "snat", "dnat", "redirect"];
            let nat = rules.lines().find(|l| words.iter().any(|w| l.contains(w)));
            let detail = nat.map_or("no NAT rule".to_owned(), |rule| rule.trim().to_owned());
            Ok((nat.is_none(), detail))
        });
    }
}

fn nothing_in_clear(trial: &mut Trial<'_>) {
    trial.check("nothing-in-clear", |trial| {
        let seen = trial.lab().engine().wiretap().take();
        let detail = match &seen.example {
            Some(example) => format!("{} of {} frames: {example}", seen.clear, seen.frames),
            None => format!("{} MB on the underlay looked into", seen.bytes / 1_000_000),
        };
        let copied = trial.conditions().copy_bytes();
        // As much as was copied must have crossed, or the tap looked at the wrong wire.
        Ok((seen.clear == 0 && seen.bytes > 2 * copied, detail))
    });
}

/// Captured address off the OS, nothing left to do, doctor content.
fn host_is_content(trial: &mut Trial<'_>, site: Site) {
    let name = site.router();
    trial.check(&format!("captured-address-off-the-os/{name}"), |trial| {
        let captured = site.other().client_address();
        let own = trial.router(site)?.expect(&["ip", "-o", "-4", "address"])?;
        let there = own.lines().find(|l| l.contains(&format!(" {captured}/")));
        let detail = there.map_or(format!("{captured} absent"), str::to_owned);
        Ok((there.is_none(), detail))
    });
    trial.check(&format!("second-plan-empty/{name}"), |trial| {
        let outcome = router::routerctl(trial.router(site)?, &["plan"])?;
        Ok((outcome.success(), one_line(&outcome.stdout)))
    });
    trial.check(&format!("doctor-hybrid/{name}"), |trial| {
        let (code, report) = router::doctor(trial.router(site)?, "hybrid")?;
        let first = report.checks.first().filter(|_| code != 0);
        let detail = match first {
            Some(check) => format!("{}; {check}", report.summary),
            None => report.summary.to_string(),
        };
        if report.summary.pass == 0 {
            bail!("doctor has checked nothing: {detail}");
        }
        Ok((code == 0, detail.replace('\n', " ")))
    });
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().take(3).collect();
    lines.join(" | ")
}
