//! The merge itself.

use std::collections::{BTreeMap, BTreeSet};

use api::ResourceId;
use api::control::Config;
use api::time::Timestamp;

use super::{Part, Policies};
use crate::config::Loaded;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartStatus {
    /// Its source.
    pub source: String,
    /// Its generation.
    pub generation: u64,
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

/// The result of a merge.
#[derive(Debug)]
pub struct Merged {
    /// The configuration that counts, compiled. Its diagnostics are those of the startup configuration and of
    /// the parts that count.
    pub loaded: Loaded,
    /// Every part, in order of source and generation.
    pub parts: Vec<PartStatus>,
    /// Resources that parts added, with the index of the part in [`Self::parts`].
    pub added: BTreeMap<ResourceId, usize>,
    /// Resources that are masked.
    pub masked: BTreeMap<ResourceId, Mask>,
    /// When the merge gives another result without anything else changing.
    pub next_change: Option<Timestamp>,
}

/// Loads files, leaving out the resources named.
pub trait Load {
    /// As [`crate::config::load`].
    fn load(&self, config: &Config, masked: &BTreeSet<ResourceId>) -> Loaded;
}

impl<F: Fn(&Config, &BTreeSet<ResourceId>) -> Loaded> Load for F {
    fn load(&self, config: &Config, masked: &BTreeSet<ResourceId>) -> Loaded {
        self(config, masked)
    }
}

/// Merges. If the startup configuration itself is invalid, no part counts and the result says what is wrong
/// with it.
pub fn merge(
    startup: &Config,
    parts: &[Part],
    policies: &Policies,
    now: Timestamp,
    loader: &impl Load,
) -> Merged {
    let mut parts: Vec<&Part> = parts.iter().collect();
    parts.sort_by(|a, b| (&a.source, a.generation).cmp(&(&b.source, b.generation)));
    let mut states: Vec<PartState> = (0..parts.len())
        .map(|i| state_by_time(&parts, i, now))
        .collect();
    let base = loader.load(startup, &BTreeSet::new());
    let startup_ids = ids_of(&base);
    for (part, state) in parts.iter().zip(&mut states) {
        if counts(state) {
            let mut reasons = policies.violations(part);
            reasons.extend(collisions(part, &startup_ids));
            quarantine(state, reasons);
        }
    }
    quarantine_rivals(&parts, &mut states);
    let loaded = if base.effective.is_some() {
        settle(startup, &parts, &mut states, loader)
    } else {
        base
    };
    Merged {
        loaded,
        added: added(&parts, &states),
        masked: masks(&parts, &states),
        next_change: next_change(&parts, &states, now),
        parts: statuses(&parts, states),
    }
}

fn counts(state: &PartState) -> bool {
    matches!(state, PartState::Active | PartState::Held)
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

fn ids_of(loaded: &Loaded) -> BTreeSet<ResourceId> {
    loaded
        .effective
        .iter()
        .flat_map(|effective| effective.resources.keys().cloned())
        .collect()
}

fn resource_ids(part: &Part) -> impl Iterator<Item = ResourceId> + '_ {
    part.resources
        .iter()
        .map(|r| ResourceId::new(&*r.kind, &*r.metadata.name))
}

fn mask_ids(part: &Part) -> impl Iterator<Item = ResourceId> + '_ {
    part.directives
        .iter()
        .map(|d| ResourceId::new(&*d.target.kind, &*d.target.name))
}

/// A part may put a resource in the place of one that it masks itself, of no other.
fn collisions(part: &Part, startup: &BTreeSet<ResourceId>) -> Vec<String> {
    let own_masks: BTreeSet<ResourceId> = mask_ids(part).collect();
    let taken = resource_ids(part).filter(|id| startup.contains(id) && !own_masks.contains(id));
    taken
        .map(|id| format!("{id} is in the startup configuration"))
        .collect()
}

/// Two sources with one identity: the earlier word holds it, the later part is quarantined, both are named.
fn quarantine_rivals(parts: &[&Part], states: &mut [PartState]) {
    let mut order: Vec<usize> = (0..parts.len()).filter(|i| counts(&states[*i])).collect();
    order.sort_by_key(|i| (parts[*i].observed_at, &parts[*i].source));
    let mut holders: BTreeMap<ResourceId, &str> = BTreeMap::new();
    for index in order {
        let part = parts[index];
        let rivals: Vec<String> = resource_ids(part)
            .filter_map(|id| {
                holders
                    .get(&id)
                    .map(|holder| format!("{id} of {} is held by {holder}", part.source))
            })
            .collect();
        if rivals.is_empty() {
            holders.extend(resource_ids(part).map(|id| (id, part.source.as_str())));
        }
        quarantine(&mut states[index], rivals);
    }
}

