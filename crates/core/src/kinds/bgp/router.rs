//! `BGPRouter`: the BGP speaker of this node.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use api::Diagnostic;
use bgp::{Asn, NextHopTracking, RouterId, SpeakerConfig};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::monitoring::MonitoringSpec;
use super::policy::{Communities, RoutePolicy, prefix_list};
use super::session::{Graceful, SessionTimers, TimerProfile};
use crate::config::draft::{Draft, Resource, Speaker};
use crate::config::sink::Sink;
use crate::effective::{BgpIntent, Redistribute};
use crate::kinds::Kind;
use crate::kinds::field::Text;

/// The BGP speaker of this node, leaf or reflector. There is one at most.
///
/// Policies, communities, times and graceful restart hold for every peer that does not say otherwise. A best path becomes a
/// route of metric 120; a destination that a claim, a HybridRoute or an IPv4Route routes in the table `main` with that metric is theirs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BGPRouter {
    /// The number of our autonomous system.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    asn: u32,
    /// The identifier of this speaker, unique among all that it can meet.
    #[serde(rename = "routerID")]
    router_id: Text<Ipv4Addr>,
    /// Where peers find it.
    #[serde(default)]
    listen: Listen,
    /// What is taken from peers.
    #[serde(default)]
    import_policy: RoutePolicy,
    /// What is sent to peers.
    #[serde(default)]
    export_policy: RoutePolicy,
    /// What of the host's own routes is announced.
    #[serde(default)]
    redistribute: RedistributeSpec,
    /// What happens to communities.
    #[serde(default)]
    communities: Communities,
    /// Times of the sessions.
    #[serde(default)]
    timers: SessionTimers,
    /// How eager the speaker is where `timers` says nothing.
    #[serde(default)]
    convergence_profile: ConvergenceProfile,
    /// What happens to routes while a speaker restarts.
    #[serde(default)]
    graceful_restart: Graceful,
    /// The cluster of this reflector. Absent: its `routerID`.
    #[serde(rename = "clusterID")]
    cluster_id: Option<Text<Ipv4Addr>>,
    /// How many next hops of equal rank a route may have at once.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    max_paths: u8,
    /// Whether best paths become routes of this host. A reflector that forwards nothing needs none, and then takes every next
    /// hop for reachable.
    #[serde(default = "yes")]
    install_routes: bool,
    /// Who is told what peers say.
    #[serde(default)]
    monitoring: MonitoringSpec,
}

fn one() -> u8 {
    1
}

fn yes() -> bool {
    true
}

/// Where peers find the speaker.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listen {
    /// The address. Absent: all.
    address: Option<Text<Ipv4Addr>>,
    /// The TCP port. Default: 179.
    #[schemars(range(min = 1, max = 65535))]
    port: Option<u16>,
}

/// What of the host's own routes is announced.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RedistributeSpec {
    /// Networks of its interfaces.
    #[serde(default)]
    connected: Announced,
    /// Routes of IPv4Route resources, in the table `main`.
    #[serde(default, rename = "static")]
    fixed: Announced,
}

/// Routes that are announced.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Announced {
    /// Only these prefixes and what lies inside them. Absent: nothing.
    #[serde(default)]
    allowed_prefixes: Vec<Text<Ipv4Net>>,
}

/// How eager the speaker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ConvergenceProfile {
    /// The times of the timer profile `default`.
    #[default]
    Default,
    /// Those of `fast`.
    Fast,
    /// Those of `slow`: for links that drop packets now and then.
    Stable,
}

impl Kind for BGPRouter {
    const NAME: &'static str = "BGPRouter";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
asn: 64512
routerID: 10.99.0.1
importPolicy:
  allowedPrefixes: [10.77.60.0/24]
  allowedPrefixLengthMin: 32
redistribute:
  static:
    allowedPrefixes: [10.77.60.0/24]
timers:
  profile: fast
gracefulRestart:
  restartTime: 120s
monitoring:
  bmp:
    - address: 10.99.0.250:11019
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        if let Some(first) = &draft.speaker {
            let message = format!("{} is the speaker of this node already", first.id);
            let hint = format!("it stands at {}; keep one", sink.refer(first.mark));
            let found = Diagnostic::error("duplicate-bgp-router", message).hint(hint);
            resource.report(sink, "", found);
            return;
        }
        let identifiers = self.identifiers(resource, sink);
        let import = self.import_policy.check("importPolicy", resource, sink);
        let export = self.export_policy.check("exportPolicy", resource, sink);
        let timers = self.timers(resource, sink);
        let graceful_restart = self.graceful_restart.compile(resource, sink);
        let monitoring = self.monitoring.compile(resource, sink);
        let Some((asn, router_id, cluster_id)) = identifiers.filter(|_| import && export) else {
            return;
        };
        let everything = (0, 32);
        let intent = BgpIntent {
            owner: resource.id.clone(),
            speaker: SpeakerConfig {
                cluster_id,
                monitored: monitoring.is_wanted(),
                max_next_hops: self.max_paths,
                fib: self.install_routes,
                next_hops: if self.install_routes {
                    NextHopTracking::Track
                } else {
                    NextHopTracking::AssumeReachable
                },
                ..SpeakerConfig::new(asn, router_id)
            },
            listen: SocketAddrV4::new(
                self.listen.address.map_or(Ipv4Addr::UNSPECIFIED, |a| a.0),
                self.listen.port.unwrap_or(179),
            ),
            peers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            redistribute: Redistribute {
                connected: prefix_list(&self.redistribute.connected.allowed_prefixes, everything),
                fixed: prefix_list(&self.redistribute.fixed.allowed_prefixes, everything),
            },
            monitoring,
        };
        draft.speaker = Some(Speaker {
            id: resource.id.clone(),
            mark: resource.mark,
            asn,
            import: self.import_policy.compile(),
            export: self.export_policy.compile(),
            communities: self.communities.compile(),
            timers,
            graceful_restart,
            peers: BTreeMap::new(),
        });
        draft.effective.bgp = Some(intent);
    }
}

impl BGPRouter {
    fn timers(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> bgp::Timers {
        let profile = match self.convergence_profile {
            ConvergenceProfile::Default => TimerProfile::Default,
            ConvergenceProfile::Fast => TimerProfile::Fast,
            ConvergenceProfile::Stable => TimerProfile::Slow,
        };
        self.timers.compile(profile.timers(), resource, sink)
    }

    /// System, router and cluster.
    fn identifiers(
        &self,
        resource: &Resource<'_>,
        sink: &mut Sink<'_>,
    ) -> Option<(Asn, RouterId, Option<RouterId>)> {
        let asn = Asn::try_from(self.asn).ok()?;
        let router_id = identifier(self.router_id.0, "routerID", resource, sink)?;
        let cluster_id = match &self.cluster_id {
            Some(text) => Some(identifier(text.0, "clusterID", resource, sink)?),
            None => None,
        };
        Some((asn, router_id, cluster_id))
    }
}

/// An identifier; 0.0.0.0 is none.
pub(super) fn identifier(
    address: Ipv4Addr,
    field: &str,
    resource: &Resource<'_>,
    sink: &mut Sink<'_>,
) -> Option<RouterId> {
    let identifier = RouterId::try_from(address);
    if identifier.is_err() {
        let found = Diagnostic::error("bad-identifier", format!("{address} is no identifier"))
            .hint("use an address of this node");
        resource.report(sink, field, found);
    }
    identifier.ok()
}
