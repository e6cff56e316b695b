//! Import and export policy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::types::{Community, Prefix};
use crate::view::RejectReason;

/// What is let through in one direction, and what is changed on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Policy {
    /// If present, only these prefixes.
    pub allowed: Option<PrefixList>,
    /// Shortest prefix.
    pub length_min: Option<u8>,
    /// Longest prefix.
    pub length_max: Option<u8>,
    /// Communities that a route must all carry.
    pub required_communities: BTreeSet<Community>,
    /// Communities of which a route may carry none.
    pub forbidden_communities: BTreeSet<Community>,
    /// LOCAL_PREF that the route gets.
    pub local_preference: Option<u32>,
    /// Next hop that the route gets.
    pub next_hop: NextHopRewrite,
}

/// What becomes of a route's next hop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHopRewrite {
    /// As the protocol has it: kept between internal peers, our own address to external ones.
    #[default]
    Protocol,
    /// Kept, to external peers as well.
    Unchanged,
    /// On import the peer's address, on export ours as the peer sees it.
    PeerAddress,
}

/// What happens to communities, beside what a policy asks of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommunityPolicy {
    /// Whether communities are sent.
    pub send: bool,
    /// Whether communities of the peer are kept.
    pub accept: bool,
    /// Added to what the peer announces.
    pub set_in: BTreeSet<Community>,
    /// Added to what it is sent.
    pub set_out: BTreeSet<Community>,
}

impl Default for CommunityPolicy {
    fn default() -> Self {
        Self {
            send: true,
            accept: true,
            set_in: BTreeSet::new(),
            set_out: BTreeSet::new(),
        }
    }
}

/// Lengths of more specific prefixes that an entry lets through as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LengthRange {
    /// Shortest.
    pub min: u8,
    /// Longest.
    pub max: u8,
}

/// Prefixes, each with the lengths inside it that are meant. Lookup costs one search per distinct length.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(
    from = "Vec<(Prefix, LengthRange)>",
    into = "Vec<(Prefix, LengthRange)>"
)]
pub struct PrefixList {
    entries: BTreeMap<Prefix, LengthRange>,
    lengths: BTreeSet<u8>,
}

impl PrefixList {
    /// Adds a prefix, and with it those inside of the given lengths.
    pub fn insert(&mut self, prefix: Prefix, lengths: LengthRange) {
        self.lengths.insert(prefix.length());
        self.entries.insert(prefix, lengths);
    }

    /// Whether it holds nothing: then it lets nothing through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, LengthRange)> + '_ {
        self.entries
            .iter()
            .map(|(prefix, lengths)| (*prefix, *lengths))
    }

    /// Whether the list lets `prefix` through.
    #[must_use]
    pub fn matches(&self, prefix: Prefix) -> bool {
        self.lengths.range(..=prefix.length()).any(|&length| {
            Prefix::new(prefix.address(), length)
                .and_then(|covering| self.entries.get(&covering))
                .is_some_and(|l| (l.min..=l.max).contains(&prefix.length()))
        })
    }
}

/// Exactly these prefixes.
impl FromIterator<Prefix> for PrefixList {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        prefixes
            .into_iter()
            .map(|p| {
                let length = p.length();
                let exact = LengthRange {
                    min: length,
                    max: length,
                };
                (p, exact)
            })
            .collect()
    }
}

impl FromIterator<(Prefix, LengthRange)> for PrefixList {
    fn from_iter<I: IntoIterator<Item = (Prefix, LengthRange)>>(entries: I) -> Self {
        let mut list = Self::default();
        for (prefix, lengths) in entries {
            list.insert(prefix, lengths);
        }
        list
    }
}

impl From<Vec<(Prefix, LengthRange)>> for PrefixList {
    fn from(entries: Vec<(Prefix, LengthRange)>) -> Self {
        entries.into_iter().collect()
    }
}

impl From<PrefixList> for Vec<(Prefix, LengthRange)> {
    fn from(list: PrefixList) -> Self {
        list.iter().collect()
    }
}

impl Policy {
    /// Why a prefix is not let through, if it is not.
    pub(crate) fn refuses_prefix(&self, prefix: Prefix) -> Option<RejectReason> {
        let length = prefix.length();
        if self.length_min.is_some_and(|min| length < min)
            || self.length_max.is_some_and(|max| length > max)
        {
            return Some(RejectReason::PrefixLength);
        }
        let outside = self
            .allowed
            .as_ref()
            .is_some_and(|list| !list.matches(prefix));
        outside.then_some(RejectReason::PrefixNotAllowed)
    }
}
