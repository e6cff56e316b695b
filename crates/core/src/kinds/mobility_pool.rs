//! `MobilityPool`: whose addresses a group of nodes watches over.

use std::collections::BTreeSet;
use std::time::Duration;

use api::Diagnostic;
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{Reference, ResourceName, Side, Span, Text, host_range};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::ObserverIntent;
use crate::observer::Source;

const SCAN_INTERVAL: Duration = Duration::from_secs(10);
const LEASE_TTL: Duration = Duration::from_secs(120);
/// Three questions fit into half of it.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// A subnet whose addresses a group of nodes watches over: which clients live at which site is found out by the node
/// of that site and told to the group as events.
///
/// The member whose `nodeRef` is the `nodeName` of the group is this node; what it is to observe stands there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-planned" = {
    "membersFrom": "list the nodes in `members`",
    "staticHandovers": "claim such an address with a RemoteAddressClaim",
    "profiles": "captures are those of RemoteAddressClaims",
}))]
pub(crate) struct MobilityPool {
    /// The shared subnet.
    prefix: Text<Ipv4Net>,
    /// How addresses move.
    #[expect(
        dead_code,
        reason = "one value so far; the form check refuses all others"
    )]
    #[serde(default)]
    mode: Mode,
    /// The group that is told.
    #[schemars(extend("x-reference" = ["EventGroup"]))]
    group_ref: Text<Reference>,
    /// The nodes.
    #[schemars(length(min = 1))]
    members: Vec<Member>,
}

/// How addresses of a pool move.
#[derive(Debug, Default, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// One `/32` at a time.
    #[default]
    SelectiveAddress,
}

/// A node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-planned" = {
    "capture": "captures are those of RemoteAddressClaims",
    "staticOwnedAddresses": "claim such an address with a RemoteAddressClaim on the other nodes",
}))]
struct Member {
    /// Its name in the group.
    node_ref: Text<ResourceName>,
    /// Its site, for people.
    #[expect(dead_code, reason = "for people")]
    site: Option<String>,
    /// The side of its site. Absent: onprem.
    role: Option<Side>,
    /// How it finds out which clients live at its site. Absent: not at all.
    ownership_discovery: Option<Discovery>,
}

/// How clients are found.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Discovery {
    /// Where they are looked for.
    mode: DiscoveryMode,
    /// What is believed; none listed: all of them.
    #[serde(default)]
    sources: Vec<DiscoverySource>,
    /// How often lease files and the neighbour table are read. Absent: 10s.
    scan_interval: Option<Text<Span>>,
    /// After so long without a sign of life, and unanswered questions, a client is gone. Absent: 2m.
    #[serde(rename = "leaseTTL")]
    lease_ttl: Option<Text<Span>>,
}

/// Where clients are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = {
    "provider-private-ip": "let a DynamicConfigSource run a plugin that may `observe.providerPrivateIPs`",
}))]
enum DiscoveryMode {
    /// Nowhere.
    Disabled,
    /// On the LAN of this node, by ARP, DHCP leases and the neighbour table.
    OnpremL2,
}

/// What is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum DiscoverySource {
    /// Lease files of dnsmasq and of ISC dhcpd where Debian keeps them: a new lease or one that was extended.
    Dhcpv4Lease,
    /// What clients say by ARP.
    ArpObserver,
    /// Answers to questions by ARP, asked before a silent client counts as gone, and the kernel's own.
    OnDemandArp,
}

impl From<DiscoverySource> for Source {
    fn from(source: DiscoverySource) -> Self {
        match source {
            DiscoverySource::Dhcpv4Lease => Self::DhcpLease,
            DiscoverySource::ArpObserver => Self::Arp,
            DiscoverySource::OnDemandArp => Self::Neighbour,
        }
    }
}

impl Kind for MobilityPool {
    const NAME: &'static str = "MobilityPool";
    const GROUP: &'static str = "mobility.routerd.net";
    const EXAMPLE: &'static str = "\
prefix: 10.77.60.0/24
groupRef: cloudedge
members:
  - nodeRef: onprem-router
    site: tokyo
    role: onprem
    ownershipDiscovery:
      mode: onprem-l2
      sources: [arp-observer, dhcpv4-lease, on-demand-arp]
      scanInterval: 10s
      leaseTTL: 2m
  - nodeRef: cloud-router
    role: cloud
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let prefix = self.prefix.0;
        if !host_range(prefix) {
            let found = Diagnostic::error(
                "prefix-not-for-hosts",
                format!("hosts cannot live in all of {prefix}"),
            )
            .hint("write the subnet that the sites share");
            resource.report(sink, "prefix", found);
            return;
        }
        let Some(group) = draft
            .effective
            .federation
            .groups
            .get(&self.group_ref.0.name)
        else {
            return;
        };
        let node = group.node.clone();
        let Some((index, member)) = self.own_member(&node) else {
            let message = format!("no member is this node, {node}");
            let found = Diagnostic::warning("pool-without-this-node", message)
                .hint("`nodeRef` of a member is the `nodeName` of the group");
            return resource.report(sink, "members", found);
        };
        let Some(discovery) = &member.ownership_discovery else {
            return;
        };
        let path = format!("members.{index}.ownershipDiscovery");
        if discovery.mode == DiscoveryMode::Disabled || !discovery.check(&path, resource, sink) {
            return;
        }
        let domain = draft
            .domains
            .iter()
            .find(|(_, domain)| domain.prefix == prefix);
        let domain = domain.map(|(name, _)| name.clone());
        if let Some(name) = &domain
            && let Some(domain) = draft.domains.get(name)
        {
            draft.implied.insert(domain.id.clone());
        }
        let intent = ObserverIntent {
            owner: resource.id.clone(),
            group: self.group_ref.0.name.clone(),
            node,
            prefix,
            domain: domain.unwrap_or_else(|| resource.id.name.clone()),
            side: member.role.unwrap_or(Side::Onprem).to_string(),
            sources: discovery.sources(),
            scan_interval: discovery
                .scan_interval
                .as_ref()
                .map_or(SCAN_INTERVAL, |t| t.0.0),
            ttl: discovery
                .lease_ttl
                .as_ref()
                .map_or(LEASE_TTL, |ttl| ttl.0.0),
        };
        draft
            .effective
            .observers
            .insert(resource.id.name.clone(), intent);
    }
}

impl MobilityPool {
    fn own_member(&self, node: &str) -> Option<(usize, &Member)> {
        let mut members = self.members.iter().enumerate();
        members.find(|(_, member)| member.node_ref.0.0 == node)
    }
}

impl Discovery {
    fn check(&self, path: &str, resource: &Resource<'_>, sink: &mut Sink<'_>) -> bool {
        let too_short = self
            .lease_ttl
            .as_ref()
            .is_some_and(|ttl| ttl.0.0 < SHORTEST_LEASE);
        if too_short {
            let found = Diagnostic::error(
                "lease-too-short",
                "nobody can be asked three times in that time",
            )
            .hint("write `1s` or more");
            resource.report(sink, &format!("{path}.leaseTTL"), found);
        }
        !too_short
    }

    fn sources(&self) -> BTreeSet<Source> {
        let all = [
            DiscoverySource::Dhcpv4Lease,
            DiscoverySource::ArpObserver,
            DiscoverySource::OnDemandArp,
        ];
        let named = match self.sources.as_slice() {
            [] => &all[..],
            named => named,
        };
        named.iter().copied().map(Source::from).collect()
    }
}
