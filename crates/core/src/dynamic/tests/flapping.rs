//! The whole way of a client's flapping on a virtual clock: what was seen, what is told, what it comes to.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use api::event::Event;
use api::plugin::{PluginStatus, ResourceDocument};
use api::time::Timestamp;
use api::{MobileAddress, ResourceId};
use serde_json::json;

use super::real;
use crate::dynamic::*;
use crate::effective::ObserverIntent;
use crate::observer::{OBSERVED, Observer, Scope, Sighting, Source};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 50);

/// Both nodes, with nothing between them.
struct World {
    intent: ObserverIntent,
    observer: Observer,
    scope: Scope,
    latest: BTreeMap<String, Arc<Part>>,
    claimed: bool,
    /// When the address was claimed and let go: each is what a provider action would be made of.
    came: Vec<u64>,
    went: Vec<u64>,
    told: usize,
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_780_000_000_000 + millis)
}

impl World {
    fn new(ttl: Duration) -> Self {
        let prefix = "10.77.60.0/24".parse().expect("prefix");
        Self {
            intent: ObserverIntent {
                owner: ResourceId::new("MobilityPool", "p"),
                group: "g".into(),
                node: "onprem".into(),
                prefix,
                domain: "cloudedge-same-subnet".into(),
                side: "onprem".into(),
                sources: [Source::Arp].into(),
                scan_interval: Duration::from_secs(10),
                ttl,
            },
            observer: Observer::new(ttl.as_millis() as u64),
            scope: Scope {
                prefixes: vec![prefix],
                ..Scope::default()
            },
            latest: BTreeMap::new(),
            claimed: false,
            came: Vec::new(),
            went: Vec::new(),
            told: 0,
        }
    }

    /// A tenth of a second passes; `on` says whether the client speaks in it.
    fn step(&mut self, now: u64, on: bool) {
        let sighting = Sighting {
            address: CLIENT,
            mac: [2, 0, 0, 0, 0, 50],
            source: Source::Arp,
        };
        let mut outputs = self.observer.tick(at(now), &self.scope);
        if on {
            outputs.extend(self.observer.sighted(at(now), &self.scope, sighting));
        }
        for output in outputs {
            if let Some(event) = self.intent.event(&output, at(now)) {
                self.told += 1;
                self.receive(event, now);
            }
        }
        self.merge(now);
    }

    fn receive(&mut self, event: Event, now: u64) {
        let parts = if event.kind == OBSERVED {
            let events = [event];
            let run = Run {
                source: "EventSubscription/clients",
                plugin: "event-to-remote-claim",
                ttl: None,
                events: &events,
                now: at(now),
            };
            let status = said(&events[0], at(now));
            accept(&run, status, &self.latest).expect("taken").parts
        } else {
            let parts: Vec<_> = self.latest.values().cloned().collect();
            ends(&event, &parts, at(now))
        };
        for part in parts {
            self.latest.insert(part.source.clone(), Arc::new(part));
        }
    }

    fn merge(&mut self, now: u64) {
        let parts: Vec<_> = self.latest.values().cloned().collect();
        let claimed = parts.iter().any(|part| !part.is_gone(at(now)));
        // Nothing but time and parts changes the merge: only then is it worth a look.
        if claimed == self.claimed {
            return;
        }
        let (config, base) = real::subscribed();
        let merged = merge(&config, &base, &parts, at(now));
        let address = MobileAddress::from(CLIENT);
        assert_eq!(merged.effective.captures.contains_key(&address), claimed);
        self.claimed = claimed;
        match claimed {
            true => self.came.push(now),
            false => self.went.push(now),
        }
    }
}

/// What the shipped plugin says of an event.
fn said(event: &Event, now: Timestamp) -> PluginStatus {
    let claim: ResourceDocument = serde_json::from_value(json!({
        "apiVersion": "hybrid.routerd.net/v1alpha1",
        "kind": "RemoteAddressClaim",
        "metadata": {"name": "onprem-10-77-60-50", "annotations": {"routerd.net/event-id": event.id}},
        "spec": {"address": event.subject, "ownerSide": "onprem", "capture": {"type": "provider-secondary-ip"}},
    }))
    .expect("a claim");
    PluginStatus {
        observed_at: now,
        ttl: "1h".into(),
        resources: vec![claim],
        directives: Vec::new(),
        action_plans: Vec::new(),
        events: Vec::new(),
    }
}

#[test]
fn flapping_twenty_times_a_minute_for_two_minutes_costs_one_action_each_way() {
    // With what counts unless somebody says otherwise, and with the shortest time that such flapping leaves silent.
    for ttl in [120, 2] {
        let mut world = World::new(Duration::from_secs(ttl));
        for now in (0..120_000).step_by(100) {
            // Three seconds a round: on for half of it.
            world.step(now, now % 3000 < 1500);
        }
        assert_eq!((world.came.len(), world.went.len()), (1, 0), "ttl {ttl}");
        assert!(world.told <= 130, "ttl {ttl}: {} events", world.told);
        for now in (120_000..500_000).step_by(100) {
            world.step(now, false);
        }
        assert_eq!((world.came.len(), world.went.len()), (1, 1), "ttl {ttl}");
        let last_word = 118_400;
        let silent = world.went[0] - last_word;
        let allowed = (ttl * 1000)..=(ttl * 1000 + 200);
        assert!(
            allowed.contains(&silent),
            "ttl {ttl}: gone after {silent} ms"
        );
    }
}

#[test]
fn a_node_that_goes_away_leaves_its_clients_held() {
    let mut world = World::new(Duration::from_secs(60));
    world.step(0, true);
    // Nothing is heard of the node any more: neither a refresh nor an end.
    for now in (100..4_000_000).step_by(1000) {
        world.merge(now);
    }
    assert_eq!((world.came.len(), world.went.len()), (1, 1));
    // Told for two minutes, held for ten times as long.
    let gone = world.went[0];
    assert!((1_320_000..1_321_100).contains(&gone), "gone at {gone}");
}
