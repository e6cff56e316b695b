//! What a speaker is told to be: values only, checked by whoever made them.

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use policy::{CommunityPolicy, LengthRange, NextHopRewrite, Policy, PrefixList};

use crate::types::{Asn, Family, Prefix, RouterId};

/// The whole speaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeakerConfig {
    /// Our autonomous system.
    pub asn: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// Our cluster as a reflector [the router id].
    pub cluster_id: Option<RouterId>,
    /// Peers by address.
    pub peers: BTreeMap<IpAddr, PeerConfig>,
    /// Peers that may come from a range of addresses; the first that matches is used.
    pub dynamic: Vec<DynamicPeerConfig>,
    /// Compare MED between different neighbouring systems as well (RFC 4271, 9.1.2.2 c).
    pub always_compare_med: bool,
    /// Next hops that a route for the FIB may have at once (ECMP) [1].
    pub max_next_hops: u8,
    /// Whether best paths are handed out for the FIB ([`crate::Output::Routes`]).
    pub fib: bool,
    /// What a next hop is until the shell says otherwise.
    pub next_hops: NextHopTracking,
    /// Whether UPDATEs are mirrored for BMP ([`crate::Output::Monitored`]).
    pub monitored: bool,
    /// Refused routes kept visible per peer and family; beyond it they are only counted.
    pub rejected_kept: u32,
}

impl SpeakerConfig {
    /// A speaker without peers.
    #[must_use]
    pub fn new(asn: Asn, router_id: RouterId) -> Self {
        Self {
            asn,
            router_id,
            cluster_id: None,
            peers: BTreeMap::new(),
            dynamic: Vec::new(),
            always_compare_med: false,
            max_next_hops: 1,
            fib: true,
            next_hops: NextHopTracking::AssumeReachable,
            monitored: false,
            rejected_kept: 10_000,
        }
    }

    /// The cluster that is written into reflected routes.
    #[must_use]
    pub fn cluster(&self) -> RouterId {
        self.cluster_id.unwrap_or(self.router_id)
    }
}

/// What a next hop is until [`crate::Input::NextHops`] says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHopTracking {
    /// Reachable: a reflector that forwards nothing.
    AssumeReachable,
    /// Unreachable: the shell answers every [`crate::Output::NextHop`].
    Track,
}

/// A peer of a fixed address, or the template of those from a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerConfig {
    /// Its autonomous system: ours means an internal peer.
    pub asn: Asn,
    /// Its TCP port [179].
    pub port: u16,
    /// The local address of the connection [the kernel's choice].
    pub local_address: Option<IpAddr>,
    /// Whether we only wait for its connection.
    pub passive: bool,
    /// Whether it is shut down: with what it is told (RFC 9003).
    pub shutdown: Option<String>,
    /// Whether its routes are reflected and routes are reflected to it (RFC 4456). Internal peers only.
    pub route_reflector_client: bool,
    /// The cluster that this client belongs to [the speaker's].
    pub cluster_id: Option<RouterId>,
    /// Families that are offered.
    pub families: BTreeSet<Family>,
    /// Hold, keepalive and retry times.
    pub timers: Timers,
    /// What is taken from it.
    pub import: Policy,
    /// What is sent to it.
    pub export: Policy,
    /// What happens to communities.
    pub communities: CommunityPolicy,
    /// Routes of one family, refused ones included, beyond which the session ends (RFC 4486).
    pub max_prefixes: Option<u32>,
    /// How long after that it may come back; never by itself if absent.
    pub max_prefixes_restart: Option<Duration>,
    /// ADD-PATH (RFC 7911).
    pub add_path: AddPath,
    /// Graceful restart (RFC 4724, 9494).
    pub graceful_restart: GracefulRestart,
    /// Whether the session needs BFD: one that goes down ends it at once, without graceful restart.
    pub bfd: bool,
    /// Whether messages beyond 4096 octets are offered (RFC 8654).
    pub extended_messages: bool,
}

impl PeerConfig {
    /// A peer of IPv4 unicast with the default of everything.
    #[must_use]
    pub fn new(asn: Asn) -> Self {
        Self {
            asn,
            port: 179,
            local_address: None,
            passive: false,
            shutdown: None,
            route_reflector_client: false,
            cluster_id: None,
            families: BTreeSet::from([Family::Ipv4Unicast]),
            timers: Timers::DEFAULT,
            import: Policy::default(),
            export: Policy::default(),
            communities: CommunityPolicy::default(),
            max_prefixes: None,
            max_prefixes_restart: None,
            add_path: AddPath::default(),
            graceful_restart: GracefulRestart::default(),
            bfd: false,
            extended_messages: true,
        }
    }
}

/// Peers from a range of addresses; they are always passive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicPeerConfig {
    /// Named in the peer's state.
    pub name: String,
    /// Where they may come from.
    pub sources: Vec<Prefix>,
    /// What each of them is.
    pub template: PeerConfig,
    /// Peers at once.
    pub max_peers: u32,
    /// If present, only these are let in, each with what it may announce.
    pub admissions: Option<BTreeMap<IpAddr, Admission>>,
}

/// What one dynamic peer may announce: beside the template's import policy, not instead of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The allow-list: exact routes of its enrollment claim.
    pub allowed: PrefixList,
    /// The only next hop it may name.
    pub next_hop: Option<IpAddr>,
    /// What admitted it; shown in the peer's state.
    pub claim: String,
}

/// Session timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// Offered hold time: zero or at least three seconds, whole seconds.
    pub hold: Duration,
    /// Keepalive interval; a third of the negotiated hold time at most.
    pub keepalive: Duration,
    /// Between attempts to connect.
    pub connect_retry: Duration,
}

impl Timers {
    /// 90/30/10 s.
    pub const DEFAULT: Self = Self::seconds(90, 30, 10);
    /// 9/3/1 s.
    pub const FAST: Self = Self::seconds(9, 3, 1);
    /// 180/60/30 s.
    pub const SLOW: Self = Self::seconds(180, 60, 30);

    const fn seconds(hold: u64, keepalive: u64, connect_retry: u64) -> Self {
        Self {
            hold: Duration::from_secs(hold),
            keepalive: Duration::from_secs(keepalive),
            connect_retry: Duration::from_secs(connect_retry),
        }
    }
}

/// ADD-PATH in both directions, for every family of the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPath {
    /// Whether several paths of one prefix are taken.
    pub receive: bool,
    /// How many paths of one prefix are sent, best first.
    pub send: Option<u8>,
}

/// Graceful restart, as the one who restarts and as the one who helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GracefulRestart {
    /// Whether it is offered.
    pub enabled: bool,
    /// How long the peer waits for us to come back: whole seconds, at most 4095.
    pub restart_time: Duration,
    /// How long we keep stale routes after the peer came back, until its end-of-RIB.
    pub stale_path_time: Duration,
    /// How long stale routes are kept, least preferred, after the restart time (RFC 9494) [not at all].
    pub long_lived: Option<Duration>,
}

impl Default for GracefulRestart {
    fn default() -> Self {
        Self {
            enabled: true,
            restart_time: Duration::from_secs(120),
            stale_path_time: Duration::from_secs(360),
            long_lived: None,
        }
    }
}
