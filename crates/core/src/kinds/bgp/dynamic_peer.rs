//! `BGPDynamicPeer`: speakers that may come from a range of addresses.

use std::net::Ipv4Addr;

use api::Diagnostic;
use bgp::{Asn, DynamicPeerConfig, PeerConfig};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::policy::{Communities, RoutePolicy};
use super::router::identifier;
use super::session::{PasswordFrom, PasswordText, Paths, SessionTimers, Watch, hops, password};
use super::{client_is_internal, router_of};
use crate::bgp::prefix;
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::Transport;
use crate::kinds::Kind;
use crate::kinds::field::{Reference, Text};

/// Speakers at once that a range lets in.
const MAX_PEERS: u32 = 4096;

/// Speakers that may connect from a range of addresses: the leaves of a reflector.
///
/// What they may announce has to be said: `importPolicy` needs `allowedPrefixes`, and lets single hosts through and nothing else.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BGPDynamicPeer {
    /// The speaker that they are peers of. Absent: the only one.
    #[schemars(extend("x-reference" = ["BGPRouter"]))]
    router_ref: Option<Text<Reference>>,
    /// The number of their autonomous system: ours makes them internal peers.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    peer_asn: u32,
    /// Where they may come from.
    listen: Sources,
    /// The password of TCP MD5, of all of them.
    password: Option<PasswordText>,
    /// Where the password of TCP MD5 is.
    password_from: Option<PasswordFrom>,
    /// Whether routes are reflected to them and theirs to others. Internal peers only.
    #[serde(default)]
    route_reflector_client: bool,
    /// The cluster that they belong to. Absent: the speaker's.
    #[serde(rename = "routeReflectorClusterID")]
    route_reflector_cluster_id: Option<Text<Ipv4Addr>>,
    /// What is sent to them.
    export_policy: Option<RoutePolicy>,
    /// What is taken from them: single hosts only.
    import_policy: RoutePolicy,
    /// How many routes each of them may announce; more end its session.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    max_prefixes: Option<u32>,
    /// What happens to communities.
    communities: Option<Communities>,
    /// Times of the session.
    #[serde(default)]
    timers: SessionTimers,
    /// How many hops away they are at most, checked by TTL on every packet. 1: on the link.
    #[schemars(range(min = 1, max = 254))]
    ttl_security: Option<u8>,
    /// Several paths of one prefix.
    #[serde(default)]
    add_path: Paths,
    /// Whether the path is watched, and how.
    bfd: Option<Watch>,
}

/// Where peers may come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sources {
    /// Prefixes of their addresses.
    #[schemars(length(min = 1))]
    source_prefixes: Vec<Text<Ipv4Net>>,
}

impl Kind for BGPDynamicPeer {
    const NAME: &'static str = "BGPDynamicPeer";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
peerASN: 64512
listen:
  sourcePrefixes: [10.99.0.0/24]
routeReflectorClient: true
importPolicy:
  allowedPrefixes: [10.77.60.0/24]
  allowedPrefixLengthMin: 32
maxPrefixes: 1000
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        if !self.import_policy.only_hosts() {
            let message = "`importPolicy` does not limit the peers to single hosts";
            let found = Diagnostic::error("import-not-exact", message)
                .hint("list `allowedPrefixes` and set `allowedPrefixLengthMin: 32`");
            resource.report(sink, "importPolicy", found);
            return;
        }
        let Some(template) = self.template(resource, draft, sink) else {
            return;
        };
        let internal = draft
            .speaker
            .as_ref()
            .is_some_and(|s| s.asn == template.asn);
        let watch = self.bfd.as_ref();
        let bfd = watch
            .and_then(|watch| watch.compile("bfd.", resource.id.clone(), resource, draft, sink));
        let transport = Transport {
            owner: resource.id.clone(),
            password: password(self.password, self.password_from, resource, sink),
            hops: hops(None, self.ttl_security, internal, resource, sink),
            bfd,
        };
        let sources = self.listen.source_prefixes.iter();
        let range = DynamicPeerConfig {
            name: resource.id.name.clone(),
            sources: sources.filter_map(|net| prefix(net.0)).collect(),
            template,
            max_peers: MAX_PEERS,
            admissions: None,
        };
        if let Some(bgp) = &mut draft.effective.bgp {
            bgp.ranges.insert(range.name.clone(), transport);
            bgp.speaker.dynamic.push(range);
        }
    }
}

impl BGPDynamicPeer {
    fn template(
        &self,
        resource: &Resource<'_>,
        draft: &mut Draft,
        sink: &mut Sink<'_>,
    ) -> Option<PeerConfig> {
        let written = self.router_ref.as_ref().map(|reference| &reference.0);
        let speaker = router_of(written, resource, draft, sink)?;
        let asn = Asn::try_from(self.peer_asn).ok()?;
        if self.route_reflector_client {
            client_is_internal(asn, speaker.asn, resource, sink);
        }
        let export = self.export_policy.as_ref();
        let sound = self.import_policy.check("importPolicy", resource, sink)
            & export.is_none_or(|policy| policy.check("exportPolicy", resource, sink));
        let cluster_id = match &self.route_reflector_cluster_id {
            Some(text) => {
                let field = "routeReflectorClusterID";
                Some(identifier(text.0, field, resource, sink)?)
            }
            None => None,
        };
        let communities = self.communities.as_ref();
        sound.then(|| PeerConfig {
            passive: true,
            route_reflector_client: self.route_reflector_client,
            cluster_id,
            timers: self.timers.compile(speaker.timers, resource, sink),
            import: self.import_policy.compile(),
            export: export.map_or_else(|| speaker.export.clone(), RoutePolicy::compile),
            communities: communities
                .map_or_else(|| speaker.communities.clone(), Communities::compile),
            max_prefixes: self.max_prefixes,
            add_path: self.add_path.compile(),
            graceful_restart: speaker.graceful_restart,
            bfd: self.bfd.is_some(),
            ..PeerConfig::new(asn)
        })
    }
}
