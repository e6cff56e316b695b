//! When the next pass over the host is due. Nothing here says what the pass will find.
//!
//! - A wake is answered after [`DEBOUNCE`], or after [`DEBOUNCE_MAX`] if wakes keep coming: a burst costs one
//!   pass, a lone change waits no time that anybody notices.
//! - Passes are limited to one in [`INTERVAL`] in the long run. That bounds the cost of a fight with another
//!   writer and still answers every change in less than the 200 ms that are promised.
//! - A pass that failed is repeated after a delay that doubles up to [`RETRY_MAX`].
//! - Without any wake the host is looked at every [`RESYNC`]: WireGuard peers and some settings change without
//!   a notification. Where a pass is expensive it is made more rarely, so that an idle daemon takes no more than
//!   one part in [`IDLE`] of a core for it.

use std::time::{Duration, Instant};

const DEBOUNCE: Duration = Duration::from_millis(5);
const DEBOUNCE_MAX: Duration = Duration::from_millis(20);
const INTERVAL: Duration = Duration::from_millis(100);
/// Passes that may follow each other at once before [`INTERVAL`] holds.
const BURST: u32 = 50;
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);
const RESYNC: Duration = Duration::from_secs(10);
const RESYNC_MAX: Duration = Duration::from_secs(300);
/// One part in so many of a core may go into looking at a host on which nothing happens.
const IDLE: u32 = 1000;

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The host is as it should be.
    Settled,
    /// The host still differs, though nothing failed: somebody else writes too.
    Unsettled,
    /// Something failed.
    Failed,
}

/// The times that decide.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The first and the last wake since the pass before.
    woken: Option<(Instant, Instant)>,
    /// When to look again without a wake.
    again: Instant,
    /// The rate limit: the time up to which passes are paid for. It may run ahead of the clock by
    /// `BURST × INTERVAL`.
    paid: Instant,
    /// Failures in a row.
    failures: u32,
}

impl Pace {
    /// A first pass is due at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            woken: None,
            again: now,
            paid: now,
            failures: 0,
        }
    }

    /// Something changed.
    pub(crate) fn wake(&mut self, now: Instant) {
        let first = self.woken.map_or(now, |(first, _)| first);
        self.woken = Some((first, now));
    }

    /// When the next pass is due.
    pub(crate) fn due(&self) -> Instant {
        let wanted = match self.woken {
            Some((first, last)) => self.again.min((last + DEBOUNCE).min(first + DEBOUNCE_MAX)),
            None => self.again,
        };
        match self.paid.checked_sub(INTERVAL * BURST) {
            Some(allowed) => wanted.max(allowed),
            None => wanted,
        }
    }

    /// A pass was made.
    pub(crate) fn passed(&mut self, began: Instant, ended: Instant, outcome: Outcome) {
        self.woken = None;
        self.paid = self.paid.max(began) + INTERVAL;
        let delay = match outcome {
            Outcome::Settled => {
                (ended.saturating_duration_since(began) * IDLE).clamp(RESYNC, RESYNC_MAX)
            }
            Outcome::Unsettled => Duration::ZERO,
            Outcome::Failed => (RETRY * 2_u32.pow(self.failures.min(6))).min(RETRY_MAX),
        };
        self.failures = match outcome {
            Outcome::Failed => self.failures.saturating_add(1),
            Outcome::Settled | Outcome::Unsettled => 0,
        };
        self.again = ended + delay;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> (Pace, Instant) {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.due(), now);
        pace.passed(now, now, Outcome::Settled);
        (pace, now)
    }

    #[test]
    fn a_lone_wake_is_answered_after_the_debounce() {
        let (mut pace, start) = settled();
        let woken = start + Duration::from_secs(1);
        pace.wake(woken);
        assert_eq!(pace.due(), woken + DEBOUNCE);
    }

    #[test]
    fn a_burst_costs_one_pass_and_cannot_put_it_off_for_ever() {
        let (mut pace, start) = settled();
        for ms in 0..100 {
            pace.wake(start + Duration::from_millis(ms));
        }
        assert_eq!(pace.due(), start + DEBOUNCE_MAX);
    }

    #[test]
    fn without_wakes_the_host_is_looked_at_now_and_then() {
        let (pace, start) = settled();
        assert_eq!(pace.due(), start + RESYNC);
    }

    #[test]
    fn an_expensive_look_is_taken_more_rarely_but_still_taken() {
        let (mut pace, start) = settled();
        let ended = start + Duration::from_millis(40);
        pace.passed(start, ended, Outcome::Settled);
        assert_eq!(pace.due(), ended + Duration::from_secs(40));
        let ended = start + Duration::from_secs(60);
        pace.passed(start, ended, Outcome::Settled);
        assert_eq!(pace.due(), ended + RESYNC_MAX);
    }

    #[test]
    fn a_fight_is_slowed_down_but_answered_within_the_promise() {
        let (mut pace, start) = settled();
        let mut now = start;
        let mut passes = 0;
        let mut slowest = Duration::ZERO;
        while now < start + Duration::from_secs(60) {
            pace.wake(now);
            let due = pace.due();
            slowest = slowest.max(due - now);
            now = due + Duration::from_millis(10);
            pace.passed(due, now, Outcome::Unsettled);
            passes += 1;
        }
        assert!(
            passes <= 60_000 / 100 + BURST as usize + 1,
            "{passes} passes"
        );
        assert!(slowest < Duration::from_millis(150), "{slowest:?}");
    }

    #[test]
    fn failures_are_repeated_ever_more_rarely_and_a_wake_still_counts() {
        let (mut pace, start) = settled();
        let mut now = start + Duration::from_secs(1);
        let mut delays = Vec::new();
        for _ in 0..10 {
            pace.passed(now, now, Outcome::Failed);
            delays.push(pace.due() - now);
            now = pace.due();
        }
        assert_eq!(delays.first(), Some(&RETRY));
        assert_eq!(delays.last(), Some(&RETRY_MAX));
        assert!(delays.is_sorted(), "{delays:?}");
        pace.passed(now, now, Outcome::Failed);
        pace.wake(now);
        assert_eq!(pace.due(), now + DEBOUNCE);
    }
}
