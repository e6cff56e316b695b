//! From the result of a plugin to parts. What it may say at all was decided before, by its capabilities.
//!
//! A resource whose annotation `routerd.net/event-id` names an event of the batch lives with that event: it
//! becomes a part of its own, which lasts as long as the event, is refreshed with it, and ends with the event
//! `*.expired` about the same subject. Everything else is one part, which replaces what the source said before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::ResourceId;
use api::event::Event;
use api::plugin::{PluginStatus, ResourceDocument};
use api::time::Timestamp;

use super::{ABOUT, Digest, Origin, Part};
use crate::plugin;

/// Names the event that a resource comes from.
const EVENT_ID: &str = "routerd.net/event-id";
/// Its group.
const EVENT_GROUP: &str = "routerd.net/event-group";
/// What it is about.
const EVENT_SUBJECT: &str = "routerd.net/event-subject";
/// Who says it. Written here, whatever the plugin wrote.
const DYNAMIC_SOURCE: &str = "routerd.net/dynamic-source";
/// The last word of a type that ends facts.
const EXPIRED: &str = "expired";

/// A run whose result is taken in.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Whose word it is: `EventSubscription/clients`.
    pub source: &'a str,
    /// The plugin.
    pub plugin: &'a str,
    /// The longest that its word counts, in milliseconds; absent: as long as it says.
    pub ttl: Option<u64>,
    /// The events that it was given.
    pub events: &'a [Event],
    /// The time.
    pub now: Timestamp,
}

/// The parts of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taken {
    /// New generations, to be stored.
    pub parts: Vec<Part>,
    /// Events whose parts are older than what is known.
    pub outdated: Vec<String>,
}

/// Why a result is refused as a whole: nothing of it counts, and what the source said before stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows how long it counts.
    #[error(transparent)]
    Ttl(#[from] plugin::Refused),
    /// It was over before it came.
    #[error("it was over at {0} already")]
    Over(Timestamp),
    /// A resource comes from nowhere.
    #[error("{resource} names event {event}, which the plugin was not given")]
    Event {
        /// The resource.
        resource: ResourceId,
        /// The event.
        event: String,
    },
}

/// Takes in a result. `latest` has the newest part of each source.
///
/// # Errors
/// Why nothing of it is taken.
pub fn accept(
    run: &Run<'_>,
    status: PluginStatus,
    latest: &BTreeMap<String, Arc<Part>>,
) -> Result<Taken, Refusal> {
    let mut whole = run.whole(&status)?;
    let mut taken = Taken::default();
    for (event, resources) in run.by_event(status.resources, &mut whole.resources)? {
        match run.of_event(event, resources, latest) {
            Some(part) => taken.parts.push(part),
            None => taken.outdated.push(event.id.clone()),
        }
    }
    whole.directives = status.directives;
    whole.action_plans = status.action_plans;
    let spoke = latest.get(run.source).is_some_and(|old| !old.is_empty());
    // Of events nothing but what comes from them is heard, unless there was something else before.
    if spoke || run.events.is_empty() || !whole.is_empty() {
        taken.parts.push(run.next(whole, latest));
    }
    Ok(taken)
}

/// The parts that an event ends, ended: those that came from a fact of the same node, group, family and subject
/// which is not younger.
pub fn ends(event: &Event, parts: &[Arc<Part>], now: Timestamp) -> Vec<Part> {
    let Some((family, EXPIRED)) = event.kind.rsplit_once('.') else {
        return Vec::new();
    };
    let is_meant = |part: &&Arc<Part>| {
        part.ended_at.is_none()
            && part.observed_at <= event.observed_at
            && part.origin.as_ref().is_some_and(|origin| {
                origin.group == event.group
                    && origin.source_node == event.source_node
                    && origin.family == family
                    && origin.subject == event.subject
            })
    };
    let end = |part: &Arc<Part>| Part {
        ended_at: Some(event.observed_at.min(now)),
        ..Part::clone(part)
    };
    parts.iter().filter(is_meant).map(end).collect()
}

