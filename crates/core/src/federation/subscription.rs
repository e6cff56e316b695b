//! When a subscription runs its plugin, and for which events.

use std::collections::BTreeMap;

use api::event::Event;
use api::time::Timestamp;

/// Which events a subscription is for. A list that is empty admits all, but for `types`: without a type nothing
/// matches, so that no subscription runs for everything by mistake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Event types; at least one.
    pub types: Vec<String>,
    /// Prefixes of the subject.
    pub subject_prefixes: Vec<String>,
    /// Nodes that observed it.
    pub source_nodes: Vec<String>,
    /// Payload entries that must be there with this value.
    pub payload: BTreeMap<String, String>,
}

impl Match {
    /// Whether the subscription is for this event.
    pub fn admits(&self, event: &Event) -> bool {
        let any =
            |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        self.types.contains(&event.kind)
            && (self.subject_prefixes.is_empty()
                || self
                    .subject_prefixes
                    .iter()
                    .any(|p| event.subject.starts_with(p)))
            && any(&self.source_nodes, &event.source_node)
            && self
                .payload
                .iter()
                .all(|(key, value)| event.payload.get(key) == Some(value))
    }
}

/// How events are gathered before the plugin runs, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gather {
    /// The longest that the first event of a batch waits.
    pub batch_window: u64,
    /// How long it must be quiet before; the batch window ends the wait all the same.
    pub debounce: u64,
}

/// The times at which the events that wait for one subscription were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The first.
    pub first: Timestamp,
    /// The latest.
    pub latest: Timestamp,
}

impl Gather {
    /// When the plugin is to run for what is pending. The times come from the database, so a timer survives a
    /// restart.
    pub fn due(self, pending: Pending) -> Timestamp {
        let quiet = pending.latest.plus_millis(self.debounce);
        let full = pending.first.plus_millis(self.batch_window);
        match (self.batch_window, self.debounce) {
            (0, _) => quiet,
            (_, 0) => full,
            _ => quiet.min(full),
        }
    }
}

/// How many events a run is given: many at first; after failures ever fewer, so that one bad event ends up alone.
pub fn batch_limit(attempts: u32) -> usize {
    256 >> attempts.saturating_mul(4).min(8)
}

/// How long events wait after their run failed for the `attempts + 1`th time, in milliseconds: from one second up
/// to five minutes.
pub fn retry_wait(attempts: u32) -> u64 {
    (1_000 << attempts.min(16)).min(300_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            id: "e1".into(),
            group: "g".into(),
            source_node: "onprem-router".into(),
            kind: "routerd.client.ipv4.observed".into(),
            subject: "10.88.60.9/32".into(),
            dedupe_key: None,
            payload: BTreeMap::from([("domain".into(), "app".into())]),
            observed_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(1),
        }
    }

    #[test]
    fn every_condition_counts_and_a_type_is_needed() {
        let all = Match {
            types: vec!["routerd.client.ipv4.observed".into()],
            subject_prefixes: vec!["10.88.60.".into()],
            source_nodes: vec!["onprem-router".into()],
            payload: BTreeMap::from([("domain".into(), "app".into())]),
        };
        assert!(all.admits(&event()));
        assert!(
            !Match {
                types: Vec::new(),
                ..all.clone()
            }
            .admits(&event())
        );
        assert!(
            !Match {
                types: vec!["other".into()],
                ..all.clone()
            }
            .admits(&event())
        );
        assert!(
            !Match {
                subject_prefixes: vec!["10.99.".into()],
                ..all.clone()
            }
            .admits(&event())
        );
        assert!(
            !Match {
                source_nodes: vec!["aws".into()],
                ..all.clone()
            }
            .admits(&event())
        );
        assert!(
            !Match {
                payload: BTreeMap::from([("domain".into(), "b".into())]),
                ..all
            }
            .admits(&event())
        );
    }

    #[test]
    fn failed_runs_become_smaller_and_rarer() {
        let limits: Vec<_> = (0..4).map(batch_limit).collect();
        assert_eq!(limits, [256, 16, 1, 1]);
        assert_eq!((retry_wait(0), retry_wait(3)), (1_000, 8_000));
        assert_eq!(retry_wait(u32::MAX), 300_000);
    }

    #[test]
    fn quiet_or_full_whichever_comes_first() {
        let at = Timestamp::from_millis;
        let pending = Pending {
            first: at(1000),
            latest: at(1900),
        };
        assert_eq!(
            Gather {
                batch_window: 1000,
                debounce: 500
            }
            .due(pending),
            at(2000)
        );
        assert_eq!(
            Gather {
                batch_window: 5000,
                debounce: 500
            }
            .due(pending),
            at(2400)
        );
        assert_eq!(
            Gather {
                batch_window: 0,
                debounce: 500
            }
            .due(pending),
            at(2400)
        );
        assert_eq!(
            Gather {
                batch_window: 1000,
                debounce: 0
            }
            .due(pending),
            at(2000)
        );
        assert_eq!(Gather::default().due(pending), at(1900));
    }
}
