//! From results to parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::ResourceId;
use api::event::Event;
use api::plugin::{Metadata, PluginStatus, ResourceDocument};
use api::time::Timestamp;

use crate::dynamic::*;

const SOURCE: &str = "EventSubscription/clients";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_780_000_000_000 + seconds * 1000)
}

fn event(id: &str, subject: &str, seen: u64, expires: u64) -> Event {
    Event {
        id: id.into(),
        group: "g".into(),
        source_node: "onprem".into(),
        kind: "routerd.client.ipv4.observed".into(),
        subject: subject.into(),
        dedupe_key: None,
        payload: BTreeMap::new(),
        observed_at: at(seen),
        expires_at: at(expires),
    }
}

fn claim(name: &str, event: Option<&str>) -> ResourceDocument {
    let annotations = event.map(|id| ("routerd.net/event-id".to_owned(), id.to_owned()));
    ResourceDocument {
        api_version: "hybrid.routerd.net/v1alpha1".into(),
        kind: "RemoteAddressClaim".into(),
        metadata: Metadata {
            name: name.into(),
            labels: BTreeMap::new(),
            annotations: annotations.into_iter().collect(),
        },
        spec: serde_json::json!({}),
    }
}

fn says(ttl: &str, resources: Vec<ResourceDocument>) -> PluginStatus {
    PluginStatus {
        observed_at: at(0),
        ttl: ttl.into(),
        resources,
        directives: Vec::new(),
        action_plans: Vec::new(),
        events: Vec::new(),
    }
}

/// What the store would have.
#[derive(Default)]
struct Known(BTreeMap<String, Arc<Part>>);

impl Known {
    fn accept(
        &mut self,
        now: Timestamp,
        events: &[Event],
        status: PluginStatus,
    ) -> Result<Taken, Refusal> {
        let run = Run {
            source: SOURCE,
            plugin: "event-to-remote-claim",
            ttl: None,
            events,
            now,
        };
        let taken = accept(&run, status, &self.0)?;
        for part in &taken.parts {
            self.0.insert(part.source.clone(), Arc::new(part.clone()));
        }
        Ok(taken)
    }

    fn end(&mut self, event: &Event, now: Timestamp) -> usize {
        let parts: Vec<_> = self.0.values().cloned().collect();
        let ended = ends(event, &parts, now);
        for part in &ended {
            self.0.insert(part.source.clone(), Arc::new(part.clone()));
        }
        ended.len()
    }
}

#[test]
fn each_event_has_a_part_of_its_own_and_a_refresh_extends_it() {
    let mut known = Known::default();
    let two = [
        event("e1", "10.0.0.1/32", 0, 60),
        event("e2", "10.0.0.2/32", 0, 90),
    ];
    let status = says("90s", vec![claim("a", Some("e1")), claim("b", Some("e2"))]);
    let taken = known.accept(at(1), &two, status).expect("taken");
    let brief: Vec<_> = taken
        .parts
        .iter()
        .map(|p| (p.source.as_str(), p.generation, p.expires_at))
        .collect();
    assert_eq!(
        brief,
        [
            ("EventSubscription/clients:10.0.0.1/32", 1, Some(at(60))),
            ("EventSubscription/clients:10.0.0.2/32", 1, Some(at(90))),
        ]
    );
    let annotations = &taken.parts[0].resources[0].metadata.annotations;
    assert_eq!(annotations["routerd.net/dynamic-source"], SOURCE);
    assert_eq!(annotations["routerd.net/event-group"], "g");
    let again = [event("e3", "10.0.0.1/32", 50, 110)];
    let taken = known
        .accept(at(50), &again, says("2m", vec![claim("a", Some("e3"))]))
        .expect("taken");
    let part = &taken.parts[0];
    assert_eq!(taken.parts.len(), 1, "the other client is left alone");
    assert_eq!((part.generation, part.expires_at), (2, Some(at(110))));
    let id = ResourceId::new("RemoteAddressClaim", "a");
    assert_eq!(part.held_since[&id], at(0), "it was the first to say so");
}

#[test]
fn what_comes_from_no_event_replaces_what_was_said_before() {
    let mut known = Known::default();
    let one = known.accept(at(1), &[], says("60s", vec![claim("a", None)]));
    assert_eq!(one.expect("taken").parts[0].source, SOURCE);
    let none = known.accept(at(2), &[], says("60s", Vec::new()));
    let none = none.expect("taken");
    assert_eq!(
        (none.parts[0].generation, none.parts[0].is_empty()),
        (2, true)
    );
    let events = [event("e1", "10.0.0.1/32", 0, 60)];
    let bound = says("60s", vec![claim("b", Some("e1"))]);
    let taken = known.accept(at(3), &events, bound).expect("taken");
    assert_eq!(taken.parts.len(), 1, "nothing is said of nothing");
}

#[test]
fn results_that_are_refused() {
    let mut known = Known::default();
    let plain = || vec![claim("a", None)];
    for (status, why) in [
        (says("0s", plain()), "the ttl `0s`"),
        (says("soon", plain()), "the ttl `soon`"),
        (says("5s", plain()), "it was over at"),
        (
            says("60s", vec![claim("a", Some("e9"))]),
            "names event e9, which the plugin was not given",
        ),
    ] {
        let refusal = known.accept(at(10), &[], status).expect_err(why);
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
    assert!(known.0.is_empty());
}

#[test]
fn the_end_of_a_fact_ends_its_part_and_an_older_word_does_not_bring_it_back() {
    let mut known = Known::default();
    let observed = event("e1", "10.0.0.1/32", 10, 600);
    let status = || says("10m", vec![claim("a", Some("e1"))]);
    known
        .accept(at(10), std::slice::from_ref(&observed), status())
        .expect("taken");
    let expired = |node: &str, seen: u64| Event {
        kind: "routerd.client.ipv4.expired".into(),
        source_node: node.into(),
        ..event("x", "10.0.0.1/32", seen, 900)
    };
    assert_eq!(known.end(&expired("other", 20), at(20)), 0, "another node");
    assert_eq!(known.end(&expired("onprem", 5), at(20)), 0, "an older word");
    assert_eq!(known.end(&expired("onprem", 20), at(20)), 1);
    let part = known.0.values().next().expect("part");
    assert!(part.is_gone(at(20)), "it is not held");
    let replayed = known.accept(at(30), &[observed], status()).expect("taken");
    assert_eq!(replayed.outdated, ["e1"]);
    let back = event("e1", "10.0.0.1/32", 40, 600);
    let back = known.accept(at(40), &[back], status()).expect("taken");
    assert_eq!(back.parts[0].generation, 2);
    assert!(!back.parts[0].is_gone(at(41)));
}

#[test]
fn a_part_reads_as_it_was_written() {
    let mut known = Known::default();
    let events = [event("e1", "10.0.0.1/32", 0, 60)];
    let status = || says("60s", vec![claim("a", Some("e1"))]);
    known.accept(at(1), &events, status()).expect("taken");
    let taken = known.accept(at(2), &events, status()).expect("taken");
    let part = &taken.parts[0];
    let text = serde_json::to_string(part).expect("JSON");
    assert_eq!(serde_json::from_str::<Part>(&text).expect("part"), *part);
    let digest = part.digest.expect("digest");
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!(digest, Digest::of(part));
}
