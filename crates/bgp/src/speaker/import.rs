//! From what a peer says to what we make of it: loops, next hops, policy.

use std::net::IpAddr;

use super::Speaker;
use crate::attr::{AttrId, AttrStore, PathAttributes};
use crate::config::{Admission, NextHopRewrite, PeerConfig, Policy, PrefixList};
use crate::rib::{Judged, matches_communities};
use crate::session::{Peer, PeerIx};
use crate::types::{Family, Prefix};
use crate::view::RejectReason;
use crate::wire::attributes::{self as wire, Segments};

/// The last attributes that came. Updates in a row mostly carry the same.
#[derive(Debug, Default)]
pub(super) struct Recent {
    peer: Option<PeerIx>,
    /// The attribute section as it came; empty if it says something beside the path.
    section: Vec<u8>,
    judged: Option<Judged>,
}

impl Recent {
    pub(super) fn find(&self, peer: PeerIx, section: &[u8]) -> Option<Judged> {
        let same = self.peer == Some(peer) && !section.is_empty() && self.section == section;
        self.judged.filter(|_| same)
    }

    /// Takes over the references that `judged` holds.
    pub(super) fn set(
        &mut self,
        attrs: &mut AttrStore,
        peer: PeerIx,
        section: &[u8],
        judged: Judged,
    ) {
        self.clear(attrs);
        self.peer = Some(peer);
        self.section.extend_from_slice(section);
        self.judged = Some(judged);
    }

    pub(super) fn clear(&mut self, attrs: &mut AttrStore) {
        self.peer = None;
        self.section.clear();
        if let Some(judged) = self.judged.take() {
            judged.release(attrs);
        }
    }
}

/// Which prefixes a peer may announce, whatever is said about them.
pub(super) struct PrefixFilter<'a> {
    policy: &'a Policy,
    claimed: Option<&'a PrefixList>,
}

impl<'a> PrefixFilter<'a> {
    pub(super) fn of(peer: &'a Peer) -> Self {
        Self {
            policy: &peer.config.import,
            claimed: peer.admission.as_ref().map(|a| &a.allowed),
        }
    }

    pub(super) fn refuses(&self, prefix: Prefix) -> Option<RejectReason> {
        let usable = match prefix.address() {
            IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => {
                !v6.is_multicast() && !v6.is_loopback() && !v6.is_unicast_link_local()
            }
        };
        if !usable || (prefix.address().is_unspecified() && prefix.length() != 0) {
            return Some(RejectReason::PrefixUnusable);
        }
        if self.claimed.is_some_and(|list| !list.matches(prefix)) {
            return Some(RejectReason::NotClaimed);
        }
        self.policy.refuses_prefix(prefix)
    }
}

impl Speaker {
    /// Judges a path by its attributes; the result holds a reference to each of its sets.
    pub(super) fn judge_path(&mut self, ix: PeerIx, octets: &[u8], next_hop: IpAddr) -> Judged {
        let received = self.ribs.attrs.intern(octets, next_hop);
        let accepted = self.judge_received(ix, received);
        Judged { received, accepted }
    }

    fn judge_received(&mut self, ix: PeerIx, received: AttrId) -> Result<AttrId, RejectReason> {
        let Some(peer) = self.peers.get(ix) else {
            return Err(RejectReason::FirstAs);
        };
        let attrs = &mut self.ribs.attrs;
        let octets = attrs.octets(received);
        let internal = peer.config.asn == self.config.asn;
        let loops = loops(octets, self.config.asn.get(), self.config.router_id.get());
        let clusters = [Some(self.config.cluster()), peer.config.cluster_id];
        let clusters = clusters.map(|c| c.map_or(0, crate::RouterId::get));
        if let Some(reason) = loops.or_else(|| cluster_loop(octets, clusters)) {
            return Err(reason);
        }
        if !internal && attrs.facts(received).neighbour != peer.config.asn.get() {
            return Err(RejectReason::FirstAs);
        }
        let next_hop = attrs.next_hop_of(received);
        let local = peer.session.as_ref().map(|s| s.local);
        if !is_usable(next_hop) || local == Some(next_hop) {
            return Err(RejectReason::NextHopUnusable);
        }
        let own = peer.admission.as_ref().and_then(|a: &Admission| a.next_hop);
        if own.is_some_and(|own| own != next_hop) {
            return Err(RejectReason::NextHopNotAllowed);
        }
        let policy = &peer.config.import;
        matches_communities(policy, octets)?;
        if changes_nothing(&peer.config, internal) {
            attrs.hold(received);
            return Ok(received);
        }
        let mut path = attrs.decode(received);
        rewrite(&mut path, &peer.config, peer.address);
        Ok(attrs.intern_decoded(&path))
    }

    /// Judges every path of a peer anew, after its import policy changed; what was not kept is asked for.
    pub(super) fn reimport(&mut self, ix: PeerIx) {
        for family in Family::ALL {
            for (prefix, path_id, received) in self.ribs.received(ix, family) {
                let accepted = self.judge_received(ix, received);
                self.ribs.attrs.hold(received);
                let judged = Judged { received, accepted };
                let refused = self
                    .peers
                    .get(ix)
                    .and_then(|peer| PrefixFilter::of(peer).refuses(prefix));
                self.ribs
                    .learn_prefix(ix, prefix, path_id, judged.with(refused));
                judged.release(&mut self.ribs.attrs);
            }
        }
        if self.ribs.has_forgotten(ix) {
            self.ask_refresh(ix);
        }
    }
}

/// Whether the policy leaves attributes as they are. External peers' routes always get a LOCAL_PREF.
fn changes_nothing(config: &PeerConfig, internal: bool) -> bool {
    internal
        && config.import.local_preference.is_none()
        && config.import.next_hop != NextHopRewrite::PeerAddress
        && config.communities.accept
        && config.communities.set_in.is_empty()
}

fn rewrite(path: &mut PathAttributes, config: &PeerConfig, peer: IpAddr) {
    if !config.communities.accept {
        path.communities.clear();
        path.large_communities.clear();
        path.extended_communities.clear();
    }
    for community in &config.communities.set_in {
        path.add(*community);
    }
    let preference = config.import.local_preference.or(path.local_preference);
    path.local_preference = Some(preference.unwrap_or(100));
    if config.import.next_hop == NextHopRewrite::PeerAddress
        && peer.is_ipv4() == path.next_hop.is_ipv4()
    {
        path.next_hop = peer;
    }
}

/// Whether we are in the path already.
fn loops(octets: &[u8], asn: u32, router_id: u32) -> Option<RejectReason> {
    for (_, code, value) in wire::walk(octets) {
        if code == wire::AS_PATH {
            let own = asn.to_be_bytes();
            if Segments(value).any(|(_, numbers)| numbers.contains(&own)) {
                return Some(RejectReason::AsLoop);
            }
        } else if code == wire::ORIGINATOR_ID && value == router_id.to_be_bytes() {
            return Some(RejectReason::OriginatorLoop);
        }
    }
    None
}

fn cluster_loop(octets: &[u8], clusters: [u32; 2]) -> Option<RejectReason> {
    let (_, _, list) = wire::walk(octets).find(|(_, code, _)| *code == wire::CLUSTER_LIST)?;
    let ours = |id: &[u8; 4]| clusters.contains(&u32::from_be_bytes(*id));
    let looped = list.as_chunks::<4>().0.iter().any(ours);
    looped.then_some(RejectReason::ClusterLoop)
}

fn is_usable(next_hop: IpAddr) -> bool {
    match next_hop {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}
