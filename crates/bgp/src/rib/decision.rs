//! Best path (RFC 4271, section 9.1.2.2; RFC 4456, section 9; RFC 9494, section 4.2).
//!
//! The order of paths is total and knows nothing of arrival, so that every speaker with the same paths selects the
//! same one. MED is compared between paths of one neighbouring system only, unless told otherwise; so that this does
//! not make the outcome depend on the order, the best of each neighbour is found first.

use std::cmp::Ordering;
use std::fmt;

use super::table::{NONE, Rib};
use super::{Rules, Source, SourceKind};
use crate::attr::Facts;
use crate::wire::nlri::Address;

/// What decided between two paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    LongLivedStale,
    LocalPreference,
    OwnRoute,
    AsPathLength,
    Origin,
    Med,
    External,
    Metric,
    RouterId,
    ClusterListLength,
    PeerAddress,
    PathId,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LongLivedStale => "not long-lived stale",
            Self::LocalPreference => "higher local preference",
            Self::OwnRoute => "originated here",
            Self::AsPathLength => "shorter AS path",
            Self::Origin => "better origin",
            Self::Med => "lower MED",
            Self::External => "external rather than internal",
            Self::Metric => "nearer next hop",
            Self::RouterId => "lower router or originator id",
            Self::ClusterListLength => "shorter cluster list",
            Self::PeerAddress => "lower peer address",
            Self::PathId => "lower path identifier",
        })
    }
}

/// A path with all that is compared.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) at: u32,
    path_id: u32,
    facts: &'a Facts,
    source: &'a Source,
    metric: u32,
}

impl<'a> Candidate<'a> {
    /// `None`: not eligible.
    fn new<A: Address>(rib: &'a Rib<A>, rules: Rules<'a>, at: u32) -> Option<Self> {
        let path = &rib.paths[at as usize];
        if path.rejected.is_some() {
            return None;
        }
        Some(Self {
            at,
            path_id: rib.path_id(at),
            facts: rules.attrs.facts(path.attrs),
            source: &rules.sources[path.source.at()],
            metric: match path.source {
                crate::session::PeerIx::LOCAL => 0,
                _ => rules.attrs.metric(path.attrs)?,
            },
        })
    }

    fn id(&self) -> u32 {
        match self.facts.originator {
            0 => self.source.router_id,
            originator => originator,
        }
    }

    /// Which of two is better (`Less`: self), and by what. `None`: they are the same path.
    pub(crate) fn compare(&self, other: &Self, med: bool) -> Option<(Ordering, Step)> {
        let same_neighbour = self.facts.neighbour == other.facts.neighbour;
        self.worth(other)
            .or_else(|| {
                let lower = self.facts.med.cmp(&other.facts.med);
                step(
                    if med || same_neighbour {
                        lower
                    } else {
                        Ordering::Equal
                    },
                    Step::Med,
                )
            })
            .or_else(|| self.distance(other))
            .or_else(|| self.tie_break(other))
    }

    /// Steps before MED.
    fn worth(&self, other: &Self) -> Option<(Ordering, Step)> {
        let (a, b) = (self.facts, other.facts);
        let own = |c: &Self| c.source.kind != SourceKind::Local;
        step(a.llgr_stale.cmp(&b.llgr_stale), Step::LongLivedStale)
            .or_else(|| {
                let higher = b.local_preference.cmp(&a.local_preference);
                step(higher, Step::LocalPreference)
            })
            .or_else(|| step(own(self).cmp(&own(other)), Step::OwnRoute))
            .or_else(|| step(a.as_path_length.cmp(&b.as_path_length), Step::AsPathLength))
            .or_else(|| step(a.origin.cmp(&b.origin), Step::Origin))
    }

    /// Steps after MED that still say something about the path.
    fn distance(&self, other: &Self) -> Option<(Ordering, Step)> {
        let internal =
            |c: &Self| matches!(c.source.kind, SourceKind::Internal | SourceKind::Client);
        step(internal(self).cmp(&internal(other)), Step::External)
            .or_else(|| step(self.metric.cmp(&other.metric), Step::Metric))
    }

    fn tie_break(&self, other: &Self) -> Option<(Ordering, Step)> {
        let clusters = |c: &Self| c.facts.cluster_list_length;
        step(self.id().cmp(&other.id()), Step::RouterId)
            .or_else(|| {
                step(
                    clusters(self).cmp(&clusters(other)),
                    Step::ClusterListLength,
                )
            })
            .or_else(|| {
                step(
                    self.source.address.cmp(&other.source.address),
                    Step::PeerAddress,
                )
            })
            .or_else(|| step(self.path_id.cmp(&other.path_id), Step::PathId))
    }

    /// Whether traffic may be shared between the two (ECMP).
    pub(crate) fn is_equal_cost(&self, other: &Self, med: bool) -> bool {
        let same_neighbour = self.facts.neighbour == other.facts.neighbour;
        let med = !(med || same_neighbour) || self.facts.med == other.facts.med;
        self.worth(other).is_none() && med && self.distance(other).is_none()
    }
}

fn step(ordering: Ordering, step: Step) -> Option<(Ordering, Step)> {
    (ordering != Ordering::Equal).then_some((ordering, step))
}

fn better<'a>(a: Candidate<'a>, b: Candidate<'a>, med: bool) -> Candidate<'a> {
    match a.compare(&b, med) {
        Some((Ordering::Greater, _)) => b,
        _ => a,
    }
}

/// Eligible paths of a prefix.
pub(crate) fn candidates<'a, A: Address>(
    rib: &'a Rib<A>,
    rules: Rules<'a>,
    slot: u32,
) -> impl Iterator<Item = Candidate<'a>> {
    rib.paths_of(slot)
        .filter_map(move |at| Candidate::new(rib, rules, at))
}

/// The best path of a prefix, or [`NONE`].
pub(crate) fn best<A: Address>(rib: &Rib<A>, rules: Rules<'_>, slot: u32) -> u32 {
    let all = candidates(rib, rules, slot);
    best_of(all, rules.always_compare_med).map_or(NONE, |best| best.at)
}

/// The best of some paths.
pub(crate) fn best_of<'a>(
    mut all: impl Iterator<Item = Candidate<'a>>,
    med: bool,
) -> Option<Candidate<'a>> {
    let mut first = all.next()?;
    if med {
        return Some(all.fold(first, |best, next| better(best, next, true)));
    }
    // Mostly there is one neighbour, and `others` never allocates.
    let mut others: Vec<Candidate<'a>> = Vec::new();
    for next in all {
        if next.facts.neighbour == first.facts.neighbour {
            first = better(first, next, false);
            continue;
        }
        let same = |c: &&mut Candidate<'_>| c.facts.neighbour == next.facts.neighbour;
        match others.iter_mut().find(same) {
            Some(winner) => *winner = better(*winner, next, false),
            None => others.push(next),
        }
    }
    Some(
        others
            .into_iter()
            .fold(first, |best, next| better(best, next, false)),
    )
}

/// Paths from best to worst, at most `limit`: each the best of what the better ones left.
pub(crate) fn ranked<'a>(
    mut all: Vec<Candidate<'a>>,
    med: bool,
    limit: usize,
) -> Vec<Candidate<'a>> {
    let mut ranked = Vec::new();
    while ranked.len() < limit
        && let Some(best) = best_of(all.iter().copied(), med)
    {
        all.retain(|c| c.at != best.at);
        ranked.push(best);
    }
    ranked
}
