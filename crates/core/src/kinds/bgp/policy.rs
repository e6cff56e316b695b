//! What routes are taken and sent, and what is changed on the way.

use std::collections::BTreeSet;

use api::Diagnostic;
use bgp::{Community, CommunityPolicy, LengthRange, NextHopRewrite, Policy, PrefixList};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::bgp::prefix;
use crate::config::draft::Resource;
use crate::config::sink::Sink;
use crate::kinds::field::{Complaint, Text, TextField};

/// What is let through in one direction. Everything that is written has to hold.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RoutePolicy {
    /// Only these prefixes and what lies inside them, within the lengths below. Absent: all.
    pub(super) allowed_prefixes: Option<Vec<Text<Ipv4Net>>>,
    /// The shortest prefix length.
    #[schemars(range(min = 0, max = 32))]
    pub(super) allowed_prefix_length_min: Option<u8>,
    /// The longest prefix length.
    #[schemars(range(min = 0, max = 32))]
    pub(super) allowed_prefix_length_max: Option<u8>,
    /// Communities that a route must all have.
    #[serde(default)]
    required_communities: Vec<Text<CommunityText>>,
    /// Communities of which a route may have none.
    #[serde(default)]
    forbidden_communities: Vec<Text<CommunityText>>,
    /// The LOCAL_PREF that the route gets.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    local_preference: Option<u32>,
    /// The next hop that the route gets. Absent: as the protocol has it, which is kept between internal peers, and our own address
    /// to external ones.
    next_hop_rewrite: Option<Rewrite>,
}

/// What becomes of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Rewrite {
    /// On import the peer's own address, on export ours as the peer sees it.
    PeerAddress,
    /// Kept, to external peers as well.
    Unchanged,
}

/// A community: `65000:1`, `65000:1:2`, or a well-known name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommunityText(pub(super) Community);

impl TextField for CommunityText {
    const FORMAT: &'static str = "bgp-community";
    const WHAT: &'static str = "a community (65000:1, 65000:1:2, or no-export)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse()
            .map(Self)
            .map_err(|_| Complaint::not::<Self>("bad-community", text))
    }
}

/// What happens to communities.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Communities {
    /// Whether they are sent. Default: true.
    send: Option<bool>,
    /// Whether those of the peer are kept. Default: true.
    accept: Option<bool>,
    /// Communities that are added.
    #[serde(default)]
    set: SetCommunities,
}

/// Communities that are added.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetCommunities {
    /// To what is taken.
    #[serde(default, rename = "in")]
    inward: Vec<Text<CommunityText>>,
    /// To what is sent.
    #[serde(default, rename = "out")]
    outward: Vec<Text<CommunityText>>,
}

fn set(communities: &[Text<CommunityText>]) -> BTreeSet<Community> {
    communities.iter().map(|text| text.0.0).collect()
}

impl Communities {
    pub(super) fn compile(&self) -> CommunityPolicy {
        CommunityPolicy {
            send: self.send.unwrap_or(true),
            accept: self.accept.unwrap_or(true),
            set_in: set(&self.set.inward),
            set_out: set(&self.set.outward),
        }
    }
}

impl RoutePolicy {
    /// Checks the lengths; `field` is where the policy stands.
    pub(super) fn check(&self, field: &str, resource: &Resource<'_>, sink: &mut Sink<'_>) -> bool {
        let (min, max) = self.lengths();
        if min > max {
            let message = format!("no prefix is at least {min} and at most {max} bits long");
            let found = Diagnostic::error("empty-policy", message).hint("swap the two");
            resource.report(sink, &format!("{field}.allowedPrefixLengthMin"), found);
            return false;
        }
        let prefixes = self.allowed_prefixes.iter().flatten();
        for (index, prefix) in prefixes.enumerate() {
            if prefix.prefix_len() > max {
                let message =
                    format!("{prefix} is longer than {max} bits: nothing in it is allowed");
                let found = Diagnostic::error("empty-policy", message)
                    .hint("raise `allowedPrefixLengthMax`, or remove the prefix");
                resource.report(sink, &format!("{field}.allowedPrefixes.{index}"), found);
                return false;
            }
        }
        true
    }

    fn lengths(&self) -> (u8, u8) {
        (
            self.allowed_prefix_length_min.unwrap_or(0),
            self.allowed_prefix_length_max.unwrap_or(32),
        )
    }

    /// Whether every route that it lets through is one host's.
    pub(super) fn only_hosts(&self) -> bool {
        let prefixes = self.allowed_prefixes.as_ref();
        let all = |prefixes: &Vec<Text<Ipv4Net>>| prefixes.iter().all(|p| p.prefix_len() == 32);
        prefixes.is_some_and(|p| self.allowed_prefix_length_min == Some(32) || all(p))
    }

    pub(super) fn compile(&self) -> Policy {
        let prefixes = self.allowed_prefixes.as_deref();
        Policy {
            allowed: prefixes.map(|prefixes| prefix_list(prefixes, self.lengths())),
            length_min: self.allowed_prefix_length_min,
            length_max: self.allowed_prefix_length_max,
            required_communities: set(&self.required_communities),
            forbidden_communities: set(&self.forbidden_communities),
            local_preference: self.local_preference,
            next_hop: match self.next_hop_rewrite {
                None => NextHopRewrite::Protocol,
                Some(Rewrite::PeerAddress) => NextHopRewrite::PeerAddress,
                Some(Rewrite::Unchanged) => NextHopRewrite::Unchanged,
            },
        }
    }
}

/// Prefixes and what lies inside them, within these lengths.
pub(super) fn prefix_list(prefixes: &[Text<Ipv4Net>], (min, max): (u8, u8)) -> PrefixList {
    let entry = |net: &Text<Ipv4Net>| {
        let lengths = LengthRange {
            min: min.max(net.prefix_len()),
            max,
        };
        Some((prefix(net.0)?, lengths))
    };
    prefixes.iter().filter_map(entry).collect()
}
