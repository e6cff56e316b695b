//! When sources run.

use std::time::Duration;

use api::time::Timestamp;

use crate::effective::SourceIntent;
use crate::federation::intent::SubscriptionIntent;
use crate::federation::subscription::{Gather, Match};

/// After a run failed it is tried again after a second, then after ever longer, but never more rarely than it would
/// run anyway.
const RETRY: u64 = 1_000;

impl SourceIntent {
    /// When its plugin runs next because of the time; absent: never. `last` is when the last run began and how many
    /// runs in a row have failed.
    pub fn due(&self, last: Option<(Timestamp, u32)>, now: Timestamp) -> Option<Timestamp> {
        let every = millis(self.every?);
        let Some((began_at, failures)) = last else {
            return Some(now);
        };
        let wait = match failures {
            0 => every,
            n => RETRY.saturating_mul(1 << (n - 1).min(16)).min(every),
        };
        // A clock that was set back does not silence it.
        Some(began_at.min(now).plus_millis(wait))
    }

    /// What it waits for in a group, as a subscription.
    pub fn subscription(&self, group: &str) -> SubscriptionIntent {
        SubscriptionIntent {
            owner: self.owner.clone(),
            group: group.to_owned(),
            events: Match {
                types: self.topics.iter().cloned().collect(),
                ..Match::default()
            },
            plugin: self.plugin.clone(),
            gather: Gather::default(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::ResourceId;

    use super::*;

    #[test]
    fn at_once_then_at_intervals_and_sooner_after_a_failure() {
        let source = |every: Option<u64>| SourceIntent {
            owner: ResourceId::new("DynamicConfigSource", "s"),
            plugin: "p".into(),
            ttl: None,
            every: every.map(Duration::from_secs),
            topics: BTreeSet::new(),
        };
        let at = |seconds: u64| Timestamp::from_millis(1_780_000_000_000 + seconds * 1000);
        assert_eq!(source(None).due(None, at(0)), None);
        let minute = source(Some(60));
        assert_eq!(minute.due(None, at(5)), Some(at(5)));
        assert_eq!(minute.due(Some((at(5), 0)), at(6)), Some(at(65)));
        assert_eq!(minute.due(Some((at(5), 1)), at(6)), Some(at(6)));
        assert_eq!(minute.due(Some((at(5), 4)), at(6)), Some(at(13)));
        assert_eq!(minute.due(Some((at(5), 40)), at(6)), Some(at(65)));
        assert_eq!(minute.due(Some((at(500), 0)), at(6)), Some(at(66)));
    }
}
