//! The merge itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::control::{Config, SourceFile};
use api::time::Timestamp;
use api::{Diagnostic, ResourceId};

use super::{Digest, Part, rivals};
use crate::Effective;
use crate::config::{Loaded, load_merged};

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartState {
    /// It counts.
    Active,
    /// Its time is over; it still counts until the hold ends.
    Held,
    /// It counts no more.
    Expired,
    /// A newer generation of its source counts.
    Superseded,
    /// It does not count, and this is why.
    Quarantined(Vec<String>),
}

/// A part and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The part.
    pub part: Arc<Part>,
    /// What became of it.
    pub state: PartState,
}

/// Why a resource of the startup configuration is suppressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Who masks it.
    pub source: String,
    /// Which generation.
    pub generation: u64,
    /// Until when; absent: as long as the part stands.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

/// What the parts came to, beside the configuration that they make.
#[derive(Debug, Clone, Default)]
pub struct Merge {
    /// Every part, in order of source and generation.
    pub parts: Vec<Judged>,
    /// Resources that parts added, with the index of the part in [`Self::parts`].
    pub added: BTreeMap<ResourceId, usize>,
    /// Resources that are masked.
    pub masked: BTreeMap<ResourceId, Mask>,
    /// When the merge gives another result without anything else changing.
    pub next_change: Option<Timestamp>,
}

/// The result of a merge.
#[derive(Debug)]
pub struct Merged {
    /// The configuration that counts.
    pub effective: Effective,
    /// What is doubtful about the parts, and which of them are quarantined.
    pub diagnostics: Vec<Diagnostic>,
    /// What the parts came to.
    pub merge: Merge,
}

/// Loads a configuration with other files beside it, leaving out the resources named.
pub trait Load {
    /// As [`load_merged`].
    fn load(
        &self,
        startup: &Config,
        others: Vec<SourceFile>,
        masked: &BTreeSet<ResourceId>,
    ) -> Loaded;
}

/// [`load_merged`] itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Real;

impl Load for Real {
    fn load(
        &self,
        startup: &Config,
        others: Vec<SourceFile>,
        masked: &BTreeSet<ResourceId>,
    ) -> Loaded {
        load_merged(startup, others, masked)
    }
}

impl<F: Fn(&Config, Vec<SourceFile>, &BTreeSet<ResourceId>) -> Loaded> Load for F {
    fn load(
        &self,
        startup: &Config,
        others: Vec<SourceFile>,
        masked: &BTreeSet<ResourceId>,
    ) -> Loaded {
        self(startup, others, masked)
    }
}

/// Merges a startup configuration, which is valid and means `base`, with the parts in it and those in the store.
///
/// Whatever parts say, the result is valid: at worst it is `base`.
pub fn merge(startup: &Config, base: &Effective, stored: &[Arc<Part>], now: Timestamp) -> Merged {
    merge_by(startup, base, stored, now, &Real)
}

pub(super) fn merge_by(
    startup: &Config,
    base: &Effective,
    stored: &[Arc<Part>],
    now: Timestamp,
    loader: &impl Load,
) -> Merged {
    // At a tie the stored one stands behind, and counts.
    let mut shared: Vec<&Arc<Part>> = base.parts.iter().chain(stored).collect();
    shared.sort_by(|a, b| (&a.source, a.generation).cmp(&(&b.source, b.generation)));
    let parts: Vec<&Part> = shared.iter().map(|part| part.as_ref()).collect();
    let mut states: Vec<PartState> = (0..parts.len())
        .map(|i| state_by_time(&parts, i, now))
        .collect();
    for (part, state) in parts.iter().zip(states.iter_mut()) {
        if counts(state) {
            quarantine(state, faults(part, base));
        }
    }
    for (loser, reasons) in rivals::losers(&parts, &counting(&states)) {
        quarantine(&mut states[loser], reasons);
    }
    let settled = Settle {
        startup,
        parts: &parts,
        loader,
    }
    .settle(&mut states);
    let (effective, mut diagnostics) = settled.unwrap_or_else(|| (base.clone(), Vec::new()));
    // What is said of the startup configuration because of a part, nobody could put right there.
    let files: BTreeSet<String> = parts.iter().map(|part| part.file_name()).collect();
    diagnostics.retain(|found| {
        found
            .place
            .as_ref()
            .is_some_and(|p| files.contains(&p.file))
    });
    diagnostics.extend(quarantines(&parts, &states));
    let merge = Merge {
        added: added(&parts, &states),
        masked: masks(&parts, &states),
        next_change: next_change(&parts, &states, now),
        parts: judged(&shared, states),
    };
    Merged {
        effective,
        diagnostics,
        merge,
    }
}

