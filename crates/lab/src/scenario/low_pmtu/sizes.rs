//! What passes to the byte, what senders hear of one byte more, and what both routers say of it.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::doctor::CheckStatus;

use crate::config::{self, Carrier};
use crate::eventually::eventually;
use crate::node::{Node, SHORT};
use crate::process::Outcome;
use crate::router;
use crate::scenario::trial::{SOON, Trial};
use crate::topology::Site;

/// IPv4 and ICMP or UDP headers.
const HEADERS: u32 = 28;
/// Where datagrams are sent to.
const PORT: u16 = 7009;

pub(in crate::scenario) fn way(site: Site) -> String {
    format!("{}-to-{}", site.label(), site.other().label())
}

/// The largest packet that forbids fragments and passes, what the sender of one byte more hears, for echo requests
/// and for datagrams; and what the routers say.
pub(super) fn exact(trial: &mut Trial<'_>, carrier: Carrier, underlay: u16) {
    let fits = u32::from(underlay) - carrier.overhead();
    trial.doing(&format!("{carrier} over {underlay}: {fits} fit"));
    for site in Site::BOTH {
        trial.check(
            &format!("exact-{carrier}-{underlay}/{}", way(site)),
            |trial| {
                let node = trial.client(site)?;
                let to = site.other().client_address();
                let router = trial.two_site().lan_address(site);
                let look = || limit(node, to, fits, router);
                Ok((true, eventually("the limit is right", SOON * 2, look)?))
            },
        );
        trial.check(
            &format!("udp-{carrier}-{underlay}/{}", way(site)),
            |trial| {
                let to = site.other().client_address();
                let (from, at) = (trial.client(site)?, trial.client(site.other())?);
                datagrams(from, at, to, fits)
            },
        );
    }
    measured(trial, carrier, underlay, "status");
}

/// Both routers know the number, and their doctors are content with it.
pub(super) fn measured(trial: &mut Trial<'_>, carrier: Carrier, underlay: u16, what: &str) {
    let fits = u32::from(underlay) - carrier.overhead();
    for site in Site::BOTH {
        let id = format!("{what}-{carrier}-{underlay}/{}", site.router());
        trial.check(&id, |trial| {
            let node = trial.router(site)?;
            let expected = fits.to_string();
            let found = eventually("the path is measured", SOON * 2, || {
                let peer = config::peer_name(site);
                let fact = |name| router::fact_now(node, "OverlayPeer", &peer, name);
                let (tunnel, path) = (fact("tunnelMTU")?, fact("pathMTU")?);
                if tunnel != expected || path != expected {
                    bail!("tunnelMTU {tunnel}, pathMTU {path}");
                }
                Ok(format!("tunnelMTU {tunnel}, pathMTU {path}"))
            })?;
            let said = doctor(node, carrier)?;
            Ok((true, format!("{found}; doctor: {said}")))
        });
    }
}

fn doctor(node: &Node, carrier: Carrier) -> Result<String> {
    let (kind, name) = carrier.device();
    let subject = format!("{kind}/{name}");
    let (_, report) = router::doctor(node, "hybrid")?;
    let mut checks = report.checks.iter();
    let check = checks.find(|c| c.code == "path-mtu" && c.subject == subject);
    let check = check.with_context(|| format!("doctor says nothing of {subject}"))?;
    if check.status != CheckStatus::Pass {
        bail!("doctor: {}", check.detail);
    }
    Ok(check.detail.clone())
}

/// An echo request that forbids fragments.
pub(super) fn ping(from: &Node, to: Ipv4Addr, size: u32) -> Result<Outcome> {
    let (size, to) = ((size - HEADERS).to_string(), to.to_string());
    let argv = [
        "ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", &size, &to,
    ];
    from.run(&argv, SHORT)
}

/// Whether `fits` bytes pass whole and one more does not; says what the sender heard of that, which has to come from the
/// router's address in the sender's own network.
fn limit(from: &Node, to: Ipv4Addr, fits: u32, router: Ipv4Addr) -> Result<String> {
    from.expect(&["ip", "route", "flush", "cache"])?;
    let whole = ping(from, to, fits)?;
    if !whole.success() {
        bail!("{fits} bytes do not pass: {}", whole.complaint());
    }
    let more = ping(from, to, fits + 1)?;
    let said = format!("{}{}", more.stdout, more.stderr);
    let errors = said.lines().find(|line| line.contains("mtu"));
    let error = errors.with_context(|| format!("{} bytes: {}", fits + 1, more.complaint()))?;
    let from_router = error.starts_with(&format!("From {router} "));
    let named = error.trim_end().trim_end_matches(')');
    let named = named.ends_with(&format!("mtu = {fits}"));
    if more.success() || !from_router || !named {
        bail!("{} bytes: {}", fits + 1, error.trim());
    }
    Ok(format!("{fits} pass; {}: {}", fits + 1, error.trim()))
}

/// A datagram that is one byte too large: the first is lost, its sender hears why, the next ones come in fragments.
fn datagrams(from: &Node, at: &Node, to: Ipv4Addr, fits: u32) -> Result<(bool, String)> {
    let receiver = at.in_network(|| UdpSocket::bind((to, PORT)))??;
    receiver.set_read_timeout(Some(Duration::from_millis(100)))?;
    let sender = from.in_network(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    from.expect(&["ip", "route", "flush", "cache"])?;
    sender.connect((to, PORT))?;
    let datagram = vec![0x55; (fits + 1 - HEADERS) as usize];
    let mut buffer = vec![0; 65_536];
    let (address, mtu) = (to.to_string(), format!("mtu {fits} "));
    let mut sent = 0;
    let arrived = eventually("a datagram arrives in fragments", SOON, || {
        sent += 1;
        // An ICMP error about the one before may be reported here.
        drop(sender.send(&datagram));
        let arrived = receiver.recv(&mut buffer)?;
        let known = from.expect(&["ip", "route", "get", &address])?;
        if !known.contains(&mtu) {
            bail!("{arrived} bytes arrived; the sender knows {}", known.trim());
        }
        Ok(arrived)
    })?;
    let detail = format!("{arrived} bytes arrive, the {sent}. datagram; the sender knows {mtu}");
    Ok((arrived == datagram.len(), detail))
}
