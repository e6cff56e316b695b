//! What a speaker shows of itself: peers, RIBs, and why a path is best.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attr::PathAttributes;
use crate::io::DownReason;
use crate::types::{Asn, Family, Prefix, RouterId, Time};

/// The state of a session (RFC 4271, section 8.2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// Shut down, or waiting after an error.
    #[default]
    Idle,
    /// A connection is being opened.
    Connect,
    /// Waiting for a connection.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received and accepted.
    OpenConfirm,
    /// Up.
    Established,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// A peer as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its address.
    pub address: IpAddr,
    /// Our address towards it, while there is a connection.
    pub local: Option<IpAddr>,
    /// Its system as configured.
    pub asn: Asn,
    /// Its identifier, while there is a session.
    pub router_id: Option<RouterId>,
    /// The range that it came from.
    pub range: Option<String>,
    /// What admitted it.
    pub claim: Option<String>,
    /// The state of the session.
    pub state: SessionState,
    /// Since when.
    pub since: Time,
    /// Negotiated hold time.
    pub hold: Option<Duration>,
    /// What was negotiated, in words.
    pub capabilities: Vec<String>,
    /// Why the last session ended.
    pub last_error: Option<DownReason>,
    /// Whether it is shut down by an operator or the configuration.
    pub shutdown: bool,
    /// BFD, where wanted: whether it is up.
    pub bfd: Option<bool>,
    /// Counters.
    pub counters: Counters,
    /// Counts of routes by family.
    pub families: BTreeMap<Family, FamilyView>,
}

/// What went over all sessions with a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Sessions that came up.
    pub established: u64,
    /// Messages received.
    pub messages_in: u64,
    /// UPDATEs received.
    pub updates_in: u64,
    /// ROUTE-REFRESHes received, borders included (RFC 7313).
    pub refreshes_in: u64,
    /// NOTIFICATIONs received.
    pub notifications_in: u64,
    /// NOTIFICATIONs sent.
    pub notifications_out: u64,
    /// Octets received.
    pub octets_in: u64,
    /// Octets sent.
    pub octets_out: u64,
    /// UPDATEs that RFC 7606 treats as withdrawals.
    pub treated_as_withdraw: u64,
    /// Attributes discarded by RFC 7606.
    pub attributes_discarded: u64,
    /// Octets handed to the shell and not yet taken by the system.
    pub queued: u64,
}

/// The routes of one family of a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyView {
    /// Paths accepted now.
    pub accepted: u32,
    /// Paths refused now, among those kept.
    pub rejected: u32,
    /// Paths kept by graceful restart.
    pub stale: u32,
    /// Routes refused since the peer is known, by reason.
    pub reasons: BTreeMap<RejectReason, u64>,
    /// Whether the peer has told all its routes.
    pub end_of_rib: bool,
    /// Whether the peer has been told all routes.
    pub in_sync: bool,
}

/// Why a route was refused.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(rename_all = "kebab-case")]
pub enum RejectReason {
    /// Not in the allow-list of the policy.
    #[error("prefix not allowed")]
    PrefixNotAllowed,
    /// Not in the allow-list of the peer's claim.
    #[error("prefix not in the claim")]
    NotClaimed,
    /// Shorter or longer than the policy has it.
    #[error("prefix length")]
    PrefixLength,
    /// A required community is missing.
    #[error("required community missing")]
    CommunityMissing,
    /// It carries a forbidden one.
    #[error("forbidden community")]
    CommunityForbidden,
    /// The next hop is not the one that the claim names.
    #[error("next hop not the peer's own")]
    NextHopNotAllowed,
    /// The next hop is ours, or no unicast address.
    #[error("next hop unusable")]
    NextHopUnusable,
    /// Our system is in its AS_PATH.
    #[error("AS loop")]
    AsLoop,
    /// We are its originator (RFC 4456).
    #[error("own originator id")]
    OriginatorLoop,
    /// Our cluster is in its CLUSTER_LIST (RFC 4456).
    #[error("cluster loop")]
    ClusterLoop,
    /// An external peer's AS_PATH does not begin with its own system.
    #[error("first AS not the peer's")]
    FirstAs,
    /// The prefix is no unicast destination: multicast, loopback, or the unspecified host.
    #[error("prefix unusable")]
    PrefixUnusable,
}

/// Which table is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// Every path, of every peer or of one, after import policy.
    In,
    /// Refused paths.
    Rejected,
    /// Best paths.
    Best,
    /// What one peer has been sent.
    Out,
}

/// A question about routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteQuery {
    /// The table.
    pub table: Table,
    /// Of one peer; [`Table::Out`] needs it.
    pub peer: Option<IpAddr>,
    /// Of one prefix only.
    pub prefix: Option<Prefix>,
    /// At most so many.
    pub limit: usize,
    /// Only prefixes after this one: the next page.
    pub after: Option<Prefix>,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// Where to.
    pub prefix: Prefix,
    /// Who told it; none: our own.
    pub peer: Option<IpAddr>,
    /// Its identifier under ADD-PATH.
    pub path_id: Option<u32>,
    /// Its attributes.
    pub attributes: PathAttributes,
    /// Whether it is best.
    pub best: bool,
    /// Whether it is kept only by graceful restart.
    pub stale: bool,
    /// Whether its next hop is reachable.
    pub reachable: bool,
    /// Why it was refused.
    pub rejected: Option<RejectReason>,
}

/// A host that two announce with nothing to rank them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rivals {
    /// The host.
    pub prefix: Prefix,
    /// Where the best path and the next one lead.
    pub next_hops: [IpAddr; 2],
}

/// Why one path of a prefix is best and the others are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Where to.
    pub prefix: Prefix,
    /// Every path, the best first.
    pub paths: Vec<ExplainedPath>,
}

/// A path with what decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPath {
    /// The path.
    pub route: RouteView,
    /// What decided, in words.
    pub verdict: String,
}