fn counts(state: &PartState) -> bool {
    matches!(state, PartState::Active | PartState::Held)
}

fn counting(states: &[PartState]) -> Vec<usize> {
    (0..states.len()).filter(|i| counts(&states[*i])).collect()
}

fn quarantine(state: &mut PartState, reasons: Vec<String>) {
    if !reasons.is_empty() {
        *state = PartState::Quarantined(reasons);
    }
}

/// `parts` is in order of source and generation, so a part is superseded exactly if the next one has its source.
fn state_by_time(parts: &[&Part], index: usize, now: Timestamp) -> PartState {
    let part = parts[index];
    if parts
        .get(index + 1)
        .is_some_and(|next| next.source == part.source)
    {
        PartState::Superseded
    } else if part.is_gone(now) {
        PartState::Expired
    } else if part.is_expired(now) {
        PartState::Held
    } else {
        PartState::Active
    }
}

/// What is wrong with a part whatever others say.
fn faults(part: &Part, base: &Effective) -> Vec<String> {
    let mut reasons = base.permissions.violations(part);
    if part.plugin.is_some() && !is_configured(part.authority(), base) {
        let authority = part.authority();
        reasons.push(format!("{authority} is not configured any more"));
    }
    reasons.extend(collisions(part, base));
    if part.digest.is_some_and(|digest| digest != Digest::of(part)) {
        reasons.push(format!(
            "its digest is not that of what it says, {}",
            Digest::of(part)
        ));
    }
    reasons.extend(part.refused.clone());
    reasons
}

/// Whether there is still somebody who lets this source speak.
fn is_configured(authority: &str, base: &Effective) -> bool {
    let (kind, name) = authority.split_once('/').unwrap_or_default();
    match kind {
        "EventSubscription" => base.federation.subscriptions.contains_key(name),
        "DynamicConfigSource" => base.sources.contains_key(name),
        _ => false,
    }
}

/// A part may put a resource in the place of one that it masks itself, of no other.
fn collisions(part: &Part, base: &Effective) -> Vec<String> {
    let own_masks: BTreeSet<ResourceId> = part.masks().collect();
    let startup = &base.resources;
    let taken = part
        .ids()
        .filter(|id| startup.contains_key(id) && !own_masks.contains(id));
    taken
        .map(|id| format!("{id} is in the startup configuration"))
        .collect()
}

/// Finds what can be loaded together.
struct Settle<'a, L> {
    startup: &'a Config,
    parts: &'a [&'a Part],
    loader: &'a L,
}

