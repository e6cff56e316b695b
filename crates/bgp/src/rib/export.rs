//! What a group of peers is told, and in which words.

use std::net::IpAddr;

use super::{Path, Source, SourceKind};
use crate::attr::{AttrId, AttrStore, PathAttributes};
use crate::config::{CommunityPolicy, NextHopRewrite, Policy};
use crate::types::{Asn, Community, LargeCommunity, Prefix, RouterId, StandardCommunity};
use crate::view::RejectReason;
use crate::wire::attributes::{self as wire, OPTIONAL};
use crate::wire::encode;

/// Everything that decides about what a peer is told. Peers with equal keys are told the same octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupKey {
    pub(crate) kind: GroupKind,
    pub(crate) asn: Asn,
    /// The cluster that reflected routes get.
    pub(crate) cluster: RouterId,
    /// Our address, where it is told as next hop.
    pub(crate) own_next_hop: Option<IpAddr>,
    pub(crate) policy: Policy,
    pub(crate) communities: CommunityPolicy,
    pub(crate) four_octet: bool,
    pub(crate) max_message: usize,
    /// How many paths of a prefix; `None`: without identifiers.
    pub(crate) add_path: Option<u8>,
    /// Whether long-lived stale paths are understood.
    pub(crate) long_lived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupKind {
    External,
    Internal,
    Client,
}

impl GroupKey {
    /// Whether the attributes of an internal path go out as they are, apart from the marks of reflection.
    fn keeps_attributes(&self) -> bool {
        self.kind != GroupKind::External
            && self.four_octet
            && self.communities.send
            && self.communities.set_out.is_empty()
            && self.policy.local_preference.is_none()
    }

    /// Whether a path is told to this group at all.
    pub(crate) fn exports(
        &self,
        attrs: &AttrStore,
        sources: &[Source],
        prefix: Prefix,
        path: &Path,
    ) -> bool {
        if path.rejected.is_some() {
            return false;
        }
        let facts = attrs.facts(path.attrs);
        let from = sources[path.source.at()].kind;
        let reflected = match self.kind {
            GroupKind::Internal => from != SourceKind::Internal,
            GroupKind::Client => true,
            GroupKind::External => !facts.no_export,
        };
        // Who does not know of it would prefer a route that is kept for want of a better one (RFC 9494, section 4.3).
        let understood = !facts.llgr_stale || self.long_lived;
        reflected
            && understood
            && !facts.no_advertise
            && (self.own_next_hop.is_some()
                || attrs.next_hop_of(path.attrs).is_ipv4() == prefix.address().is_ipv4())
            && self.policy.refuses_prefix(prefix).is_none()
            && matches_communities(&self.policy, attrs.octets(path.attrs)).is_ok()
    }
}

/// Whether a path carries what a policy requires and nothing that it forbids.
pub(crate) fn matches_communities(policy: &Policy, octets: &[u8]) -> Result<(), RejectReason> {
    if policy.required_communities.is_empty() && policy.forbidden_communities.is_empty() {
        return Ok(());
    }
    let has = |wanted: &Community| {
        wire::walk(octets).any(|(_, code, value)| match wanted {
            Community::Standard(StandardCommunity(word)) => {
                code == wire::COMMUNITIES && value.as_chunks::<4>().0.contains(&word.to_be_bytes())
            }
            Community::Large(LargeCommunity(words)) => {
                let octets = words.map(u32::to_be_bytes);
                code == wire::LARGE_COMMUNITIES
                    && value.chunks_exact(12).any(|c| c == octets.as_flattened())
            }
        })
    };
    if !policy.required_communities.iter().all(has) {
        return Err(RejectReason::CommunityMissing);
    }
    if policy.forbidden_communities.iter().any(has) {
        return Err(RejectReason::CommunityForbidden);
    }
    Ok(())
}

/// The attribute section that a group gets for a path, without the attributes that differ by family; and its next hop.
pub(crate) fn outbound(
    key: &GroupKey,
    attrs: &AttrStore,
    id: AttrId,
    source: &Source,
    out: &mut Vec<u8>,
) -> IpAddr {
    out.clear();
    let next_hop = key.own_next_hop.unwrap_or_else(|| attrs.next_hop_of(id));
    let reflected = key.kind != GroupKind::External
        && matches!(source.kind, SourceKind::Internal | SourceKind::Client);
    let marks = reflected.then_some((source.router_id, key.cluster.get()));
    if key.keeps_attributes() {
        splice(attrs.octets(id), marks, out);
        return next_hop;
    }
    let mut path = attrs.decode(id);
    rewrite(&mut path, key, source);
    let mut octets = Vec::new();
    path.encode(&mut octets);
    if key.four_octet {
        splice(&octets, marks, out);
    } else {
        let mut wide = Vec::new();
        splice(&octets, marks, &mut wide);
        encode::narrow(&wide, out);
    }
    next_hop
}

fn rewrite(path: &mut PathAttributes, key: &GroupKey, source: &Source) {
    if !key.communities.send {
        path.communities.clear();
        path.large_communities.clear();
        path.extended_communities.clear();
    }
    for community in &key.communities.set_out {
        path.add(*community);
    }
    if key.kind == GroupKind::External {
        path.prepend(key.asn);
        path.local_preference = None;
        path.originator_id = None;
        path.cluster_list.clear();
        // A neighbour's MED is not for others (RFC 4271, section 5.1.4); our own is.
        if source.kind != SourceKind::Local {
            path.med = None;
        }
    } else if key.policy.local_preference.is_some() {
        path.local_preference = key.policy.local_preference;
    }
}

/// Copies sorted attributes, adding what reflection adds (RFC 4456, section 8): the originator unless there is one, and
/// our cluster in front of the others.
fn splice(mut octets: &[u8], marks: Option<(u32, u32)>, out: &mut Vec<u8>) {
    let Some((originator, cluster)) = marks else {
        out.extend_from_slice(octets);
        return;
    };
    let mut originator = Some(originator.to_be_bytes());
    let mut cluster = Some(cluster.to_be_bytes());
    while let Some((flags, code, value, rest)) = wire::split(octets) {
        if code >= wire::ORIGINATOR_ID
            && let Some(id) = originator.take()
            && code != wire::ORIGINATOR_ID
        {
            wire::put(out, OPTIONAL, wire::ORIGINATOR_ID, &id);
        }
        if code >= wire::CLUSTER_LIST
            && let Some(id) = cluster.take()
        {
            let others = if code == wire::CLUSTER_LIST {
                value
            } else {
                &[]
            };
            wire::put_header(out, OPTIONAL, wire::CLUSTER_LIST, 4 + others.len());
            out.extend_from_slice(&id);
            out.extend_from_slice(others);
        }
        if code != wire::CLUSTER_LIST {
            wire::put(out, flags, code, value);
        }
        octets = rest;
    }
    if let Some(id) = originator {
        wire::put(out, OPTIONAL, wire::ORIGINATOR_ID, &id);
    }
    if let Some(id) = cluster {
        wire::put(out, OPTIONAL, wire::CLUSTER_LIST, &id);
    }
}

/// Where our own address is the next hop that a group is told.
pub(crate) fn tells_own_next_hop(kind: GroupKind, rewrite: NextHopRewrite) -> bool {
    match rewrite {
        NextHopRewrite::Protocol => kind == GroupKind::External,
        NextHopRewrite::Unchanged => false,
        NextHopRewrite::PeerAddress => true,
    }
}
