//! A session with every peer, or what is in its way.

use std::net::{IpAddr, Ipv4Addr};

use bgp::{DownReason, Notice, PeerView, SessionState};

use super::bgp;
use crate::doctor::findings::{Entry, Findings, Tally, Thing};
use crate::doctor::scene::Scene;
use crate::effective::{BgpIntent, RouteTarget, Transport};

pub(super) const CHECK: Entry = bgp("bgp-session", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let (Some(intent), Some(view)) = (&scene.effective.bgp, &scene.runtime.speaker) else {
        return;
    };
    let mut tally = Tally::default();
    for (peer, since) in view.peers.iter().zip(&view.since) {
        let transport = intent.peers.get(&peer.address);
        let range = || peer.range.as_ref().and_then(|name| intent.ranges.get(name));
        let Some(transport) = transport.or_else(range) else {
            continue;
        };
        let subject = format!("{} {}", transport.owner, peer.address);
        if peer.state == SessionState::Established {
            tally.pass(subject, format!("up for {since} s"));
            continue;
        }
        let excused = findings.is_broken(&Thing::Peer(peer.address))
            || is_behind_broken_tunnel(peer.address, scene, findings);
        findings.breaks(Thing::Peer(peer.address));
        if excused {
            continue;
        }
        let obstacle = obstacle(peer, transport, intent, findings);
        let detail = format!("{} for {since} s: {}", peer.state, obstacle.what);
        if obstacle.wanted {
            findings.warn(subject, detail, obstacle.remedy);
        } else {
            tally.fail(findings, subject, detail, obstacle.remedy);
        }
    }
    tally.finish(findings, &intent.owner);
}

/// Whether the way to a peer leads into a tunnel that a check above found broken.
fn is_behind_broken_tunnel(peer: IpAddr, scene: &Scene<'_>, findings: &Findings) -> bool {
    let IpAddr::V4(peer) = peer else {
        return false;
    };
    let best = scene.covering(Ipv4Addr::into(peer)).into_iter().next();
    let Some(RouteTarget::Unicast {
        device: Some(device),
        ..
    }) = best.map(|route| &route.target)
    else {
        return false;
    };
    findings.is_link_broken(device) || findings.is_broken(&Thing::Sessions(device.clone()))
}

/// What is in the way of a session.
struct Obstacle {
    what: String,
    remedy: String,
    /// Somebody wants it to be down.
    wanted: bool,
}

impl Obstacle {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            wanted: false,
        }
    }

    fn wanted(self) -> Self {
        Self {
            wanted: true,
            ..self
        }
    }
}

fn obstacle(
    peer: &PeerView,
    transport: &Transport,
    intent: &BgpIntent,
    findings: &Findings,
) -> Obstacle {
    let address = peer.address;
    let passive = intent.speaker.peers.get(&address).is_none_or(|p| p.passive);
    match &peer.last_error {
        Some(DownReason::Sent(notice)) => refused_by_us(peer, notice, intent),
        Some(DownReason::Received(notice)) => refused_by_peer(peer, notice, intent),
        Some(DownReason::BfdDown) => Obstacle::new(
            "BFD saw the path fail",
            format!("ping -c 3 {address}; routerctl get bgp bfd"),
        ),
        Some(DownReason::SendHoldTimer) => Obstacle::new(
            "it took nothing for so long that the session was ended",
            "systemctl status    # of the peer's speaker: it hangs, or its host is out of memory",
        ),
        Some(DownReason::ConnectFailed(why)) if !why.contains("timed out") => {
            let remedy = if why.contains("refused") {
                format!("nc -vz {address} 179    # does its speaker run, and listen there?")
            } else {
                format!("ip route get {address}")
            };
            Obstacle::new(format!("connect: {why}"), remedy)
        }
        _ if peer.shutdown => {
            Obstacle::new("it is shut down by an operator", "routerctl get BGPPeer").wanted()
        }
        // The kernel drops what lacks the right signature: to either side it looks as if the other were not there.
        error if transport.password.is_some() => Obstacle::new(
            format!(
                "{}; segments without the right TCP MD5 password are dropped without a word",
                words(error.as_ref(), passive)
            ),
            "nstat -az TcpExtTCPMD5NotFound TcpExtTCPMD5Unexpected TcpExtTCPMD5Failure",
        ),
        error if passive && findings.is_broken(&Thing::Listener) => {
            let what = words(error.as_ref(), passive);
            Obstacle::new(what, "routerctl doctor bgp    # nobody can connect")
        }
        error => Obstacle::new(
            words(error.as_ref(), passive),
            format!("tcpdump -c 5 -ni any host {address} and tcp port 179"),
        ),
    }
}

fn words(error: Option<&DownReason>, passive: bool) -> String {
    match error {
        Some(error) => error.to_string(),
        None if passive => {
            "it never connected, and this side only waits (`passiveMode`)".to_owned()
        }
        None => "it does not answer".to_owned(),
    }
}

/// What both sides have to agree on.
const COMPARE: &str =
    "routerctl describe BGPRouter    # asn, routerID and timers, against the peer's";

fn refused_by_us(peer: &PeerView, notice: &Notice, intent: &BgpIntent) -> Obstacle {
    match (notice.code, notice.subcode) {
        (2, 2) => Obstacle::new(
            format!("it is not in AS {}, as `peerASN` has it", peer.asn),
            COMPARE,
        ),
        (2, 3) => Obstacle::new(
            format!("it has our router id {}", intent.speaker.router_id),
            COMPARE,
        ),
        (2, 7) => Obstacle::new(
            "it speaks none of the address families wanted here",
            COMPARE,
        ),
        (4, _) => Obstacle::new(
            "it was silent for longer than the hold time",
            format!("ping -c 3 {}", peer.address),
        ),
        (6, 1) => Obstacle::new(
            "it announced more routes than `maxPrefixes` lets it",
            "routerctl get bgp events    # raise `maxPrefixes`, or have it announce less",
        ),
        (6, 2..=4) => Obstacle::new(format!("sent {notice}"), "routerctl get BGPPeer").wanted(),
        _ => Obstacle::new(format!("sent {notice}"), "routerctl get bgp events"),
    }
}

fn refused_by_peer(peer: &PeerView, notice: &Notice, intent: &BgpIntent) -> Obstacle {
    let what = match (notice.code, notice.subcode) {
        (2, 2) => format!("it does not expect AS {} here", intent.speaker.asn),
        (2, 3) => format!("it has our router id {}", intent.speaker.router_id),
        (2, 6) => "it does not take our hold time".to_owned(),
        (2, 7) => "it speaks none of the address families wanted here".to_owned(),
        (4, _) => "it did not hear us for its hold time".to_owned(),
        (6, 1) => "we announced more routes than it takes".to_owned(),
        (6, 2) => {
            let what = format!("its operator shut it down ({notice})");
            return Obstacle::new(what, "routerctl get bgp events").wanted();
        }
        (6, 3 | 5) => format!("it knows no peer of our address ({notice})"),
        (6, 10) => "its BFD saw the path fail".to_owned(),
        _ => format!("received {notice}"),
    };
    let remedy = match notice.code {
        2 => COMPARE.to_owned(),
        4 => format!("ping -c 3 {}", peer.address),
        _ => "routerctl get bgp events".to_owned(),
    };
    Obstacle::new(what, remedy)
}