impl<L: Load> Settle<'_, L> {
    /// Loads startup and parts; parts that make it invalid are quarantined. Nothing if no part counts.
    fn settle(&self, states: &mut [PartState]) -> Option<(Effective, Vec<Diagnostic>)> {
        loop {
            let counting = counting(states);
            if counting.is_empty() {
                return None;
            }
            let all = self.load(&counting);
            if let Some(effective) = all.effective {
                return Some((effective, all.diagnostics));
            }
            if !self.convict(&counting, &all, states) {
                self.exclude(&counting, states);
            }
        }
    }

    /// What is wrong inside a part convicts it at once.
    fn convict(&self, counting: &[usize], all: &Loaded, states: &mut [PartState]) -> bool {
        let mut errors: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for found in all.diagnostics.iter().filter(|d| d.is_error()) {
            if let Some(place) = &found.place {
                let reasons = errors.entry(&place.file).or_default();
                reasons.push(in_a_line(found));
            }
        }
        let mut found = false;
        for index in counting {
            let reasons = errors.remove(self.parts[*index].file_name().as_str());
            if let Some(reasons) = reasons {
                quarantine(&mut states[*index], reasons);
                found = true;
            }
        }
        found
    }

    /// The error shows elsewhere: a mask leaves a reference dangling, say. Of the parts in the order of their words
    /// one is out with which those before it do not load, though they do without it.
    fn exclude(&self, counting: &[usize], states: &mut [PartState]) {
        let mut order = counting.to_vec();
        order.sort_by_key(|index| self.rank(*index));
        // With none of them it loads, with all of them it does not.
        let (mut good, mut bad) = (0, order.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            match self.load(&order[..middle]).effective {
                Some(_) => good = middle,
                None => bad = middle,
            }
        }
        let failed = self.load(&order[..bad]);
        let errors = failed.diagnostics.iter().filter(|d| d.is_error());
        let mut reasons: Vec<String> = errors.map(in_a_line).collect();
        if reasons.is_empty() {
            reasons.push("the configuration does not load with it".to_owned());
        }
        quarantine(&mut states[order[good]], reasons);
    }

    /// How long a part has been saying what it says.
    fn rank(&self, index: usize) -> (Timestamp, &str) {
        let part = self.parts[index];
        let since = part.ids().map(|id| part.since(&id)).min();
        (since.unwrap_or(part.observed_at), &part.source)
    }

    /// The earlier word stands first: of two that claim the same, an error is found in the later one.
    fn load(&self, indices: &[usize]) -> Loaded {
        let mut order = indices.to_vec();
        order.sort_by_key(|index| self.rank(*index));
        let parts = || order.iter().map(|index| self.parts[*index]);
        let files = parts().filter(|part| !part.resources.is_empty());
        let masked = parts().flat_map(Part::masks).collect();
        self.loader
            .load(self.startup, files.map(Part::file).collect(), &masked)
    }
}

/// A diagnostic without its place, which is in a text that nobody has.
fn in_a_line(found: &Diagnostic) -> String {
    let subject = found.subject.iter().map(|subject| format!("{subject}: "));
    let subject: String = subject.collect();
    format!("{subject}{} [{}]", found.message, found.id)
}

/// What `plan` and `apply` say of parts that do not count.
fn quarantines(parts: &[&Part], states: &[PartState]) -> Vec<Diagnostic> {
    let one = |(part, state): (&&Part, &PartState)| {
        let PartState::Quarantined(reasons) = state else {
            return None;
        };
        let subject = format!("{} generation {}", part.source, part.generation);
        let found = Diagnostic::warning("part-quarantined", reasons.join("; "))
            .about(subject)
            .hint(format!("`routerctl dynamic describe {}`", part.source));
        Some(found)
    };
    parts.iter().zip(states).filter_map(one).collect()
}

fn added(parts: &[&Part], states: &[PartState]) -> BTreeMap<ResourceId, usize> {
    let ids = |index: usize| parts[index].ids().map(move |id| (id, index));
    counting(states).into_iter().flat_map(ids).collect()
}

fn masks(parts: &[&Part], states: &[PartState]) -> BTreeMap<ResourceId, Mask> {
    let one = |part: &Part, reason: &Option<String>| Mask {
        source: part.source.clone(),
        generation: part.generation,
        until: part.gone_at(),
        reason: reason.clone(),
    };
    let of_part = |part: &Part| -> Vec<(ResourceId, Mask)> {
        let directives = part.masks().zip(&part.directives);
        directives
            .map(|(id, directive)| (id, one(part, &directive.reason)))
            .collect()
    };
    let counting = counting(states);
    counting.iter().flat_map(|i| of_part(parts[*i])).collect()
}

fn next_change(parts: &[&Part], states: &[PartState], now: Timestamp) -> Option<Timestamp> {
    let waiting = parts
        .iter()
        .zip(states)
        .filter(|(_, state)| !matches!(state, PartState::Superseded));
    let times = waiting.flat_map(|(part, _)| [part.expires_at, part.gone_at()]);
    times.flatten().filter(|time| *time > now).min()
}

fn judged(parts: &[&Arc<Part>], states: Vec<PartState>) -> Vec<Judged> {
    let one = |(part, state): (&&Arc<Part>, PartState)| Judged {
        part: Arc::clone(part),
        state,
    };
    parts.iter().zip(states).map(one).collect()
}
