//! How much longer than asked for a session's intervals are, after false alarms.

use std::time::Duration;

use super::Moment;

/// Intervals grow at most this much.
const MOST: u32 = 8;
/// An alarm is false if the peer is heard again within this many detection times,
const WINDOW: u32 = 4;
/// and in any case within this: a peer that is told of the alarm sends once a second from then on.
const LEAST_WINDOW: Duration = Duration::from_millis(1_500);
/// A session that was up this long without an alarm becomes less patient again.
const QUIET: Duration = Duration::from_secs(600);

/// The factor and what it was learned from.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    factor: u32,
    false_alarms: u32,
    alarm: Option<Alarm>,
    /// Since when it has been quiet.
    since: Moment,
}

/// A peer was declared dead.
#[derive(Debug, Clone, Copy)]
struct Alarm {
    until: Moment,
    discriminator: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            factor: 1,
            false_alarms: 0,
            alarm: None,
            since: Moment::ZERO,
        }
    }

    /// How many times longer than asked for.
    pub(super) fn factor(&self) -> u32 {
        self.factor
    }

    /// False alarms so far.
    pub(super) fn false_alarms(&self) -> u32 {
        self.false_alarms
    }

    /// A peer is declared dead.
    pub(super) fn alarm(&mut self, now: Moment, discriminator: u32, detection_time: Duration) {
        let until = now + (detection_time * WINDOW).max(LEAST_WINDOW);
        self.alarm = Some(Alarm {
            until,
            discriminator,
        });
    }

    /// A peer is heard. Returns whether that makes the last alarm a false one. A restarted peer has a new
    /// discriminator: it was dead.
    pub(super) fn heard(&mut self, now: Moment, discriminator: u32) -> bool {
        let Some(alarm) = self.alarm.take() else {
            return false;
        };
        let is_false = now <= alarm.until && alarm.discriminator == discriminator;
        self.since = now;
        if is_false {
            self.false_alarms = self.false_alarms.saturating_add(1);
            self.factor = (self.factor * 2).min(MOST);
        }
        is_false
    }

    /// The session came up.
    pub(super) fn came_up(&mut self, now: Moment) {
        self.since = now;
    }

    /// Asked now and then while the session is up. Returns whether it became less patient.
    pub(super) fn relax(&mut self, now: Moment) -> bool {
        if self.factor == 1 || now < self.since + QUIET {
            return false;
        }
        self.factor /= 2;
        self.since = now;
        true
    }
}
