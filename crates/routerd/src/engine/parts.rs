//! Dynamic parts on their way into force: merged, and taken out alone where the host refuses them.
//!
//! A part never costs more than itself: not the generation in force, which stays what a person applied, and not
//! the other parts.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::ResourceId;
use api::control::Config;
use api::time::Timestamp;
use routerd_core::dynamic::{self, Merge, Merged, Part, PartState};
use routerd_core::{Effective, plan};

use super::{Engine, Pass, Trouble};
use crate::dynamic::{Stock, key};
use crate::store::EventKind;

/// After this a part that the host refused is tried again, in milliseconds; then after ever longer.
const RETRY: u64 = 60_000;
/// The longest time between two tries.
const RETRY_MAX: u64 = 3_600_000;

/// A part that the host could not be brought to.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    why: String,
    until: Timestamp,
    tries: u32,
}

/// A configuration as it was applied.
#[derive(Debug, Clone, Default)]
pub(super) struct Startup {
    pub(super) config: Arc<Config>,
    pub(super) base: Arc<Effective>,
}

/// What a startup configuration, which means `base`, comes to with parts.
pub(crate) fn merged(
    config: &Config,
    base: &Effective,
    stock: &[Arc<Part>],
    now: Timestamp,
) -> Merged {
    // A host that was torn down carries nothing, whatever plugins say.
    if config.files.is_empty() {
        return Merged {
            effective: base.clone(),
            diagnostics: Vec::new(),
            merge: Merge::default(),
        };
    }
    dynamic::merge(config, base, stock, now)
}

impl Engine {
    /// What a startup configuration comes to with the parts of this moment.
    pub(super) fn merge(&mut self, startup: &Startup) -> Merged {
        let now = self.shelf.now();
        let Stock { version, parts } = self.shelf.stock();
        let gateways = self.known_gateways(&startup.base);
        let marked = |part| self.marked(part, &gateways, now);
        let parts: Vec<Arc<Part>> = parts.into_iter().map(marked).collect();
        let merged = merged(&startup.config, &startup.base, &parts, now);
        self.merged_version = version;
        let retries = self.refused.values().map(|refused| refused.until);
        let alarm = merged.merge.next_change.into_iter().chain(retries);
        self.alarm = alarm.filter(|at| *at > now).min();
        self.state.stock = Arc::new(parts);
        merged
    }

    /// The host's gateways; before its first pass it is asked for them.
    fn known_gateways(&mut self, base: &Effective) -> BTreeSet<Ipv4Addr> {
        if let Some(gateways) = &self.gateways {
            return gateways.clone();
        }
        let observed = self.kernel.observe(&plan::query(base));
        let observed = observed.inspect_err(|error| tracing::warn!("look for gateways: {error}"));
        observed.map_or_else(|_| BTreeSet::new(), |observed| dynamic::gateways(&observed))
    }

    /// The part, marked if it cannot count on this host or the host refused it not long ago.
    fn marked(&self, part: Arc<Part>, gateways: &BTreeSet<Ipv4Addr>, now: Timestamp) -> Arc<Part> {
        let refused = self.refused.get(&key(&part));
        let refused = refused.filter(|refused| refused.until > now);
        let why = refused.map(|refused| refused.why.clone());
        match part.barred(gateways).or(why) {
            None => part,
            Some(why) => Arc::new(Part {
                refused: Some(why),
                ..Part::clone(&part)
            }),
        }
    }

    /// When time alone changes what is in force; not after `now` if it does already.
    pub(crate) fn alarm(&self, now: Instant) -> Option<Instant> {
        let at = self.alarm?;
        let left = at.millis_since(self.shelf.now());
        Some(now + Duration::from_millis(left))
    }

    /// Merges anew if parts came or went; says whether it did.
    pub(super) fn follow_parts(&mut self) -> bool {
        let due = self.alarm.is_some_and(|at| at <= self.shelf.now());
        if !due && self.merged_version == self.shelf.version() {
            return false;
        }
        self.remerge();
        true
    }

    /// Puts into force what the startup configuration and the parts come to now.
    fn remerge(&mut self) {
        let startup = self.startup.clone();
        let merged = self.merge(&startup);
        let news = news(&self.state.merge, &merged.merge);
        self.take(merged);
        self.publish();
        if !news.is_empty() {
            let news = news.join("; ");
            tracing::info!("dynamic: {news}");
            self.note(EventKind::Dynamic, &news);
        }
    }

