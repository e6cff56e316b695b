//! `BFD`: the watch over the path to a peer, as a resource of its own.

use std::net::{IpAddr, Ipv4Addr};

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::session::{Watch, WatchProfile};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::kinds::Kind;
use crate::kinds::field::{Complaint, KERNEL_INTERFACE, Reference, Span, Text, TextField};

/// Bidirectional forwarding detection towards a BGP peer: a path that fails ends the session at once, without graceful restart.
///
/// It says the same as `bfd` of a BGPPeer; a peer has one of the two. Without a profile and intervals: 100ms, three times.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bfd {
    /// The BGPPeer whose addresses are watched, or one of its addresses.
    peer: Text<Watched>,
    /// The interface of a session over one hop. Absent: as the kernel routes to the peer, over one hop if there is no gateway.
    #[schemars(extend("x-reference" = ["Interface", "WireGuardInterface", KERNEL_INTERFACE]))]
    interface: Option<Text<Reference>>,
    /// A set of intervals.
    profile: Option<WatchProfile>,
    /// The peer shall not send faster. At least 10ms.
    min_rx: Option<Text<Span>>,
    /// This node does not send faster. At least 10ms.
    min_tx: Option<Text<Span>>,
    /// How many intervals without a packet mean that the path is down.
    #[schemars(range(min = 1, max = 255))]
    detect_multiplier: Option<u8>,
}

/// A peer, by name or by address.
#[derive(Debug, Clone)]
pub(crate) enum Watched {
    Address(Ipv4Addr),
    Named(Reference),
}

impl TextField for Watched {
    const FORMAT: &'static str = "bgp-peer";
    const WHAT: &'static str = "a BGPPeer (`BGPPeer/name`, or its name), or an IPv4 address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        Reference::parse(text)
            .map(Self::Named)
            .map_err(|_| Complaint::not::<Self>("bad-reference", text))
    }
}

impl Kind for Bfd {
    const NAME: &'static str = "BFD";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
peer: BGPPeer/reflectors
profile: fast
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let Some(addresses) = self.addresses(resource, draft, sink) else {
            return;
        };
        let watch = Watch {
            interface: self.interface,
            profile: self.profile,
            min_rx: self.min_rx,
            min_tx: self.min_tx,
            detect_multiplier: self.detect_multiplier,
        };
        let Some(intent) = watch.compile("", resource.id.clone(), resource, draft, sink) else {
            return;
        };
        let Some(bgp) = &mut draft.effective.bgp else {
            return;
        };
        for address in addresses {
            let (Some(transport), Some(peer)) = (
                bgp.peers.get_mut(&address),
                bgp.speaker.peers.get_mut(&address),
            ) else {
                continue;
            };
            if let Some(first) = &transport.bfd {
                let message = format!("{} says already how {address} is watched", first.owner);
                let found = Diagnostic::error("duplicate-watch", message).hint("keep one");
                resource.report(sink, "peer", found);
                continue;
            }
            transport.bfd = Some(intent.clone());
            peer.bfd = true;
        }
    }
}

impl Bfd {
    /// The peers that are meant. Nothing if what should name them was refused.
    fn addresses(
        &self,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<Vec<IpAddr>> {
        let speaker = draft.speaker.as_ref();
        let mut groups = speaker.into_iter().flat_map(|speaker| &speaker.peers);
        let found = match &self.peer.0 {
            Watched::Address(address) => {
                let address = IpAddr::V4(*address);
                let known = groups.any(|(_, peers)| peers.contains(&address));
                known.then(|| vec![address])
            }
            Watched::Named(reference) => groups
                .find(|(id, _)| reference.names(id))
                .map(|(_, peers)| peers.clone()),
        };
        if found.is_none() && !draft.lacks("BGPPeer") && !draft.lacks("BGPRouter") {
            let message = "no BGPPeer has this name or address";
            let found = Diagnostic::error("unknown-reference", message)
                .hint("the peers of a BGPDynamicPeer are watched by its own `bfd`");
            resource.report(sink, "peer", found);
        }
        found
    }
}
