//! `BGPPeer`: speakers of fixed addresses.

use std::net::{IpAddr, Ipv4Addr};

use api::Diagnostic;
use bgp::{Asn, PeerConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::policy::{Communities, RoutePolicy};
use super::router::identifier;
use super::session::{PasswordFrom, PasswordText, Paths, SessionTimers, Watch, hops, password};
use super::{client_is_internal, router_of};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::Transport;
use crate::kinds::Kind;
use crate::kinds::field::{Reference, Text};

/// One or several speakers of fixed addresses and one autonomous system.
///
/// Policies, communities and times that are not written are those of the BGPRouter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BGPPeer {
    /// The speaker that they are peers of. Absent: the only one.
    #[schemars(extend("x-reference" = ["BGPRouter"]))]
    router_ref: Option<Text<Reference>>,
    /// The number of their autonomous system: ours makes them internal peers.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    peer_asn: u32,
    /// Their addresses.
    #[schemars(length(min = 1))]
    peers: Vec<Text<Ipv4Addr>>,
    /// Whether this node waits for their connections and makes none.
    #[serde(default)]
    passive_mode: bool,
    /// The password of TCP MD5.
    password: Option<PasswordText>,
    /// Where the password of TCP MD5 is.
    password_from: Option<PasswordFrom>,
    /// Whether routes are reflected to them and theirs to others. Internal peers only.
    #[serde(default)]
    route_reflector_client: bool,
    /// The cluster that they belong to. Absent: the speaker's.
    #[serde(rename = "routeReflectorClusterID")]
    route_reflector_cluster_id: Option<Text<Ipv4Addr>>,
    /// How many hops away an external peer may be. Absent: on the link.
    #[schemars(range(min = 1, max = 255))]
    ebgp_multihop: Option<u8>,
    /// How many hops away the peer is at most, checked by TTL on every packet. 1: on the link.
    #[schemars(range(min = 1, max = 254))]
    ttl_security: Option<u8>,
    /// What is taken from them.
    import_policy: Option<RoutePolicy>,
    /// What is sent to them.
    export_policy: Option<RoutePolicy>,
    /// What happens to communities.
    communities: Option<Communities>,
    /// Times of the session.
    #[serde(default)]
    timers: SessionTimers,
    /// How many routes each of them may announce; more end the session.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    max_prefixes: Option<u32>,
    /// Several paths of one prefix.
    #[serde(default)]
    add_path: Paths,
    /// Whether the path is watched, and how.
    bfd: Option<Watch>,
}

impl Kind for BGPPeer {
    const NAME: &'static str = "BGPPeer";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
peerASN: 64512
peers: [10.99.0.2]
passwordFrom:
  file: /etc/routerd/secrets/bgp
bfd:
  profile: fast
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let Some(config) = self.config(resource, draft, sink) else {
            return;
        };
        let internal = draft.speaker.as_ref().is_some_and(|s| s.asn == config.asn);
        self.warn_without_policy(internal, resource, sink);
        let watch = self.bfd.as_ref();
        let bfd = watch
            .and_then(|watch| watch.compile("bfd.", resource.id.clone(), resource, draft, sink));
        let hops = hops(
            self.ebgp_multihop,
            self.ttl_security,
            internal,
            resource,
            sink,
        );
        let transport = Transport {
            owner: resource.id.clone(),
            password: password(self.password, self.password_from, resource, sink),
            hops,
            bfd,
        };
        for (index, address) in self.peers.iter().enumerate() {
            let field = format!("peers.{index}");
            add_peer(
                address.0, &field, &config, &transport, resource, draft, sink,
            );
        }
    }
}

impl BGPPeer {
    fn config(
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
        let mut sound = true;
        for (field, policy) in [
            ("importPolicy", &self.import_policy),
            ("exportPolicy", &self.export_policy),
        ] {
            sound &= policy
                .as_ref()
                .is_none_or(|p| p.check(field, resource, sink));
        }
        let cluster_id = match &self.route_reflector_cluster_id {
            Some(text) => {
                let field = "routeReflectorClusterID";
                Some(identifier(text.0, field, resource, sink)?)
            }
            None => None,
        };
        let (import, export) = (self.import_policy.as_ref(), self.export_policy.as_ref());
        let communities = self.communities.as_ref();
        sound.then(|| PeerConfig {
            passive: self.passive_mode,
            route_reflector_client: self.route_reflector_client,
            cluster_id,
            timers: self.timers.compile(speaker.timers, resource, sink),
            import: import.map_or_else(|| speaker.import.clone(), RoutePolicy::compile),
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

    /// RFC 8212 would have nothing pass to and from an external peer without a policy: here that is said, not done.
    fn warn_without_policy(&self, internal: bool, resource: &Resource<'_>, sink: &mut Sink<'_>) {
        for (field, policy, what) in [
            (
                "importPolicy",
                &self.import_policy,
                "everything that an external peer announces is taken",
            ),
            (
                "exportPolicy",
                &self.export_policy,
                "everything is announced to an external peer",
            ),
        ] {
            if !internal && policy.is_none() {
                let found = Diagnostic::warning("external-without-policy", what).hint(format!(
                    "write `{field}` (RFC 8212); `allowedPrefixes: [0.0.0.0/0]` says that it is meant"
                ));
                resource.report(sink, field, found);
            }
        }
    }
}

/// Enters a peer; an address that is a peer already, or ours, is refused.
fn add_peer(
    address: Ipv4Addr,
    field: &str,
    config: &PeerConfig,
    transport: &Transport,
    resource: &Resource<'_>,
    draft: &mut Draft,
    sink: &mut Sink<'_>,
) {
    if let Some(own) = draft.owner_of(address) {
        let found = Diagnostic::error(
            "peer-is-self",
            format!("{address} is an address of this router ({own})"),
        )
        .hint("list the addresses of other speakers");
        resource.report(sink, field, found);
        return;
    }
    let (Some(speaker), Some(bgp)) = (&mut draft.speaker, &mut draft.effective.bgp) else {
        return;
    };
    let remote = IpAddr::V4(address);
    if let Some(first) = bgp.peers.get(&remote) {
        let message = format!("{address} is a peer of {} already", first.owner);
        let found = Diagnostic::error("duplicate-peer", message).hint("keep one");
        resource.report(sink, field, found);
        return;
    }
    bgp.speaker.peers.insert(remote, config.clone());
    bgp.peers.insert(remote, transport.clone());
    let known = speaker.peers.entry(resource.id.clone()).or_default();
    known.push(remote);
}