    /// What is merged is what is aimed at from now on.
    pub(super) fn take(&mut self, merged: Merged) {
        self.state.effective = Arc::new(merged.effective);
        self.state.merge = Arc::new(merged.merge);
        self.state.doubts = Arc::new(merged.diagnostics);
    }

    /// Brings the host to a startup configuration with its parts and proves it. A part that the host refuses is
    /// left out.
    pub(super) fn prove_merged(&mut self, startup: &Startup) -> (Merged, Pass, Option<Trouble>) {
        let mut done = Vec::new();
        loop {
            let merged = self.merge(startup);
            let (mut pass, trouble) = self.prove(&merged.effective);
            done.append(&mut pass.done);
            if trouble
                .as_ref()
                .is_some_and(|t| self.refuse(&merged.merge, t))
            {
                continue;
            }
            pass.done = done;
            return (merged, pass, trouble);
        }
    }

    /// Brings the host as near to what is in force as it goes. A part that the host refuses is taken out.
    pub(super) fn attempt_merged(&mut self) -> (Pass, Option<Trouble>) {
        let mut done = Vec::new();
        loop {
            let target = Arc::clone(&self.state.effective);
            let (mut pass, trouble) = self.attempt(&target);
            done.append(&mut pass.done);
            let merge = Arc::clone(&self.state.merge);
            if trouble.as_ref().is_some_and(|t| self.refuse(&merge, t)) {
                self.remerge();
                continue;
            }
            pass.done = done;
            return (pass, trouble);
        }
    }

    /// Marks the part behind a failure; says whether there is one. Each part is marked once at most before its time
    /// to be tried again comes.
    fn refuse(&mut self, merge: &Merge, trouble: &Trouble) -> bool {
        let owner = match trouble {
            Trouble::Step(error) => Some(&error.owner),
            Trouble::Unsettled { owner, .. } => owner.as_ref(),
            Trouble::Observe(_) | Trouble::Store(_) => None,
        };
        let index = owner.and_then(|owner| merge.added.get(owner));
        let Some(judged) = index.and_then(|index| merge.parts.get(*index)) else {
            return false;
        };
        let key = key(&judged.part);
        let tries = self.refused.get(&key).map_or(0, |refused| refused.tries);
        let pause = RETRY.saturating_mul(1 << tries.min(6)).min(RETRY_MAX);
        let refused = Refused {
            why: format!("the host refused it: {trouble}"),
            until: self.shelf.now().plus_millis(pause),
            tries: tries.saturating_add(1),
        };
        tracing::warn!("{} generation {}: {}", key.0, key.1, refused.why);
        // Parts that are no more need no marks.
        let known: BTreeSet<_> = merge
            .parts
            .iter()
            .map(|judged| self::key(&judged.part))
            .collect();
        self.refused.retain(|key, _| known.contains(key));
        self.refused
            .insert(key, refused)
            .is_none_or(|before| before.until <= self.shelf.now())
    }
}

/// What is different after a merge, for people.
fn news(old: &Merge, new: &Merge) -> Vec<String> {
    let part = |merge: &Merge, index: usize| {
        let judged = merge.parts.get(index);
        judged.map_or_else(String::new, |judged| {
            format!(
                "{} generation {}",
                judged.part.source, judged.part.generation
            )
        })
    };
    let mut news = Vec::new();
    let fresh = new
        .added
        .iter()
        .filter(|(id, _)| !old.added.contains_key(id));
    news.extend(fresh.map(|(id, index)| format!("+ {id} ({})", part(new, *index))));
    let gone = old
        .added
        .iter()
        .filter(|(id, _)| !new.added.contains_key(id));
    news.extend(gone.map(|(id, index)| format!("- {id} ({})", part(old, *index))));
    let hidden = new
        .masked
        .iter()
        .filter(|(id, _)| !old.masked.contains_key(id));
    news.extend(hidden.map(|(id, mask)| format!("{id} masked by {}", mask.source)));
    let back = old.masked.keys().filter(|id| !new.masked.contains_key(id));
    news.extend(back.map(|id: &ResourceId| format!("{id} not masked any more")));
    let quarantined = |merge: &Merge| -> BTreeSet<(String, u64, String)> {
        let parts = merge.parts.iter();
        let quarantined = parts.filter_map(|judged| match &judged.state {
            PartState::Quarantined(reasons) => Some((
                judged.part.source.clone(),
                judged.part.generation,
                reasons.join("; "),
            )),
            _ => None,
        });
        quarantined.collect()
    };
    let before = quarantined(old);
    let now = quarantined(new);
    let new = now.difference(&before);
    news.extend(new.map(|(source, n, why)| format!("{source} generation {n} quarantined: {why}")));
    news
}
