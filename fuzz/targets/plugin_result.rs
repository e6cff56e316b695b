//! Anything that a plugin may print: reading and taking it in ends, does not panic, and what is taken reads back as it was.

use std::collections::BTreeMap;

use api::event::Event;
use api::plugin::PluginResult;
use api::time::Timestamp;
use routerd_core::dynamic::{Digest, Part, Run, accept};

pub fn run(data: &[u8]) {
    let Ok(PluginResult::PluginResult(answer)) = serde_json::from_slice(data) else {
        return;
    };
    let now = Timestamp::from_millis(1_780_191_055_000);
    let events = [event("e1"), event("e2")];
    let run = Run {
        source: "EventSubscription/fuzz",
        plugin: "fuzz",
        ttl: None,
        events: &events,
        now,
    };
    let Ok(taken) = accept(&run, answer.status, &BTreeMap::new()) else {
        return;
    };
    for part in taken.parts {
        assert_eq!(part.generation, 1);
        assert!(!part.is_gone(now), "what is taken counts");
        assert_eq!(part.digest, Some(Digest::of(&part)));
        let text = serde_json::to_string(&part).expect("JSON");
        assert_eq!(serde_json::from_str::<Part>(&text).expect("a part"), part);
    }
}

fn event(id: &str) -> Event {
    Event {
        id: id.to_owned(),
        group: "g".to_owned(),
        source_node: "n".to_owned(),
        kind: "routerd.client.ipv4.observed".to_owned(),
        subject: format!("10.77.60.{}/32", id.len()),
        dedupe_key: None,
        payload: BTreeMap::new(),
        observed_at: Timestamp::from_millis(1_780_191_000_000),
        expires_at: Timestamp::from_millis(1_780_192_000_000),
    }
}
