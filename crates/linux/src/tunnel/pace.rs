//! When to let packets gather.
//!
//! A thread that is woken for every packet spends its time waking up, and so does the sender who has to wake it. Where
//! small packets come faster than that, a short nap before the next look makes a batch of them; for the sender there is
//! nobody to wake. Whoever sends seldom, or waits for answers before sending more, never meets a napping thread.

use std::time::{Duration, Instant};

/// Who waited for less than this was woken for what came at once. No answer over a network comes as fast.
const AT_ONCE: Duration = Duration::from_micros(20);

/// So many times, and it is not by chance.
const STREAK: u32 = 16;

/// More are not counted: a stream that has ended is forgotten soon.
const MAX_STREAK: u32 = 2 * STREAK;

/// Bytes of a batch that is worth its system calls.
const WORTH_IT: usize = 16 * 1024;

/// How long packets gather: about what waking up takes on both sides, so that what is added to their way is no more than
/// what a queue of them would.
const NAP: Duration = Duration::from_micros(40);

/// How one thread waits for packets.
#[derive(Debug)]
pub(super) struct Pace {
    streak: u32,
    since: Instant,
    waited: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            streak: 0,
            since: Instant::now(),
            waited: Duration::MAX,
        }
    }

    /// To be called before waiting. Lets packets gather where that pays.
    pub(super) fn nap(&mut self) {
        if self.naps() {
            std::thread::sleep(NAP);
        }
        self.since = Instant::now();
    }

    /// To be called after waiting.
    pub(super) fn woke(&mut self) {
        self.waited = self.since.elapsed();
    }

    /// What was read after that, in bytes.
    pub(super) fn came(&mut self, bytes: usize) {
        self.note(self.waited, bytes);
    }

    fn naps(&self) -> bool {
        self.streak >= STREAK
    }

    fn note(&mut self, waited: Duration, bytes: usize) {
        self.streak = match waited < AT_ONCE && bytes < WORTH_IT {
            true => (self.streak + 1).min(MAX_STREAK),
            // Another thread may have had its turn in between.
            false => self.streak / 2,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naps_after(waits: &[(u64, usize)]) -> bool {
        let mut pace = Pace::new();
        for (micros, bytes) in waits {
            pace.note(Duration::from_micros(*micros), *bytes);
        }
        pace.naps()
    }

    #[test]
    fn only_a_dense_stream_of_small_packets_makes_it_nap() {
        assert!(naps_after(&[(3, 100); 16]));
        assert!(!naps_after(&[(3, 100); 15]), "too few to tell");
        assert!(
            !naps_after(&[(40, 100); 100]),
            "an exchange of questions and answers"
        );
        assert!(
            !naps_after(&[(3, 64_000); 100]),
            "bulk: each is a batch already"
        );
        let mut waits = [(3, 100); 100];
        waits[98..].fill((500, 100));
        assert!(!naps_after(&waits), "the stream has ended");
    }
}
