//! How the speaker stands: for the control API, and for the status of its resources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use api::ResourceId;
use api::status::{Phase, ResourceStatus};
use bgp::{Event, FamilyView, PeerView, SessionState};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::effective::BgpIntent;

/// How the speaker stands, for the control API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerView {
    /// Its peers.
    pub peers: Vec<PeerView>,
    /// Seconds since each peer's state began, in the order of the peers.
    pub since: Vec<u64>,
    /// Routes in the kernel.
    pub installed: usize,
    /// Changes of them since the start.
    pub changes: u64,
    /// Routes that the kernel refused, and why; the first ones.
    pub refused: BTreeMap<Ipv4Net, String>,
    /// Next hops of best paths, and how packets get there; absent: not at all.
    pub next_hops: BTreeMap<Ipv4Addr, Option<String>>,
    /// What keeps the speaker from its work, by peer, range or socket.
    pub problems: BTreeMap<String, String>,
    /// Watched paths.
    pub bfd: Vec<BfdView>,
    /// How early BFD runs on this host, and what was refused to it.
    pub bfd_scheduling: Option<String>,
    /// Who is told what peers say.
    pub monitoring: MonitoringView,
}

/// Who is told what peers say, and how far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringView {
    /// BMP stations.
    pub stations: BTreeMap<SocketAddr, SinkView>,
    /// MRT files, by their directory.
    pub archives: BTreeMap<PathBuf, SinkView>,
}

/// Somebody who is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkView {
    /// Whether it is told now: a station that is connected, files that are written.
    pub open: bool,
    /// Octets written.
    pub written: u64,
    /// Octets that wait.
    pub waiting: usize,
    /// How often it was so slow that it had to be told anew, or missed something.
    pub overruns: u64,
    /// What last went wrong.
    pub error: Option<String>,
}

/// A watched path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdView {
    /// The peer.
    pub peer: IpAddr,
    /// `single-hop` or `multihop`.
    pub scope: String,
    /// Our state.
    pub state: String,
    /// The peer's state.
    pub remote_state: String,
    /// Why it last left `up`.
    pub diagnostic: String,
    /// The time between two packets of ours.
    pub interval: Option<Duration>,
    /// How long nothing is heard before the path is down.
    pub detection_time: Duration,
    /// How many times longer than asked for the intervals are, after false alarms.
    pub patience: u32,
    /// How often the peer was declared dead and was not.
    pub false_alarms: u32,
    /// Whether the peer's BFD goes on while its speaker restarts, by its own word.
    pub remote_independent: bool,
    /// Why it does not run.
    pub failure: Option<String>,
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatedEvent {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// What happened.
    pub event: Event,
}

/// What happened of late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// The number to ask for next time.
    pub next: u64,
    /// Oldest first.
    pub events: Vec<DatedEvent>,
}

/// Adds to the status of the speaker's resources what they became.
pub fn report(intent: &BgpIntent, view: &SpeakerView, statuses: &mut [ResourceStatus]) {
    for status in statuses {
        match status.id.kind.as_str() {
            "BGPRouter" if status.id == intent.owner => report_router(intent, view, status),
            "BGPPeer" => report_peers(intent, view, status),
            "BGPDynamicPeer" => report_range(view, status),
            "BFD" => report_watch(intent, view, status),
            _ => {}
        }
    }
}

fn degrade(status: &mut ResourceStatus, why: String) {
    status.message = why;
    status.phase = Phase::Degraded;
}

fn report_router(intent: &BgpIntent, view: &SpeakerView, status: &mut ResourceStatus) {
    let up = view.peers.iter().filter(|peer| is_up(peer)).count();
    let facts = [
        ("peers", json!(view.peers.len())),
        ("established", json!(up)),
        ("installedRoutes", json!(view.installed)),
        ("routeChanges", json!(view.changes)),
    ];
    status
        .facts
        .extend(facts.map(|(name, fact)| (name.to_owned(), fact)));
    if let Some(scheduling) = &view.bfd_scheduling {
        let scheduling = json!(scheduling);
        status.facts.insert("bfdScheduling".to_owned(), scheduling);
    }
    status.message = format!(
        "AS {}, {up} of {} sessions up, {} routes installed",
        intent.speaker.asn,
        view.peers.len(),
        view.installed
    );
    let refused = view.refused.iter().next();
    if let Some((what, why)) = view.problems.iter().next() {
        degrade(status, format!("{what}: {why}"));
    } else if let Some((prefix, why)) = refused {
        degrade(status, format!("{prefix}: {why}"));
    }
}