impl Run<'_> {
    /// The part for what comes from no event, still empty.
    fn whole(&self, status: &PluginStatus) -> Result<Part, Refusal> {
        let said = plugin::ttl(status)?;
        let said = u64::try_from(said.as_millis()).unwrap_or(u64::MAX);
        let ttl = self.ttl.map_or(said, |limit| said.min(limit));
        // Nobody knows the future.
        let observed_at = status.observed_at.min(self.now);
        let expires_at = observed_at.plus_millis(ttl);
        if expires_at <= self.now {
            return Err(Refusal::Over(expires_at));
        }
        Ok(Part {
            source: self.source.to_owned(),
            observed_at,
            expires_at: Some(expires_at),
            ..Part::default()
        })
    }

    /// Sorts resources by the event that they come from; `rest` gets those that come from none.
    fn by_event(
        &self,
        resources: Vec<ResourceDocument>,
        rest: &mut Vec<ResourceDocument>,
    ) -> Result<Vec<(&Event, Vec<ResourceDocument>)>, Refusal> {
        let given: BTreeMap<&str, &Event> = self
            .events
            .iter()
            .map(|event| (event.id.as_str(), event))
            .collect();
        let mut sorted: BTreeMap<&str, Vec<ResourceDocument>> = BTreeMap::new();
        for mut resource in resources {
            let annotations = &mut resource.metadata.annotations;
            annotations.insert(DYNAMIC_SOURCE.to_owned(), self.source.to_owned());
            let Some(named) = annotations.get(EVENT_ID) else {
                rest.push(resource);
                continue;
            };
            let Some((id, event)) = given.get_key_value(named.as_str()) else {
                return Err(Refusal::Event {
                    resource: ResourceId::new(&*resource.kind, &*resource.metadata.name),
                    event: named.clone(),
                });
            };
            annotations.insert(EVENT_GROUP.to_owned(), event.group.clone());
            annotations.insert(EVENT_SUBJECT.to_owned(), event.subject.clone());
            sorted.entry(id).or_default().push(resource);
        }
        let events = sorted.into_iter();
        Ok(events
            .filter_map(|(id, resources)| Some((*given.get(id)?, resources)))
            .collect())
    }

    /// The part of one event; nothing if what is known about its subject is younger.
    fn of_event(
        &self,
        event: &Event,
        resources: Vec<ResourceDocument>,
        latest: &BTreeMap<String, Arc<Part>>,
    ) -> Option<Part> {
        let source = format!("{}{ABOUT}{}", self.source, event.subject);
        let observed_at = event.observed_at.min(self.now);
        let outdated = latest.get(&source).is_some_and(|old| {
            old.observed_at > observed_at || old.ended_at.is_some_and(|end| observed_at <= end)
        });
        let limit = self.ttl.map(|ttl| observed_at.plus_millis(ttl));
        let expires_at = limit.map_or(event.expires_at, |limit| limit.min(event.expires_at));
        if outdated || expires_at <= self.now {
            return None;
        }
        let family = event.kind.rsplit_once('.').map_or("", |(family, _)| family);
        let part = Part {
            source,
            observed_at,
            expires_at: Some(expires_at),
            origin: Some(Origin {
                event: event.id.clone(),
                group: event.group.clone(),
                source_node: event.source_node.clone(),
                family: family.to_owned(),
                subject: event.subject.clone(),
            }),
            resources,
            ..Part::default()
        };
        Some(self.next(part, latest))
    }

    /// The part as the next generation of its source. What the one before said already it holds since then.
    fn next(&self, mut part: Part, latest: &BTreeMap<String, Arc<Part>>) -> Part {
        let old = latest.get(&part.source);
        part.generation = old.map_or(0, |old| old.generation).saturating_add(1);
        part.plugin = Some(self.plugin.to_owned());
        part.digest = Some(Digest::of(&part));
        if let Some(old) = old.filter(|old| !old.is_gone(self.now)) {
            let known: BTreeSet<ResourceId> = old.ids().collect();
            part.held_since = part
                .ids()
                .filter(|id| known.contains(id))
                .map(|id| (id.clone(), old.since(&id)))
                .collect();
        }
        part
    }
}