/// Loads startup and parts; parts that make it invalid are quarantined.
fn settle(
    startup: &Config,
    parts: &[&Part],
    states: &mut [PartState],
    loader: &impl Load,
) -> Loaded {
    loop {
        let all = load_with(startup, parts, states, loader);
        if all.effective.is_some() {
            return all;
        }
        // What is wrong inside a part convicts it at once.
        let mut found = false;
        for (part, state) in parts
            .iter()
            .zip(states.iter_mut())
            .filter(|(_, state)| counts(state))
        {
            let reasons = errors(&all, Some(&part.file_name()));
            found |= !reasons.is_empty();
            quarantine(state, reasons);
        }
        if !found {
            return settle_one_by_one(startup, parts, states, loader);
        }
    }
}

/// The error shows elsewhere: a mask leaves a reference dangling, say. Parts are taken one by one in the order
/// of their words, and the one that breaks it is out.
fn settle_one_by_one(
    startup: &Config,
    parts: &[&Part],
    states: &mut [PartState],
    loader: &impl Load,
) -> Loaded {
    let mut order: Vec<usize> = (0..parts.len()).filter(|i| counts(&states[*i])).collect();
    order.sort_by_key(|i| (parts[*i].observed_at, &parts[*i].source));
    let wanted: Vec<PartState> = states.to_vec();
    for index in &order {
        states[*index] = PartState::Superseded;
    }
    let mut loaded = load_with(startup, parts, states, loader);
    for index in order {
        states[index] = wanted[index].clone();
        let next = load_with(startup, parts, states, loader);
        if next.effective.is_some() {
            loaded = next;
        } else {
            states[index] = PartState::Quarantined(errors(&next, None));
        }
    }
    loaded
}

fn load_with(
    startup: &Config,
    parts: &[&Part],
    states: &[PartState],
    loader: &impl Load,
) -> Loaded {
    let active = || {
        parts
            .iter()
            .zip(states)
            .filter(|(_, state)| counts(state))
            .map(|(part, _)| part)
    };
    let mut config = startup.clone();
    config.files.extend(
        active()
            .filter(|part| !part.resources.is_empty())
            .map(|part| part.file()),
    );
    let masked = active().flat_map(|part| mask_ids(part)).collect();
    loader.load(&config, &masked)
}

/// The errors of a load, or those in one file of it.
fn errors(loaded: &Loaded, file: Option<&str>) -> Vec<String> {
    let errors = loaded.diagnostics.iter().filter(|d| d.is_error());
    let here =
        errors.filter(|d| file.is_none() || d.place.as_ref().map(|p| p.file.as_str()) == file);
    here.map(ToString::to_string).collect()
}

fn added(parts: &[&Part], states: &[PartState]) -> BTreeMap<ResourceId, usize> {
    let active = parts
        .iter()
        .zip(states)
        .enumerate()
        .filter(|(_, (_, state))| counts(state));
    active
        .flat_map(|(index, (part, _))| resource_ids(part).map(move |id| (id, index)))
        .collect()
}

fn masks(parts: &[&Part], states: &[PartState]) -> BTreeMap<ResourceId, Mask> {
    let active = parts.iter().zip(states).filter(|(_, state)| counts(state));
    let one = |part: &Part, reason: &Option<String>| Mask {
        source: part.source.clone(),
        generation: part.generation,
        until: part.gone_at(),
        reason: reason.clone(),
    };
    active
        .flat_map(|(part, _)| {
            mask_ids(part)
                .zip(&part.directives)
                .map(|(id, d)| (id, one(part, &d.reason)))
        })
        .collect()
}

fn next_change(parts: &[&Part], states: &[PartState], now: Timestamp) -> Option<Timestamp> {
    let waiting = parts
        .iter()
        .zip(states)
        .filter(|(_, state)| !matches!(state, PartState::Superseded));
    let times = waiting.flat_map(|(part, _)| [part.expires_at, part.gone_at()]);
    times.flatten().filter(|time| *time > now).min()
}

fn statuses(parts: &[&Part], states: Vec<PartState>) -> Vec<PartStatus> {
    let one = |(part, state): (&&Part, PartState)| PartStatus {
        source: part.source.clone(),
        generation: part.generation,
        state,
    };
    parts.iter().zip(states).map(one).collect()
}