fn is_up(peer: &PeerView) -> bool {
    peer.state == SessionState::Established
}

fn report_peers(intent: &BgpIntent, view: &SpeakerView, status: &mut ResourceStatus) {
    let own = intent.peers.iter();
    let own: BTreeSet<IpAddr> = own
        .filter(|(_, transport)| transport.owner == status.id)
        .map(|(address, _)| *address)
        .collect();
    let peers: Vec<&PeerView> = view
        .peers
        .iter()
        .filter(|p| own.contains(&p.address))
        .collect();
    let facts = peers.iter().map(|peer| facts_of(peer)).collect();
    status.facts.insert("peers".to_owned(), Value::Array(facts));
    let down = peers.iter().find(|peer| !is_up(peer));
    let problem = own
        .iter()
        .find_map(|peer| view.problems.get(&peer.to_string()));
    if let Some(problem) = problem {
        degrade(status, problem.clone());
    } else if let Some(peer) = down {
        let why = peer.last_error.as_ref();
        let why = why.map_or_else(String::new, |error| format!(": {error}"));
        degrade(status, format!("{} is {}{why}", peer.address, peer.state));
    } else {
        let routes: u32 = peers.iter().map(|peer| accepted(peer)).sum();
        status.message = format!("{} sessions up, {routes} routes accepted", peers.len());
    }
}

fn accepted(peer: &PeerView) -> u32 {
    peer.families.values().map(|family| family.accepted).sum()
}

fn facts_of(peer: &PeerView) -> Value {
    let reasons = |family: &FamilyView| -> BTreeMap<String, u64> {
        let reasons = family.reasons.iter();
        reasons
            .map(|(reason, count)| (reason.to_string(), *count))
            .collect()
    };
    let reasons: Vec<_> = peer.families.values().map(reasons).collect();
    json!({
        "address": peer.address,
        "state": peer.state.to_string(),
        "enrollmentClaimRef": peer.claim,
        "accepted": accepted(peer),
        "rejected": peer.families.values().map(|family| family.rejected).sum::<u32>(),
        "reasons": reasons.into_iter().flatten().collect::<BTreeMap<_, _>>(),
    })
}

fn report_range(view: &SpeakerView, status: &mut ResourceStatus) {
    let name = Some(&status.id.name);
    let peers = view.peers.iter().filter(|peer| peer.range.as_ref() == name);
    let peers: Vec<&PeerView> = peers.collect();
    let facts = peers.iter().map(|peer| facts_of(peer)).collect();
    status
        .facts
        .insert("discoveredPeers".to_owned(), Value::Array(facts));
    let up = peers.iter().filter(|peer| is_up(peer)).count();
    status.message = format!("{up} of {} discovered peers up", peers.len());
    if let Some(problem) = view.problems.get(&status.id.name) {
        degrade(status, problem.clone());
    }
}

fn report_watch(intent: &BgpIntent, view: &SpeakerView, status: &mut ResourceStatus) {
    let watches = |id: &ResourceId, peer: &IpAddr| {
        let transport = intent.peers.get(peer);
        let bfd = transport.and_then(|transport| transport.bfd.as_ref());
        bfd.is_some_and(|bfd| bfd.owner == *id)
    };
    let own = view
        .bfd
        .iter()
        .filter(|session| watches(&status.id, &session.peer));
    let own: Vec<&BfdView> = own.collect();
    let down = own.iter().find(|session| session.state != "up");
    if let Some(session) = down {
        let why = session.failure.as_ref().unwrap_or(&session.diagnostic);
        let why = format!("{} is {}: {why}", session.peer, session.state);
        degrade(status, why);
    } else {
        status.message = format!("{} paths up", own.len());
    }
    if let Some(scheduling) = &view.bfd_scheduling {
        let scheduling = json!(scheduling);
        status.facts.insert("scheduling".to_owned(), scheduling);
    }
    let facts = own.iter().map(|session| json!(session)).collect();
    status
        .facts
        .insert("sessions".to_owned(), Value::Array(facts));
}
